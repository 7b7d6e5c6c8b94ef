"""What stands where: the records of a scene, and how one is drawn by lot."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from datasets.synthetic.catalog import CLASS_BY_NAME, CLASS_NAMES, COLOUR_NAMES, HELD_OUT_PAIRS

SPLITS = ("val", "testA", "testB", "composition", "train")
# Five per cent for each of the first four; first in each block, so that a small world has all of them.
SPLIT_BLOCK = 20

LIGHTS = ("day", "dusk", "night")
GROUNDS: tuple[tuple[str, ...], ...] = (
    ("grass",),
    ("sand",),
    ("field",),
    ("water", "sand"),
    ("water", "grass"),
    ("water",),
    ("grass", "road"),
    ("field", "road", "grass"),
    ("grass", "water", "grass"),
    ("sand", "water"),
    ("grass", "sand"),
)
SMALL = (0.25, 0.31)
BIG = (0.42, 0.54)
MIN_SIZE = 22.0


@dataclass(frozen=True, kw_only=True)
class Thing:
    """One thing as it is placed, before anything hides a part of it."""

    cls: str
    colour: str
    x: float  # centre of its frame, pixels
    y: float
    size: float  # side of its square frame, pixels
    shade: float  # brightness, about 1
    stretch: float  # width over height, about 1
    angle: float  # degrees
    flip: bool


@dataclass(frozen=True, kw_only=True)
class Scene:
    """All that drawing needs to know; things are ordered from back to front."""

    seed: int
    index: int
    split: str
    height: int
    width: int
    light: str
    horizon: float  # share of the height that is sky, 0 for a view from above
    relief: str | None  # "mountain" or "hill" on the horizon
    ground: tuple[str, ...]  # stuff in bands, from the horizon down
    things: tuple[Thing, ...]


def split_of(index: int) -> str:
    """The split of picture `index`; it depends on nothing else, so pictures are never shared."""
    return SPLITS[min(index % SPLIT_BLOCK, len(SPLITS) - 1)]


def scene_rng(seed: int, index: int, purpose: str, attempt: int = 0) -> np.random.Generator:
    """The randomness of one purpose in one scene, independent of all other scenes and purposes."""
    return np.random.default_rng((seed, index, attempt, *purpose.encode()))


def sample_scene(seed: int, index: int, attempt: int = 0) -> Scene:
    """Scene `index`; `attempt` counts the tries that were thrown away because a thing could not be seen."""
    rng = scene_rng(seed, index, "scene", attempt)
    split = split_of(index)
    height, width = _sample_size(rng)
    view_from_above = rng.random() < 0.25
    horizon = 0.0 if view_from_above else float(rng.uniform(0.18, 0.42))
    ground = GROUNDS[rng.integers(len(GROUNDS))]
    relief = str(rng.choice(["mountain", "hill"])) if horizon and rng.random() < 0.6 else None
    pairs = _sample_pairs(rng, split)
    frame = _Frame(height=height, width=width, horizon=horizon, ground=ground)
    things = _place_things(rng, pairs, frame)
    return Scene(
        seed=seed,
        index=index,
        split=split,
        height=height,
        width=width,
        light=str(rng.choice(LIGHTS, p=[0.6, 0.22, 0.18])),
        horizon=horizon,
        relief=relief,
        ground=ground,
        things=tuple(sorted(things, key=_depth)),
    )


def _sample_size(rng: np.random.Generator) -> tuple[int, int]:
    """(height, width) in pixels: longest side 192 to 320, mostly landscape, at most 1.6 to 1."""
    longest = int(rng.integers(192, 321))
    shortest = round(longest / rng.uniform(1.05, 1.6))
    return (longest, shortest) if rng.random() < 0.15 else (shortest, longest)


def _sample_pairs(rng: np.random.Generator, split: str) -> list[tuple[str, str]]:
    """(class, colour) of each thing, with classes and colours that come back within the scene."""
    count = int(rng.choice([2, 3, 4, 5, 6, 7], p=[0.03, 0.14, 0.26, 0.28, 0.19, 0.1]))
    classes = list(rng.choice(CLASS_NAMES, size=int(rng.integers(2, 5)), replace=False))
    colours = list(rng.choice(COLOUR_NAMES, size=int(rng.integers(2, 6)), replace=False))
    pairs: list[tuple[str, str]] = []
    if split == "composition":
        cls, colour = HELD_OUT_PAIRS[rng.integers(len(HELD_OUT_PAIRS))]
        classes[0], colours[0] = cls, colour
        pairs.append((cls, colour))
    if count >= 3 and split != "composition" and rng.random() < 0.16:
        return _odd_one_out(rng, count)
    while len(pairs) < count:
        pair = (str(rng.choice(classes)), str(rng.choice(colours)))
        # Twins are welcome, but not so many that class and colour never suffice.
        if pair in pairs and rng.random() < 0.5:
            continue
        if pair in HELD_OUT_PAIRS and split != "composition":
            # A colour of the scene may be barred to all of its classes, so look further afield.
            pair = (pair[0], str(rng.choice(COLOUR_NAMES)))
        if pair not in HELD_OUT_PAIRS or split == "composition":
            pairs.append(pair)
    return pairs


def _odd_one_out(rng: np.random.Generator, count: int) -> list[tuple[str, str]]:
    """Things that agree in class or in colour, all but one; the other attribute is mixed."""
    allowed = [(c, k) for c in CLASS_NAMES for k in COLOUR_NAMES if (c, k) not in HELD_OUT_PAIRS]
    axis = int(rng.integers(2))  # 0: the class is shared, 1: the colour
    common = str(rng.choice((CLASS_NAMES, COLOUR_NAMES)[axis]))
    rest = int(rng.integers(2, 4))
    same = [pair for pair in allowed if pair[axis] == common]
    some = [same[i] for i in rng.choice(len(same), size=rest, replace=False)]
    others = [pair for pair in allowed if pair[axis] != common and pair[1 - axis] in {p[1 - axis] for p in some}]
    chosen = [some[i % rest] for i in range(count - 1)]
    return [*chosen, others[rng.integers(len(others))]]


@dataclass(frozen=True, kw_only=True)
class _Frame:
    height: int
    width: int
    horizon: float
    ground: tuple[str, ...]

    @property
    def shortest(self) -> int:
        return min(self.height, self.width)

    def rows(self, home: str) -> tuple[float, float]:
        """Between which shares of the height the centre of a thing may lie."""
        if not self.horizon:
            return 0.1, 0.9
        if home == "sky":
            return 0.1, max(self.horizon + 0.1, 0.45)
        if home == "water" and "water" in self.ground:
            return band_rows(self.horizon, self.ground)["water"]
        return max(0.12, self.horizon - 0.1), 0.88


def band_rows(horizon: float, ground: tuple[str, ...]) -> dict[str, tuple[float, float]]:
    """Stuff -> (first, last) row of its lowest band, as shares of the height; bands are equally tall."""
    step = (1 - horizon) / len(ground)
    return {name: (horizon + i * step, horizon + (i + 1) * step) for i, name in enumerate(ground)}


def _place_things(rng: np.random.Generator, pairs: list[tuple[str, str]], frame: _Frame) -> list[Thing]:
    """Things that mostly stand free; in some scenes one stands close to another and hides a part of it."""
    crowded = rng.random() < 0.4
    things: list[Thing] = []
    for order in rng.permutation(len(pairs)):
        cls, colour = pairs[order]
        near = things[rng.integers(len(things))] if things and crowded and rng.random() < 0.5 else None
        for attempt in range(30):
            # After some tries only a small thing has a chance to fit.
            big = rng.random() < 0.45 and attempt < 12
            thing = _sample_thing(rng, cls, colour, frame, BIG if big else SMALL, near if attempt < 15 else None)
            limit = 0.55 if near is not None and attempt < 15 else 0.06
            if all(_overlap(thing, other) <= limit for other in things):
                things.append(thing)
                break
    return things


def _sample_thing(
    rng: np.random.Generator,
    cls: str,
    colour: str,
    frame: _Frame,
    share: tuple[float, float],
    near: Thing | None,
) -> Thing:
    size = max(MIN_SIZE, float(rng.uniform(*share)) * frame.shortest)
    half = 0.5 * size
    if near is None:
        x = rng.uniform(half, frame.width - half)
        y = rng.uniform(*frame.rows(CLASS_BY_NAME[cls].home)) * frame.height
    else:
        reach = 0.5 * (size + near.size) * rng.uniform(0.45, 0.75)
        turn = rng.uniform(-0.6, 0.6) + (np.pi if rng.random() < 0.5 else 0.0)
        x, y = near.x + reach * np.cos(turn), near.y + reach * np.sin(turn)
    return Thing(
        cls=cls,
        colour=colour,
        x=float(np.clip(x, half, frame.width - half)),
        y=float(np.clip(y, half, frame.height - half)),
        size=size,
        shade=float(rng.uniform(0.92, 1.06)),
        stretch=float(rng.uniform(0.9, 1.1)),
        angle=float(rng.uniform(-8, 8)),
        flip=bool(rng.random() < 0.5),
    )


def _overlap(a: Thing, b: Thing) -> float:
    """Share of the smaller frame that both frames cover; frames are a bit larger than what is drawn."""
    reach = 0.45 * (a.size + b.size)
    width, height = reach - abs(a.x - b.x), reach - abs(a.y - b.y)
    smaller = 0.9 * min(a.size, b.size)
    if width <= 0 or height <= 0:
        return 0.0
    return min(width, smaller) * min(height, smaller) / smaller**2


def _depth(thing: Thing) -> float:
    """What stands lower in the picture is nearer; what flies is behind all that stands."""
    return thing.y + 0.5 * thing.size - (1e6 if CLASS_BY_NAME[thing.cls].home == "sky" else 0.0)
