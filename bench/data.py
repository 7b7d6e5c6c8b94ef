"""What a large annotation file costs: `python bench/data.py [--megabytes 300] [--out data.json]`.

A refCOCO of the wanted size is made from the synthetic world by repeating its records. Compared are our loader, which
maps an index, and one that keeps the parsed files in every worker, as the reference does; both give the same masks.
"""

from __future__ import annotations

import json
import multiprocessing
import pickle
import shutil
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # our `datasets` comes before Hugging Face's

import numpy as np
import tyro
from rich.console import Console
from rich.table import Table

from datasets.images import read_picture
from datasets.masks import segmentation_mask
from datasets.refer import ReferPictures, load_refer
from datasets.synthetic import render_world
from datasets.tree import Tree

SPLIT = ("refcoco", "unc", "train")


@dataclass(frozen=True, kw_only=True)
class Flags:
    """Open time, samples per second and memory per worker of a large refCOCO."""

    megabytes: int = 300
    """Size of instances.json."""
    workers: int = 4
    """Processes that read samples."""
    samples: int = 500
    """Samples that each worker reads."""
    pairs: int = 5
    """Times that each side of a ratio is measured."""
    out: Path | None = None
    """Also write the figures here, as JSON."""


class Naive:
    """The parsed files as they are, in the memory of each process that touches them."""

    def __init__(self, root: Path) -> None:
        refs = pickle.loads((root / "refer_seg/refcoco/refs(unc).p").read_bytes())  # our own file, just written
        instances = json.loads((root / "refer_seg/refcoco/instances.json").read_text())
        self.images = {image["id"]: image for image in instances["images"]}
        self.annotations = {annotation["id"]: annotation for annotation in instances["annotations"]}
        self.refs: dict[int, list[dict]] = {}
        for ref in refs:
            if ref["split"] == "train":
                self.refs.setdefault(ref["image_id"], []).append(ref)
        self.ids = list(self.refs)
        self.root = root / "refer_seg/images/mscoco/images/train2014"

    def __len__(self) -> int:
        return len(self.ids)

    def masks(self, index: int) -> np.ndarray:
        """(N, H, W) bool: one per ref of a picture, which is read too."""
        image = self.images[self.ids[index]]
        read_picture(self.root / image["file_name"])
        segmentations = [self.annotations[ref["ann_id"]]["segmentation"] for ref in self.refs[image["id"]]]
        return np.stack([segmentation_mask(s, image["height"], image["width"]) for s in segmentations])


class Mapped:
    """Our loader."""

    def __init__(self, pictures: ReferPictures) -> None:
        self.pictures = pictures

    def __len__(self) -> int:
        return len(self.pictures)

    def masks(self, index: int) -> np.ndarray:
        """As those of Naive."""
        record = self.pictures[index]
        return record.masks([target.parts for target in record.targets], read_picture(record.path))


def main(argv: list[str] | None = None) -> dict:
    """Measure, print a table, write JSON."""
    flags = tyro.cli(Flags, args=argv, prog="bench/data.py")
    folder = Path(tempfile.mkdtemp(prefix="bench-data-"))
    try:
        result = measure(folder, flags)
    finally:
        shutil.rmtree(folder)
    _print(result)
    if flags.out:
        flags.out.write_text(json.dumps(result, indent=1) + "\n")
    return result


def measure(folder: Path, flags: Flags) -> dict:
    """All rows; a is the naive loader, b ours."""
    from bench.report import environment

    root = enlarge(render_world(folder / "world", images=200, seed=0), flags.megabytes)
    tree = Tree(root=root, index_dir=folder / "index")
    first = _seconds(lambda: load_refer(tree, *SPLIT))
    opened = [(_seconds(lambda: Naive(root)), _seconds(lambda: load_refer(tree, *SPLIT))) for _ in range(flags.pairs)]
    naive, mapped = Naive(root), Mapped(load_refer(tree, *SPLIT))
    difference = max(float((naive.masks(i) != mapped.masks(i)).mean()) for i in range(50))
    chosen = np.random.default_rng(0).integers(len(naive), size=flags.samples).tolist()
    read = [
        tuple(_seconds(lambda side=side: [side.masks(i) for i in chosen]) for side in (naive, mapped))
        for _ in range(flags.pairs)
    ]
    memory = [_private_megabytes(side, flags) for side in (naive, mapped)]
    rows = [_row("open_again", opened, difference), _row("samples", read, difference)]
    rows[0]["b_first_seconds"] = first
    rows[1]["a_per_second"], rows[1]["b_per_second"] = (
        flags.samples / s["median"] for s in map(_stats, zip(*read, strict=True))
    )
    rows.append(
        {
            "name": "memory_per_worker",
            "ratio": memory[0] / memory[1],
            "a_megabytes": memory[0],
            "b_megabytes": memory[1],
        }
    )
    return environment() | {"megabytes": flags.megabytes, "pictures": len(naive), "rows": rows}


