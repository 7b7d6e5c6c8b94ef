"""The whole tree, on all cores: written beside its place, and moved there when it is whole."""

from __future__ import annotations

import fcntl
import json
import os
import shutil
import sys
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from multiprocessing import get_context, parent_process
from pathlib import Path
from threading import Thread

import cv2

from datasets.synthetic.catalog import HELD_OUT_PAIRS
from datasets.synthetic.scene import SPLITS, split_of
from datasets.synthetic.wordings import tables
from datasets.synthetic.writers import WRITERS
from datasets.synthetic.writers.material import make_material

VERSION = 2
"""Counts changes of what the same arguments write: 1 had four formats only, with the same pictures in them."""
WORLD_FILE = "world.json"
MARK_FILE = "being-rendered"
MIN_IMAGES = len(SPLITS)


@dataclass(frozen=True, kw_only=True)
class Arguments:
    """What the content of a tree depends on."""

    images: int
    seed: int

    @property
    def record(self) -> dict[str, int]:
        """As they are kept in world.json."""
        return {"version": VERSION, "images": self.images, "seed": self.seed}


def render_world(out: Path, images: int, seed: int, workers: int | None = None) -> Path:
    """Render `images` pictures into `out`, unless they are there already; returns `out`.

    The files depend on `images` and `seed` only, not on the number of `workers` (default: all cores).
    Raises ValueError when the arguments make no sense, and FileExistsError when `out` holds something else.
    """
    out, arguments = Path(out), Arguments(images=images, seed=seed)
    if images < MIN_IMAGES or seed < 0:
        raise ValueError(
            f"--images must be at least {MIN_IMAGES}, one for each split, and --seed at least 0, "
            f"but they are {images} and {seed}"
        )
    if is_whole(out, arguments):
        return out
    partial_out = out.with_name(f"{out.name}.partial")
    with _claimed(partial_out):
        records = _render_pictures(partial_out, arguments, workers or _cores())
        counts = {
            name: writer.write_index([r for r in records[name] if r is not None], partial_out)
            for name, writer in WRITERS.items()
        }
        (partial_out / WORLD_FILE).write_text(json.dumps(_world(arguments, counts), indent=1))
        if out.exists():
            out.rmdir()  # is_whole() has made sure that it is empty
        partial_out.rename(out)
        (out / MARK_FILE).unlink()
    return out


def is_whole(out: Path, arguments: Arguments) -> bool:
    """Whether `out` is the finished tree of these arguments; False when there is nothing yet.

    Raises FileExistsError when it is the tree of other arguments, or no tree of ours.
    """
    if not out.exists() or (out.is_dir() and not any(out.iterdir())):
        return False
    world = out / WORLD_FILE
    if not world.is_file():
        raise FileExistsError(
            f"{out} exists, but it has no {WORLD_FILE}, so it is no rendered world: choose another folder"
        )
    found = json.loads(world.read_text())["arguments"]
    if found != arguments.record:
        raise FileExistsError(
            f"{out} is a world rendered with {found}, not with {arguments.record}"
            f"{'' if found.get('version') == VERSION else ' (an older one lacks some of the formats)'}: "
            "choose another folder, or delete this one"
        )
    return True


@contextmanager
def _claimed(folder: Path) -> Iterator[None]:
    """An empty folder with our mark in it, which this process has locked.

    What an interrupted call has left is deleted, but only if it has our mark.
    """
    mark = folder / MARK_FILE
    if folder.exists() and not mark.is_file() and any(folder.iterdir()):
        raise FileExistsError(f"{folder} is in the way, and no interrupted call has left it: move it away")
    folder.mkdir(parents=True, exist_ok=True)
    with mark.open("a") as handle:
        try:
            # This kind of lock goes with the process, and forked workers do not keep it.
            fcntl.lockf(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            raise FileExistsError(f"{folder}: another process is rendering into it; wait for it") from error
        for left_over in folder.iterdir():
            if left_over.is_dir():
                shutil.rmtree(left_over)
            elif left_over != mark:
                left_over.unlink()
        yield


def _cores() -> int:
    """Cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _render_pictures(root: Path, arguments: Arguments, workers: int) -> dict[str, list]:
    """Writer -> its records in the order of the pictures, with None where it had nothing to write."""
    from rich.progress import track

    with _pool(workers) as run:
        work = run(partial(_render_one, root, arguments.seed), range(arguments.images))
        done = list(track(work, description="Rendering the synthetic world", total=arguments.images))
    return {name: [records[name] for records in done] for name in WRITERS}


@contextmanager
def _pool(workers: int) -> Iterator:
    """A function like map(), in this process or on several."""
    if workers <= 1:
        yield map
        return
    # Forked workers start at once and import nothing again; elsewhere than on Linux forking is not safe.
    context = get_context("fork" if sys.platform == "linux" else "spawn")
    pool = ProcessPoolExecutor(workers, mp_context=context, initializer=_start_worker)
    try:
        yield partial(pool.map, chunksize=8)
    finally:
        pool.shutdown(cancel_futures=True)


def _start_worker() -> None:
    """One thread per worker, and no worker that outlives the process that started it."""
    cv2.setNumThreads(0)
    Thread(target=_exit_with_parent, daemon=True).start()


def _exit_with_parent() -> None:
    # A killed parent cannot shut its pool down, and a worker would wait for work forever.
    parent_process().join()
    os._exit(1)


def _render_one(root: Path, seed: int, index: int) -> dict[str, dict | None]:
    material = make_material(seed, index)
    return {name: writer.write_picture(material, root) for name, writer in WRITERS.items()}


def _world(arguments: Arguments, counts: dict[str, dict]) -> dict:
    """What world.json says."""
    splits = {split: [i + 1 for i in range(arguments.images) if split_of(i) == split] for split in SPLITS}
    return {
        "arguments": arguments.record,
        "held_out_pairs": [f"{colour} {cls}" for cls, colour in HELD_OUT_PAIRS],
        "held_out_phrasings": {name: list(wording.kept) for name, wording in tables().items() if wording.kept},
        "counts": counts,
        "splits": splits,
    }
