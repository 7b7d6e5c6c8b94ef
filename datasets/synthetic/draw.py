"""Scenes into pictures, with an exact mask for each thing and each of its parts."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

from datasets.synthetic.backdrop import TINTS, draw_backdrop
from datasets.synthetic.catalog import CLASS_BY_NAME, COLOURS
from datasets.synthetic.scene import Scene, Thing, scene_rng
from datasets.synthetic.shapes import SHAPES

SUPERSAMPLING = 3
MIN_PIECE = 6  # pixels; smaller crumbs of a mask are dropped
CLEAR_SHARE = 0.35
CLEAR_PIXELS = 120

# Paints that do not depend on the colour of the thing, RGB.
PAINTS = {
    "wood": (124, 84, 52),
    "glass": (190, 222, 236),
    "black": (50, 50, 56),
    "grey": (150, 152, 158),
    "cream": (240, 228, 202),
    "white": (250, 250, 248),
    "gold": (236, 184, 60),
    "leaf": (96, 142, 62),
}


@dataclass(frozen=True, kw_only=True, eq=False)
class SeenThing:
    """A thing as the picture shows it."""

    thing: Thing
    mask: np.ndarray  # (H, W) bool, its visible pixels
    parts: dict[str, np.ndarray]  # name -> (H, W) bool, visible pixels
    full_area: int  # pixels it would have with nothing before it
    hidden_by: dict[int, int]  # index of a thing before it -> pixels hidden by that thing
    area: int
    x: float  # centre of the visible pixels
    y: float

    @property
    def visibility(self) -> float:
        """Visible share of the whole thing, 0 to 1."""
        return self.area / max(self.full_area, 1)

    @property
    def clear(self) -> bool:
        """Whether enough of it is seen to ask for it."""
        return self.visibility >= CLEAR_SHARE and self.area >= CLEAR_PIXELS


@dataclass(frozen=True, kw_only=True, eq=False)
class Picture:
    """A drawn scene; `things` are in the order of `scene.things` (back to front)."""

    scene: Scene
    image: np.ndarray  # (H, W, 3) uint8 RGB
    stuff: np.ndarray  # (H, W) uint8, index into tuple(STUFF)
    things: tuple[SeenThing, ...]


@dataclass(frozen=True, kw_only=True, eq=False)
class _Patch:
    """One thing on its own, at the final size, cut to the picture."""

    rows: slice
    columns: slice
    colour: np.ndarray  # (h, w, 3) float32
    alpha: np.ndarray  # (h, w) float32, 0 to 1
    parts: dict[str, np.ndarray]  # (h, w) bool


def draw_scene(scene: Scene) -> Picture:
    """The picture of a scene, light and a little grain included."""
    backdrop = draw_backdrop(scene)
    canvas = backdrop.image
    owner = np.full((scene.height, scene.width), -1, np.int16)
    patches = [_thing_patch(thing, scene) for thing in scene.things]
    for i, (thing, patch) in enumerate(zip(scene.things, patches, strict=True)):
        if CLASS_BY_NAME[thing.cls].home != "sky":
            _add_shadow(canvas, thing)
        window = canvas[patch.rows, patch.columns]
        window += patch.alpha[..., None] * (patch.colour - window)
        owner[patch.rows, patch.columns][patch.alpha >= 0.5] = i
    grain = scene_rng(scene.seed, scene.index, "grain").standard_normal(canvas.shape[:2], dtype=np.float32)
    image = np.clip(canvas + 2.0 * grain[..., None], 0, 255).astype(np.uint8)
    things = tuple(_see(i, scene, patches, owner) for i in range(len(patches)))
    return Picture(scene=scene, image=image, stuff=backdrop.stuff, things=things)


def _see(index: int, scene: Scene, patches: list[_Patch], owner: np.ndarray) -> SeenThing:
    patch = patches[index]
    solid = patch.alpha >= 0.5
    owners = owner[patch.rows, patch.columns]
    visible = _without_crumbs(solid & (owners == index))
    mask = _paste(visible, patch, owner.shape)
    rows, columns = np.nonzero(mask)
    before, counts = np.unique(owners[solid & (owners != index)], return_counts=True)
    return SeenThing(
        thing=scene.things[index],
        mask=mask,
        parts={name: _paste(_without_crumbs(part & visible), patch, owner.shape) for name, part in patch.parts.items()},
        full_area=int(solid.sum()),
        hidden_by={int(b): int(c) for b, c in zip(before, counts, strict=True)},
        area=len(rows),
        x=float(columns.mean() + 0.5) if len(rows) else scene.things[index].x,
        y=float(rows.mean() + 0.5) if len(rows) else scene.things[index].y,
    )


def _paste(window: np.ndarray, patch: _Patch, shape: tuple[int, int]) -> np.ndarray:
    mask = np.zeros(shape, bool)
    mask[patch.rows, patch.columns] = window
    return mask


def _without_crumbs(mask: np.ndarray) -> np.ndarray:
    """The mask without connected pieces of fewer than MIN_PIECE pixels."""
    count, labels, stats, _ = cv2.connectedComponentsWithStats(mask.astype(np.uint8), connectivity=4)
    if count <= 2 and mask.sum() >= MIN_PIECE:
        return mask
    keep = stats[:, cv2.CC_STAT_AREA] >= MIN_PIECE
    keep[0] = False
    return keep[labels]


def _thing_patch(thing: Thing, scene: Scene) -> _Patch:
    """Drawn large, then averaged down, so that edges are smooth and a pixel is in when half of it is."""
    half = int(np.ceil(0.62 * thing.size)) + 2
    left, top = round(thing.x) - half, round(thing.y) - half
    side = 2 * half * SUPERSAMPLING
    colour = np.zeros((side, side, 3), np.float32)
    alpha = np.zeros((side, side), np.float32)
    part_masks: dict[str, np.ndarray] = {}
    # A thin line on small things, and light that changes a thing less than what lies behind it.
    line = max(2, round(0.024 * thing.size * SUPERSAMPLING))
    tint = 0.6 + 0.4 * np.array(TINTS[scene.light])
    for shape in SHAPES[thing.cls]:
        points = [_to_patch(shape.points, thing, left, top)]
        rgb = _paint(shape.paint, thing) * tint
        for layer in part_masks.values():
            cv2.fillPoly(layer, points, 0.0, shift=4)
        if shape.part:
            layer = part_masks.setdefault(shape.part, np.zeros((side, side), np.float32))
            cv2.fillPoly(layer, points, 1.0, shift=4)
        cv2.fillPoly(colour, points, rgb.tolist(), cv2.LINE_8, shift=4)
        cv2.fillPoly(alpha, points, 1.0, cv2.LINE_8, shift=4)
        if shape.outline:
            cv2.polylines(colour, points, True, _outline(thing, tint).tolist(), line, cv2.LINE_8, shift=4)
            cv2.polylines(alpha, points, True, 1.0, line, cv2.LINE_8, shift=4)
    colour *= _shading(side)[..., None]
    return _cut(scene, left, top, colour * alpha[..., None], alpha, part_masks)


def _cut(
    scene: Scene,
    left: int,
    top: int,
    premultiplied: np.ndarray,
    alpha: np.ndarray,
    parts: dict[str, np.ndarray],
) -> _Patch:
    """Average down to the final size and drop what lies outside of the picture."""
    side = alpha.shape[0] // SUPERSAMPLING
    rows = slice(max(top, 0), min(top + side, scene.height))
    columns = slice(max(left, 0), min(left + side, scene.width))
    window = (slice(rows.start - top, rows.stop - top), slice(columns.start - left, columns.stop - left))
    small_alpha = _down(alpha, side)[window]
    colour = _down(premultiplied, side)[window] / np.maximum(small_alpha, 1e-6)[..., None]
    small_parts = {name: _down(part, side)[window] >= 0.5 for name, part in parts.items()}
    return _Patch(rows=rows, columns=columns, colour=colour, alpha=small_alpha, parts=small_parts)


def _down(layer: np.ndarray, side: int) -> np.ndarray:
    return cv2.resize(layer, (side, side), interpolation=cv2.INTER_AREA)


def _to_patch(points: np.ndarray, thing: Thing, left: int, top: int) -> np.ndarray:
    """Frame coordinates -> fixed-point pixels (4 fractional bits) of the enlarged patch."""
    stretched = points * (thing.stretch**0.5 * (-1 if thing.flip else 1), thing.stretch**-0.5)
    turn = np.deg2rad(thing.angle)
    turned = stretched @ np.array([[np.cos(turn), np.sin(turn)], [-np.sin(turn), np.cos(turn)]])
    pixels = (turned * thing.size + (thing.x - left, thing.y - top)) * SUPERSAMPLING - 0.5
    return np.round(pixels * 16).astype(np.int32)


def _paint(paint: str, thing: Thing) -> np.ndarray:
    """RGB of a paint on this thing, float."""
    main = np.array(COLOURS[thing.colour], float) * thing.shade
    if paint in PAINTS:
        # A yellow blossom needs a centre that is not yellow.
        same = paint == "gold" and thing.colour in ("yellow", "orange")
        return np.array(PAINTS["wood" if same else paint], float)
    return {"main": main, "dark": 0.74 * main, "light": 0.6 * main + 0.4 * 255}[paint]


def _outline(thing: Thing, tint: np.ndarray) -> np.ndarray:
    return (0.26 * np.array(COLOURS[thing.colour], float) + 14) * tint


def _shading(side: int) -> np.ndarray:
    """Light from the upper left: (side, side) float32 factors around 1."""
    ramp = np.linspace(-1, 1, side, dtype=np.float32)
    return 1.0 - 0.085 * (ramp[:, None] + ramp[None, :])


def _add_shadow(canvas: np.ndarray, thing: Thing) -> None:
    """A soft dark ellipse at the foot of the thing, in place."""
    height, width = canvas.shape[:2]
    rx, ry = 0.46 * thing.size, 0.1 * thing.size
    cy = thing.y + 0.45 * thing.size
    y0, y1 = max(int(cy - 2 * ry), 0), min(int(cy + 2 * ry) + 1, height)
    x0, x1 = max(int(thing.x - 1.5 * rx), 0), min(int(thing.x + 1.5 * rx) + 1, width)
    dy = (np.arange(y0, y1, dtype=np.float32)[:, None] - cy) / ry
    dx = (np.arange(x0, x1, dtype=np.float32)[None] - thing.x) / rx
    canvas[y0:y1, x0:x1] *= (1 - 0.32 * np.exp(-(dx**2 + dy**2)))[..., None]
