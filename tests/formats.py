"""Hold our loaders against what the official ones return, every record of a tree: `python tests/formats.py DIR`.

DIR holds `dataset/` (a tree in the official formats), `*official.json` and `*official_masks.npz` (what the official
loaders return for it, with their randomness scripted). Prints a line per record, then the deliberate differences that
occurred, then `N compared, N failed`; the exit code is 1 when a record failed.
"""

from __future__ import annotations

import contextlib
import json
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from datasets.reason_seg import open_reason_seg
from datasets.refer_seg import open_refer_seg
from datasets.sample import NothingToAskError, Sample, SampleOptions
from datasets.sem_seg import open_sem_seg
from datasets.validation import open_validation
from datasets.vqa import open_vqa
from lisa.conversation import TEMPLATES, Conversation, write
from sam_bridge import resize_and_pad

EVERYTHING = SampleOptions(num_classes_per_sample=10**6)
PIXEL_TOLERANCE = 0.01  # of the mean of normalised pixels: decoders of JPEG differ by a grey level here and there

DIFFERENCES = {
    "union": "overlapping polygons are a union; the reference adds them up to the value 2",
    "unlabeled": 'the class "unlabeled" is not asked for, and its pixels are ignored',
    "together": "all instances of a part or thing are the target; the reference asks for one and does not say which",
    "ignored": "ignored pixels of ReasonSeg stay ignored in training (--ignored_is_background: the reference's rule)",
    "drawn": "samples are drawn by (seed, epoch, index): the reference's random order (hybrid_seed0) is not repeated",
}


class Script:
    """Stands in for a random generator, with the choices that the golden file was made with."""

    def __init__(self, choice: int, values: tuple[float, ...]) -> None:
        self.choice, self.values = choice, list(values)

    def integers(self, stop: int) -> int:
        return min(self.choice, stop - 1)

    def permutation(self, count: int) -> np.ndarray:
        return np.arange(count)

    def random(self) -> float:
        return self.values.pop(0) if len(self.values) > 1 else self.values[0]


