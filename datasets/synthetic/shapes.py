"""How each class looks: filled polygons in a square frame from -0.5 to 0.5, x to the right and y down."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

Points = np.ndarray  # (N, 2) float


@dataclass(frozen=True, kw_only=True, eq=False)
class Shape:
    """One filled polygon with an outline."""

    points: Points
    paint: str
    """"main" is the thing's own colour, "dark" and "light" are made from it; others are in `draw.PAINTS`."""
    part: str | None = None
    outline: bool = True


def _poly(paint: str, *points: tuple[float, float], part: str | None = None) -> Shape:
    return Shape(points=np.array(points, dtype=float), paint=paint, part=part)


def _rect(paint: str, x0: float, y0: float, x1: float, y1: float, part: str | None = None) -> Shape:
    return _poly(paint, (x0, y0), (x1, y0), (x1, y1), (x0, y1), part=part)


def _ellipse(paint: str, x: float, y: float, rx: float, ry: float, part: str | None = None) -> Shape:
    return _arc(paint, x, y, rx, ry, 0, 360, part=part)


def _arc(
    paint: str, x: float, y: float, rx: float, ry: float, start: float, end: float, part: str | None = None
) -> Shape:
    """A segment of an ellipse, from `start` to `end` degrees clockwise from the right, and its chord."""
    turn = np.deg2rad(np.linspace(start, end, 33))
    return Shape(points=np.stack([x + rx * np.cos(turn), y + ry * np.sin(turn)], 1), paint=paint, part=part)


def _ring(
    paint: str,
    x: float,
    y: float,
    outer: float,
    inner: float,
    start: float,
    end: float,
    part: str | None = None,
) -> Shape:
    """An open ring of even width."""
    turn = np.deg2rad(np.linspace(start, end, 25))
    unit = np.stack([np.cos(turn), np.sin(turn)], 1)
    return Shape(points=np.concatenate([outer * unit, inner * unit[::-1]]) + np.array([x, y]), paint=paint, part=part)


def _rounded(paint: str, x0: float, y0: float, x1: float, y1: float, r: float, part: str | None = None) -> Shape:
    turn = np.deg2rad(np.linspace(0, 90, 7))
    corners = [(x1 - r, y1 - r, 0), (x0 + r, y1 - r, 90), (x0 + r, y0 + r, 180), (x1 - r, y0 + r, 270)]
    points = [
        np.stack([x + r * np.cos(turn + np.deg2rad(a)), y + r * np.sin(turn + np.deg2rad(a))], 1) for x, y, a in corners
    ]
    return Shape(points=np.concatenate(points), paint=paint, part=part)


def _blob(paint: str, x: float, y: float, r: float, lobes: int, depth: float, part: str | None = None) -> Shape:
    """A circle with round lobes: a crown, a blossom."""
    turn = np.linspace(0, 2 * np.pi, 96, endpoint=False)
    radius = r * (1 - depth + depth * np.abs(np.cos(0.5 * lobes * turn)))
    return Shape(points=np.stack([x + radius * np.sin(turn), y - radius * np.cos(turn)], 1), paint=paint, part=part)


def _plain(shape: Shape) -> Shape:
    """The same without an outline: a spot of light or shade."""
    return replace(shape, outline=False)


