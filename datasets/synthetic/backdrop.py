"""The stuff behind the things: sky, relief and ground in bands, with texture."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

from datasets.synthetic.catalog import STUFF
from datasets.synthetic.scene import Scene, scene_rng

# What the light does to the colours of stuff (RGB factors).
TINTS = {"day": (1.0, 1.0, 1.0), "dusk": (1.04, 0.88, 0.8), "night": (0.52, 0.58, 0.76)}
# Sky at the top and at the horizon, RGB.
SKIES = {
    "day": ((116, 178, 232), (214, 234, 246)),
    "dusk": ((142, 122, 176), (250, 196, 150)),
    "night": ((32, 40, 84), (92, 104, 150)),
}


@dataclass(frozen=True, kw_only=True, eq=False)
class Backdrop:
    """A picture without things."""

    image: np.ndarray  # (H, W, 3) float32 RGB, 0 to 255
    stuff: np.ndarray  # (H, W) uint8, index into tuple(STUFF)


def draw_backdrop(scene: Scene) -> Backdrop:
    """Sky first, then relief, then the bands of the ground, each over what lies behind it."""
    rng = scene_rng(scene.seed, scene.index, "backdrop")
    image = _sky(scene, rng)
    stuff = np.zeros((scene.height, scene.width), np.uint8)
    layers = []
    if scene.relief:
        layers.append((scene.relief, _relief_line(scene, rng)))
    for top, name in _bands(scene):
        # Above the first band of a view from above there is nothing to see.
        edge = np.full(scene.width, -1.0) if top == 0 else _wavy(scene, rng, top, 0.02)
        layers.append((name, edge))
    rows = np.arange(scene.height, dtype=np.float32)[:, None]
    for name, edge in layers:
        cover = np.clip(rows - edge[None].astype(np.float32) + 0.5, 0, 1)
        colour = _stuff_texture(scene, rng, name)
        image += cover[..., None] * (colour - image)
        stuff[cover >= 0.5] = tuple(STUFF).index(name)
    return Backdrop(image=image, stuff=stuff)


def _bands(scene: Scene) -> list[tuple[float, str]]:
    step = (1 - scene.horizon) / len(scene.ground)
    return [(scene.horizon + i * step, name) for i, name in enumerate(scene.ground)]


def _wavy(scene: Scene, rng: np.random.Generator, top: float, swing: float) -> np.ndarray:
    """A gently curved edge: (W,) rows in pixels."""
    turn = np.linspace(0, 2 * np.pi, scene.width)
    wave = sum(rng.uniform(0.3, 1) / k * np.sin(k * turn + rng.uniform(0, 2 * np.pi)) for k in (1, 2, 3))
    return (top + swing * wave) * scene.height


def _relief_line(scene: Scene, rng: np.random.Generator) -> np.ndarray:
    """The upper edge of mountains (peaks) or hills (curves): (W,) rows in pixels."""
    room = min(0.14, 0.6 * scene.horizon)
    if scene.relief == "hill":
        return _wavy(scene, rng, scene.horizon - 0.5 * room, 0.35 * room)
    columns = np.linspace(0, scene.width, int(rng.integers(5, 9)))
    heights = scene.horizon - room * rng.uniform(0.1, 1.0, len(columns))
    return np.interp(np.arange(scene.width), columns, heights) * scene.height


def _sky(scene: Scene, rng: np.random.Generator) -> np.ndarray:
    """A gradient with clouds, and at night with stars."""
    top, low = (np.array(colour, np.float32) for colour in SKIES[scene.light])
    span = max(scene.horizon, 0.01) * scene.height
    mix = np.clip(np.arange(scene.height, dtype=np.float32) / span, 0, 1)[:, None, None]
    image = np.repeat(top + mix * (low - top), scene.width, axis=1)
    if not scene.horizon:
        return image
    if scene.light == "night":
        for _ in range(int(rng.integers(15, 40))):
            image[int(rng.uniform(0, span)) % scene.height, rng.integers(scene.width)] = (235, 235, 220)
    cover = np.zeros((scene.height, scene.width), np.float32)
    for _ in range(int(rng.integers(1, 5))):
        _add_cloud(cover, rng, span)
    cover = cv2.GaussianBlur(cover, (0, 0), 2.0)[..., None] * 0.55
    return image + cover * (0.5 * low + 0.5 * np.float32(255) - image) * (0.35 if scene.light == "night" else 1)


def _add_cloud(cover: np.ndarray, rng: np.random.Generator, span: float) -> None:
    """Three flat ellipses side by side, added to `cover` in place."""
    width = cover.shape[1]
    x, y, r = rng.uniform(0, width), rng.uniform(0.1, 0.8) * span, rng.uniform(0.04, 0.08) * width
    for dx, scale in ((-0.9, 0.7), (0.0, 1.0), (0.9, 0.75)):
        centre = (int(x + dx * r), int(y))
        cv2.ellipse(cover, centre, (int(scale * r) + 1, int(0.45 * scale * r) + 1), 0, 0, 360, 1.0, -1)


def _stuff_texture(scene: Scene, rng: np.random.Generator, name: str) -> np.ndarray:
    """(H, W, 3) float32: the stuff over the whole picture, to be shown where it lies."""
    height, width = scene.height, scene.width
    patches = _noise(rng, height, width, 24, 0.05)
    if name == "water":
        # Waves are long and flat, and catch the light.
        detail = _noise(rng, height, width, (2, 18), 0.05)
    elif name in ("field", "road"):
        detail = _noise(rng, height, width, (3, 60), 0.04)
    else:
        detail = _noise(rng, height, width, (3, 2) if name == "grass" else 2, 0.035)
    colour = np.array(STUFF[name], np.float32) * np.array(TINTS[scene.light], np.float32)
    colour = colour * np.float32(rng.uniform(0.94, 1.05))
    return colour * (1 + patches + detail)[..., None]


def _noise(
    rng: np.random.Generator, height: int, width: int, grain: int | tuple[int, int], strength: float
) -> np.ndarray:
    """(H, W) float32 smooth noise with mean 0; `grain` is the size of its spots in pixels (rows, columns)."""
    rows, columns = (grain, grain) if isinstance(grain, int) else grain
    small = rng.standard_normal((height // rows + 2, width // columns + 2), dtype=np.float32)
    return cv2.resize(small, (width, height), interpolation=cv2.INTER_LINEAR) * np.float32(strength)