class Comparison:
    """Compares records, prints and counts them."""

    def __init__(self, folder: Path) -> None:
        self.tree = folder / "dataset"
        self.official = json.loads(_only(folder, "*official.json").read_text(encoding="utf-8"))
        self.official_masks = dict(np.load(_only(folder, "*official_masks.npz")))
        self.compared = self.failed = 0
        self.seen: Counter[str] = Counter()
        self.used: set[str] = set()

    def run(self) -> None:
        """Every part of the golden file."""
        for name, part in self.official["sem_seg"].items():
            self.guard(f"sem_seg {name}", lambda name=name, part=part: self.semantic(name, part))
        for name, part in self.official["refer_seg"].items():
            self.guard(f"refer_seg {name}", lambda name=name, part=part: self.referring(name, part))
        self.guard("vqa", lambda: self.talking(self.official["vqa"]))
        self.guard("reason_seg", lambda: self.reasoning(self.official["reason_seg_train"]))
        for spec, part in self.official["val"].items():
            self.guard(f"val {spec}", lambda spec=spec, part=part: self.validation(spec, part))
        if "hybrid_seed0" in self.official:
            self.seen["drawn"] += 1
        unused = sorted(self.official_masks.keys() - self.used)
        self.record("official masks that no record was held against", [f"{unused}"] if unused else [])

    def guard(self, what: str, compare) -> None:
        """A part that cannot be read at all is a failure, not the end."""
        try:
            compare()
        except (ValueError, OSError, KeyError, IndexError, AttributeError) as error:
            self.record(what, [f"{type(error).__name__}: {error}"])

    def record(self, what: str, problems: list[str]) -> None:
        self.compared += 1
        self.failed += bool(problems)
        print(f"{'FAILED' if problems else 'ok    '} {what}" + "".join(f"\n         {p}" for p in problems))

    def masks(self, key: str) -> np.ndarray:
        """Official masks (N, H, W) or label map (H, W)."""
        self.used.add(key)
        return self.official_masks[key]

    def count(self, what: str, ours: int, theirs: int) -> None:
        self.record(f"{what}: number of records", [] if ours == theirs else [f"{ours}, official {theirs}"])

    def semantic(self, name: str, part: dict) -> None:
        dataset = open_sem_seg(self.tree, name, EVERYTHING)
        by_path = self.askable(dataset)
        # Where a picture has nothing to ask for, the official loader draws another one, and the item is a note.
        items = [item for item in part["items"] if any(n != "unlabeled" for n in item.get("sampled_classes", []))]
        for item in part["items"]:
            if "image_path" in item and item not in items:
                self.seen["unlabeled"] += 1
                self.used |= {f"{name}/{item['index']}", f"{name}/{item['index']}/label"}
        self.count(f"sem_seg {name}", len(by_path), len({item["image_path"] for item in items}))
        for item in items:
            what = f"sem_seg {name} {item['image_path']} template {item['choice_index']}"
            if item["image_path"] not in by_path:
                self.record(what, ["not among our records"])
                continue
            sample = dataset.sample(by_path[item["image_path"]], Script(item["choice_index"], (item["random_value"],)))
            masks = self.masks(f"{name}/{item['index']}")
            names, masks, texts = self.as_ours(item, masks)
            problems = self.common(sample, item, texts, masks)
            if [n.removeprefix("the ") for n in names] != list(sample.names):
                problems.append(f"classes {sample.names}, official {names}")
            label = f"{name}/{item['index']}/label"
            if label in self.official_masks:
                problems += self.ignored(sample, self.masks(label), part)
            self.record(what, problems)

    def askable(self, dataset) -> dict[str, int]:
        """Path of the picture -> index, of those that have something to ask for."""
        by_path = {}
        for index in range(len(dataset)):
            with contextlib.suppress(NothingToAskError):
                by_path[self.path(dataset.sample(index, Script(0, (0.0,))))] = index
        return by_path

    def as_ours(self, item: dict, masks: np.ndarray) -> tuple[list[str], np.ndarray, list[str]]:
        """Classes, masks and conversations of the reference, after our deliberate differences."""
        kept: dict[str, tuple[np.ndarray, str]] = {}
        for name, mask, text in zip(item["sampled_classes"], masks, item["conversations"], strict=True):
            if name == "unlabeled":
                self.seen["unlabeled"] += 1
                continue
            if name in kept:
                self.seen["together"] += 1
                mask, text = kept[name][0] | (mask > 0), kept[name][1]
            kept[name] = (mask > 0, text)
        return list(kept), np.stack([m for m, _ in kept.values()]), [t for _, t in kept.values()]

    def ignored(self, sample: Sample, label: np.ndarray, part: dict) -> list[str]:
        unlabeled = [number for number, name in enumerate(part["classes"]) if name == "unlabeled"]
        return self.same_region(sample, (label == 255) | np.isin(label, unlabeled))

    @staticmethod
    def same_region(sample: Sample, ignored: np.ndarray) -> list[str]:
        wrong = int((sample.ignore != ignored).sum())
        return [f"{wrong} ignored pixels differ"] if wrong else []

    def referring(self, name: str, part: dict) -> None:
        dataset = open_refer_seg(self.tree, name, EVERYTHING)
        self.count(f"refer_seg {name}", len(dataset), part["n_images"])
        samples = {dataset.sample(i, Script(0, (0.0,))).image_id: i for i in range(len(dataset))}
        for item in part["items"]:
            what = f"refer_seg {name} {item['image_path']} template {item['choice_index']}"
            index = samples.get(str(item["image_id"]))
            if index is None:
                self.record(what, ["not among our records"])
                continue
            sample = dataset.sample(index, Script(item["choice_index"], (0.0,)))
            masks = self.masks(f"{name}/{item['image_id']}")
            if (masks == 2).any():
                self.seen["union"] += 1
            problems = self.common(sample, item, item["conversations"], masks > 0)
            self.record(what, problems + self.same_region(sample, np.zeros(masks.shape[1:], bool)))

    def talking(self, items: list[dict]) -> None:
        dataset = open_vqa(self.tree, "llava_instruct_150k", EVERYTHING)
        self.count("vqa", len(dataset), len({item["index"] for item in items}))
        for item in items:
            sample = dataset.sample(item["index"], Script(0, (0.0,)))
            template = item.get("conv_type", "llava_v1")
            no_masks = np.zeros((0, *sample.image.shape[:2]), bool)
            self.record(
                f"vqa {item['index']} {template}", self.common(sample, item, item["conversations"], no_masks, template)
            )

    def reasoning(self, part: dict) -> None:
        explained = SampleOptions(num_classes_per_sample=10**6, explanatory=0.1)
        dataset = open_reason_seg(self.tree, "ReasonSeg|train", explained)
        self.count("reason_seg train", len(dataset), part["n"])
        joined = open_reason_seg(self.tree, "ReasonSeg|train_val", explained)
        self.count("reason_seg train_val", len(joined), self.official["reason_seg_train_val_n"])
        by_path = {self.path(dataset.sample(i, Script(0, (0.5,)))): i for i in range(len(dataset))}
        values = {0: (0.9, 0.0, 0.9), 1: (0.9, 0.9), 2: (0.0, 0.9), None: (0.9,)}
        for item in part["items"]:
            what = f"reason_seg {item['image_path']} choice {item['choice']}"
            if item["image_path"] not in by_path:
                self.record(what, ["not among our records"])
                continue
            sample = dataset.sample(by_path[item["image_path"]], Script(item["choice_index"], values[item["choice"]]))
            name = Path(item["image_path"]).name
            raw = self.masks(f"reason_raw/{name}")
            masks = self.masks(f"reason_train/{name}")
            problems = self.common(sample, item, item["conversations"], masks[: item["masks_shape"][0]] > 0)
            if (raw == 255).any():
                self.seen["ignored"] += 1
            self.record(what, problems + self.same_region(sample, raw == 255))

    def validation(self, key: str, part: dict) -> None:
        spec, _, template = key.partition("@")
        dataset = open_validation(self.tree, spec)
        self.count(f"val {key}", len(dataset), part["n"])
        samples = {self.path(sample): sample for sample in map(dataset.sample, range(len(dataset)))}
        for item in part["items"]:
            what = f"val {key} {item['image_path']}"
            if item["image_path"] not in samples:
                self.record(what, ["not among our records"])
                continue
            sample = samples[item["image_path"]]
            masks = self.masks(f"val/{spec}/{Path(item['image_path']).name}")
            if (masks == 2).any():
                self.seen["union"] += 1
            target = (masks == 1) | (masks == 2)
            problems = self.common(sample, item, item["conversations"], target, template or "llava_v1")
            self.record(what, problems + self.same_region(sample, masks[0] == 255))

    def common(
        self, sample: Sample, item: dict, texts: list[str], masks: np.ndarray, template: str = "llava_v1"
    ) -> list[str]:
        """Picture, conversations and masks, pixel by pixel."""
        problems = list(self.picture(sample, item))
        ours = [written(conversation, template) for conversation in sample.conversations]
        if ours != texts:
            wrong = [f"{a!r}, official {b!r}" for a, b in zip(ours, texts, strict=False) if a != b]
            problems.append(f"{len(ours)} conversations, official {len(texts)}; {wrong[:1]}")
        if sample.masks.shape != masks.shape:
            return [*problems, f"masks {sample.masks.shape}, official {masks.shape}"]
        for number, (mask, expected) in enumerate(zip(sample.masks, masks, strict=True)):
            if (mask != expected).any():
                areas = f"area {mask.sum()}, official {expected.sum()}"
                problems.append(f"mask {number}: {(mask != expected).sum()} pixels differ, {areas}")
        return problems

    def picture(self, sample: Sample, item: dict) -> Iterator[str]:
        if self.path(sample) != item["image_path"]:
            yield f"picture {self.path(sample)}"
        if list(sample.image.shape[:2]) != item["label_shape"]:
            yield f"size {sample.image.shape[:2]}, official {item['label_shape']}"
        pixels, size = resize_and_pad(sample.image, 1024)
        if list(size.resized) != item["resize"]:
            yield f"resized to {size.resized}, official {item['resize']}"
        if abs(pixels.mean().item() - item["sam_mean"]) > PIXEL_TOLERANCE:
            yield f"mean of SAM's pixels {pixels.mean().item():.5f}, official {item['sam_mean']:.5f}"

    def path(self, sample: Sample) -> str:
        return sample.image_path.relative_to(self.tree).as_posix()


def written(conversation: Conversation, template: str) -> str:
    """A conversation as the template writes it."""
    return "".join(span.text for span in write(conversation, TEMPLATES[template]))


def _only(folder: Path, pattern: str) -> Path:
    found = sorted(folder.glob(pattern))
    if len(found) != 1:
        raise FileNotFoundError(f"{folder}: {len(found)} files match {pattern}, but there must be one")
    return found[0]


def main(argv: list[str]) -> int:
    if len(argv) != 1:
        print("usage: python tests/formats.py DIR", file=sys.stderr)
        return 2
    comparison = Comparison(Path(argv[0]))
    comparison.run()
    print("\nDeliberate differences, and how many records they concern:")
    for name, number in comparison.seen.items():
        print(f"  {number:3} {DIFFERENCES[name]}")
    print(f"{comparison.compared} compared, {comparison.failed} failed")
    return int(comparison.failed > 0)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