SHAPES: dict[str, tuple[Shape, ...]] = {
    "house": (
        _rect("dark", 0.2, -0.44, 0.32, -0.16),
        _rect("main", -0.38, -0.1, 0.38, 0.46),
        _poly("dark", (-0.48, -0.06), (-0.02, -0.46), (0.02, -0.46), (0.48, -0.06), part="roof"),
        _rect("wood", 0.04, 0.12, 0.24, 0.46, part="door"),
        _rect("glass", -0.26, 0.08, -0.06, 0.26),
    ),
    "tree": (
        _poly("wood", (-0.07, 0.05), (0.07, 0.05), (0.11, 0.48), (-0.11, 0.48), part="trunk"),
        _blob("main", 0, -0.14, 0.37, 7, 0.16, part="crown"),
        _plain(_ellipse("light", -0.14, -0.26, 0.09, 0.07, part="crown")),
        _plain(_ellipse("dark", 0.14, -0.04, 0.1, 0.07, part="crown")),
        _plain(_ellipse("dark", -0.1, 0.02, 0.07, 0.05, part="crown")),
    ),
    "car": (
        _poly("main", (-0.3, -0.02), (-0.18, -0.26), (0.16, -0.26), (0.3, -0.02)),
        _rounded("main", -0.48, -0.06, 0.48, 0.22, 0.09),
        _poly("glass", (-0.2, -0.04), (-0.13, -0.2), (-0.02, -0.2), (-0.02, -0.04)),
        _poly("glass", (0.03, -0.04), (0.03, -0.2), (0.12, -0.2), (0.2, -0.04)),
        _ellipse("gold", 0.43, 0.05, 0.04, 0.045),
        _ellipse("black", -0.26, 0.2, 0.13, 0.13, part="wheels"),
        _ellipse("black", 0.26, 0.2, 0.13, 0.13, part="wheels"),
        _ellipse("grey", -0.26, 0.2, 0.055, 0.055, part="wheels"),
        _ellipse("grey", 0.26, 0.2, 0.055, 0.055, part="wheels"),
    ),
    "boat": (
        _rect("wood", -0.04, -0.46, 0.02, 0.16),
        _poly("light", (0.04, -0.42), (0.4, 0.1), (0.04, 0.1), part="sail"),
        _poly("cream", (-0.06, -0.32), (-0.06, 0.1), (-0.32, 0.1)),
        _poly("main", (-0.48, 0.14), (0.48, 0.14), (0.32, 0.42), (-0.34, 0.42), part="hull"),
        _poly("dark", (-0.42, 0.24), (0.42, 0.24), (0.39, 0.29), (-0.4, 0.29), part="hull"),
    ),
    "lamp": (
        _rect("grey", -0.045, -0.1, 0.045, 0.4),
        _arc("dark", 0, 0.44, 0.24, 0.14, 180, 360, part="foot"),
        _poly("main", (-0.18, -0.47), (0.18, -0.47), (0.36, -0.02), (-0.36, -0.02), part="shade"),
        _poly("gold", (-0.36, -0.02), (0.36, -0.02), (0.34, 0.03), (-0.34, 0.03), part="shade"),
        _poly("light", (-0.13, -0.4), (-0.04, -0.4), (-0.1, -0.1), (-0.24, -0.1), part="shade"),
    ),
    "fish": (
        _poly("dark", (-0.2, 0), (-0.48, -0.22), (-0.4, 0), (-0.48, 0.22), part="tail"),
        _poly("dark", (-0.08, -0.16), (0.14, -0.34), (0.2, -0.14)),
        _ellipse("main", 0.1, 0, 0.36, 0.23),
        _arc("light", 0.06, 0.02, 0.1, 0.12, -90, 90),
        _poly("dark", (-0.02, 0.02), (-0.16, 0.12), (-0.02, 0.14)),
        _ellipse("white", 0.31, -0.06, 0.055, 0.055),
        _ellipse("black", 0.325, -0.06, 0.027, 0.027),
    ),
    "ball": (
        _ellipse("main", 0, 0, 0.42, 0.42),
        _poly("light", (-0.4, -0.12), (0.4, -0.12), (0.42, 0.0), (0.4, 0.12), (-0.4, 0.12), (-0.42, 0.0)),
        _ellipse("dark", 0, 0, 0.13, 0.13),
    ),
    "chair": (
        _rect("dark", -0.3, 0.1, -0.18, 0.48),
        _rect("dark", 0.18, 0.1, 0.3, 0.48),
        _rounded("main", -0.31, -0.48, 0.31, 0.06, 0.07, part="back"),
        _rect("dark", -0.16, -0.38, -0.08, -0.04, part="back"),
        _rect("dark", 0.08, -0.38, 0.16, -0.04, part="back"),
        _rounded("main", -0.38, 0.02, 0.38, 0.18, 0.05, part="seat"),
    ),
    "mushroom": (
        _poly("cream", (-0.12, -0.06), (0.12, -0.06), (0.17, 0.46), (-0.17, 0.46), part="stem"),
        _arc("main", 0, 0.04, 0.46, 0.48, 180, 360, part="cap"),
        _ellipse("white", -0.2, -0.14, 0.075, 0.065, part="cap"),
        _ellipse("white", 0.06, -0.26, 0.085, 0.07, part="cap"),
        _ellipse("white", 0.26, -0.08, 0.065, 0.06, part="cap"),
    ),
    "flower": (
        _rect("leaf", -0.045, 0.1, 0.045, 0.48, part="stem"),
        _poly("leaf", (0.02, 0.42), (0.12, 0.2), (0.3, 0.2), (0.2, 0.36)),
        _poly("leaf", (-0.02, 0.46), (-0.12, 0.26), (-0.28, 0.26), (-0.2, 0.4)),
        _blob("main", 0, -0.14, 0.35, 6, 0.42),
        _ellipse("gold", 0, -0.14, 0.12, 0.12),
    ),
    "airplane": (
        _poly("dark", (0.02, -0.06), (-0.1, -0.32), (-0.2, -0.32), (-0.16, -0.04)),
        _poly("main", (-0.46, -0.06), (-0.5, -0.32), (-0.38, -0.32), (-0.24, -0.06)),
        _ellipse("main", 0, 0.02, 0.49, 0.15),
        _poly("glass", (0.3, -0.1), (0.4, -0.05), (0.42, 0.0), (0.3, 0.0)),
        _ellipse("glass", 0.18, -0.03, 0.035, 0.035),
        _ellipse("glass", 0.06, -0.03, 0.035, 0.035),
        _ellipse("glass", -0.06, -0.03, 0.035, 0.035),
        _poly("dark", (0.12, 0.06), (-0.1, 0.36), (-0.26, 0.36), (-0.14, 0.06), part="wing"),
    ),
    "bird": (
        _poly("dark", (-0.22, 0.02), (-0.5, -0.06), (-0.46, 0.16), (-0.2, 0.16)),
        _poly("gold", (0.36, -0.12), (0.5, -0.05), (0.36, 0.0)),
        _ellipse("main", 0, 0.08, 0.32, 0.22),
        _ellipse("main", 0.25, -0.08, 0.16, 0.16),
        _poly("dark", (0.1, 0.08), (0.0, -0.4), (-0.2, -0.44), (-0.22, 0.08), part="wing"),
        _ellipse("white", 0.3, -0.11, 0.045, 0.045),
        _ellipse("black", 0.31, -0.11, 0.024, 0.024),
    ),
    "bottle": (
        _poly("main", (-0.08, -0.4), (0.08, -0.4), (0.08, -0.2), (0.2, -0.04), (-0.2, -0.04), (-0.08, -0.2)),
        _rounded("main", -0.2, -0.06, 0.2, 0.48, 0.06),
        _rect("black", -0.1, -0.48, 0.1, -0.38),
        _rect("cream", -0.2, 0.08, 0.2, 0.3, part="label"),
    ),
    "tent": (
        _poly("main", (-0.48, 0.4), (-0.02, -0.4), (0.02, -0.4), (0.48, 0.4)),
        _poly("dark", (0.02, -0.4), (0.48, 0.4), (0.27, 0.4)),
        _poly("black", (-0.18, 0.4), (0, -0.12), (0.18, 0.4), part="door"),
        _poly("light", (-0.18, 0.4), (0, -0.12), (-0.03, 0.2), (-0.1, 0.4)),
    ),
    "umbrella": (
        _rect("wood", -0.035, -0.02, 0.035, 0.4, part="handle"),
        _ring("wood", 0.075, 0.38, 0.11, 0.04, 0, 180, part="handle"),
        _arc("main", 0, 0.0, 0.48, 0.44, 180, 360),
        _poly("dark", (0, -0.44), (-0.12, -0.36), (-0.2, 0.0), (-0.34, 0.0), (-0.26, -0.3)),
        _poly("dark", (0, -0.44), (0.12, -0.36), (0.2, 0.0), (0.34, 0.0), (0.26, -0.3)),
    ),
    "cup": (
        _ring("main", 0.22, 0.02, 0.25, 0.12, -90, 90, part="handle"),
        _poly("main", (-0.36, -0.32), (0.26, -0.32), (0.2, 0.42), (-0.3, 0.42)),
        _ellipse("dark", -0.05, -0.32, 0.31, 0.085),
        _poly("light", (-0.28, -0.14), (-0.19, -0.14), (-0.16, 0.28), (-0.24, 0.28)),
    ),
    "apple": (
        _rect("wood", -0.03, -0.44, 0.03, -0.2),
        _poly("leaf", (0.02, -0.3), (0.12, -0.46), (0.32, -0.44), (0.2, -0.28), part="leaf"),
        Shape(
            points=np.array(
                [
                    (
                        0.42 * np.sin(t) * (1 + 0.08 * np.cos(t)),
                        0.09 - 0.36 * np.cos(t) + 0.12 * np.exp(-6 * t**2),
                    )
                    for t in np.linspace(-np.pi, np.pi, 72, endpoint=False)
                ]
            ),
            paint="main",
        ),
        _plain(_ellipse("light", -0.2, -0.04, 0.07, 0.11)),
    ),
    "bus": (
        _rounded("main", -0.48, -0.34, 0.48, 0.26, 0.08),
        _rect("glass", -0.4, -0.24, -0.2, -0.04, part="windows"),
        _rect("glass", -0.16, -0.24, 0.04, -0.04, part="windows"),
        _rect("glass", 0.08, -0.24, 0.28, -0.04, part="windows"),
        _rect("glass", 0.34, -0.24, 0.48, 0.14),
        _rect("light", -0.48, 0.04, 0.3, 0.1),
        _ellipse("black", -0.26, 0.26, 0.12, 0.12, part="wheels"),
        _ellipse("black", 0.24, 0.26, 0.12, 0.12, part="wheels"),
        _ellipse("grey", -0.26, 0.26, 0.05, 0.05, part="wheels"),
        _ellipse("grey", 0.24, 0.26, 0.05, 0.05, part="wheels"),
    ),
}