def enlarge(root: Path, megabytes: int) -> Path:
    """Repeat the records of a rendered refCOCO under new ids until instances.json has the size; returns `root`."""
    folder = root / "refer_seg/refcoco"
    instances = json.loads((folder / "instances.json").read_text())
    refs = pickle.loads((folder / "refs(unc).p").read_bytes())
    copies = 1 + megabytes * 10**6 // (folder / "instances.json").stat().st_size
    step = 10**6

    def shifted(records: list[dict], *keys: str) -> list[dict]:
        return [r | {key: r[key] + copy * step for key in keys} for copy in range(copies) for r in records]

    tables = {
        "images": shifted(instances["images"], "id"),
        "annotations": shifted(instances["annotations"], "id", "image_id"),
        "categories": instances["categories"],
    }
    (folder / "instances.json").write_text(json.dumps(tables))
    (folder / "refs(unc).p").write_bytes(pickle.dumps(shifted(refs, "ref_id", "ann_id", "image_id"), protocol=2))
    return root


def _private_megabytes(side: Naive | Mapped, flags: Flags) -> float:
    """Median over the workers of the memory that is a worker's own after it has read its samples."""
    context = multiprocessing.get_context("fork")
    queue = context.Queue()
    workers = [context.Process(target=_work, args=(side, seed, flags.samples, queue)) for seed in range(flags.workers)]
    for worker in workers:
        worker.start()
    sizes = [queue.get() for _ in workers]
    for worker in workers:
        worker.join()
    return statistics.median(sizes)


def _work(side: Naive | Mapped, seed: int, samples: int, queue: multiprocessing.Queue) -> None:
    # A whole epoch touches every record; so much of it is done here without pictures.
    records = side.refs.values() if isinstance(side, Naive) else iter(side.pictures)
    for _ in records:
        pass
    if isinstance(side, Naive):
        for annotation in side.annotations.values():
            len(annotation["segmentation"])
    for index in np.random.default_rng(seed).integers(len(side), size=samples):
        side.masks(int(index))
    lines = Path("/proc/self/smaps_rollup").read_text().splitlines()
    queue.put(sum(int(line.split()[1]) for line in lines if line.startswith("Private_")) / 1024)


def _seconds(call: Callable[[], object]) -> float:
    start = time.perf_counter()
    call()
    return time.perf_counter() - start


def _stats(values: tuple[float, ...]) -> dict:
    return {"median": statistics.median(values)}


def _row(name: str, pairs: list[tuple[float, float]], difference: float) -> dict:
    a, b = (list(side) for side in zip(*pairs, strict=True))
    ratio = statistics.median(x / y for x, y in pairs)
    return {"name": name, "ratio": ratio, "max_rel_diff": difference, "a_seconds": a, "b_seconds": b}


def _print(result: dict) -> None:
    opened, samples, memory = result["rows"]
    table = Table(title=f"refCOCO of {result['megabytes']} MB, {result['pictures']} pictures")
    for column in ("", "parsed in each worker", "index", "ratio"):
        table.add_column(column)
    medians = [f"{statistics.median(opened[side]):.2f} s" for side in ("a_seconds", "b_seconds")]
    table.add_row(f"open again (first time {opened['b_first_seconds']:.1f} s)", *medians, f"{opened['ratio']:.1f}")
    rates = [f"{samples[side]:.0f}" for side in ("a_per_second", "b_per_second")]
    table.add_row("samples per second", *rates, f"{samples['ratio']:.2f}")
    sizes = [f"{memory[side]:.0f} MB" for side in ("a_megabytes", "b_megabytes")]
    table.add_row("memory of a worker", *sizes, f"{memory['ratio']:.1f}")
    Console().print(table)


if __name__ == "__main__":
    main()
