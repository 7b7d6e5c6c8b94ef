"""Compare our model with the reference's outputs: `python tests/parity.py DIR`.

DIR holds a released LISA with its vision tower, what training started from, pictures, and golden/ with inputs and
outputs of the official code. Nothing about sizes or names is known here; they come from the files. One line for each
comparison, then `N compared, N failed`; status 1 when any failed.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path

sys.path[:0] = [str(Path(__file__).resolve().parents[1]), str(Path(__file__).resolve().parent)]

import torch
from parity_checks.forward import check_forward
from parity_checks.generation import check_generation
from parity_checks.pictures import check_pictures
from parity_checks.report import Golden, Report
from parity_checks.scores import check_scores
from parity_checks.texts import check_texts
from parity_checks.weights import check_merge, check_round_trip, check_start, check_tower_inside

from lisa.released import ReleasedOptions, holds_llava, holds_released, open_released
from lisa.released.files import weight_files

DATA = ("golden", "images")
"""Folders of inputs and outputs; the others hold weights."""


def main(argv: list[str] | None = None) -> int:
    """Status 0 when everything is as it should be."""
    arguments = sys.argv[1:] if argv is None else argv
    if len(arguments) != 1 or not Path(arguments[0]).is_dir():
        print("usage: python tests/parity.py DIR   (a folder with a released LISA and golden/)", file=sys.stderr)
        return 2
    folder = Path(arguments[0]).resolve()
    report = Report()
    torch.manual_seed(0)
    released = _only(report, "released LISA", [path for path in _folders(folder) if holds_released(path)])
    if released is not None:
        check_folder(report, folder, released)
    print(f"{report.compared} compared, {report.failed} failed")
    return 1 if report.failed or not report.compared else 0


def check_folder(report: Report, folder: Path, released: Path) -> None:
    """Everything in the folder."""
    tower = _only(report, "vision tower", [path for path in _folders(folder) if _model_type(path) == "clip"])
    options = ReleasedOptions(vision_tower=str(tower)) if tower else ReleasedOptions()
    opened = open_released(released, options)
    model, processor = opened.model(torch.float32), opened.processor
    checks: dict[str, Callable[[Golden], None]] = {
        "train": lambda golden: check_forward(report, golden, model, processor, folder / "images"),
        "infer": lambda golden: check_forward(report, golden, model, processor, folder / "images"),
        "eval": lambda golden: check_generation(report, golden, model, processor, folder / "images"),
        "tokenization": lambda golden: check_texts(report, golden, processor),
        "metrics": lambda golden: check_scores(report, golden),
    }
    for path in sorted((folder / "golden").glob("*.json")):
        kind = next((kind for kind in checks if kind in path.stem.split("_")), None)
        _guarded(
            report, path.stem, checks.get(kind, lambda golden: report.fail(golden.name, "case", "unknown kind")), path
        )
    for path in sorted((folder / "golden").iterdir()):
        if path.suffix != ".json" and not (path.suffix == ".safetensors" and path.with_suffix(".json").is_file()):
            report.fail(path.name, "file", "belongs to no case")
    if (folder / "images").is_dir():
        check_pictures(report, folder / "images", processor.config.sam_size.image_size)
    check_weights(report, folder, released, tower, model)


def check_weights(report: Report, folder: Path, released: Path, tower: Path | None, model) -> None:
    """The LoRA checkpoint, the start of training, and the round trip, as far as their files are there."""
    base = next((path for path in _folders(folder) if holds_llava(path)), None)
    lora = next((path for path in _folders(folder) if _is_training_checkpoint(path)), None)
    sam = next(iter(sorted(folder.glob("*.pth"))), None)
    known = {*DATA, *(part.name for part in (base, lora, sam, tower, released) if part is not None)}
    for path in sorted(folder.iterdir()):
        if path.name not in known:
            report.listed(folder.name, path.name, "nothing is known about it")
    missing = [
        name for name, part in {"base": base, "LoRA": lora, "SAM": sam, "vision tower": tower}.items() if part is None
    ]
    if missing:
        report.listed(folder.name, ", ".join(missing), "there is none in the folder")
    if lora and base:
        _run(report, lora.name, lambda: check_merge(report, lora, base, released))
        if tower:
            _run(report, lora.name, lambda: check_tower_inside(report, lora, tower))
    if base and sam and tower:
        _run(report, base.name, lambda: check_start(report, base, sam, tower, released))
    if tower:
        _run(report, released.name, lambda: check_round_trip(report, released, tower, model))


def _guarded(report: Report, name: str, check: Callable[[Golden], None], path: Path) -> None:
    _run(report, name, lambda: check(Golden(path)))


def _run(report: Report, name: str, check: Callable[[], None]) -> None:
    """A case that breaks off is one that failed; the others are still compared."""
    try:
        check()
    except Exception as error:
        report.fail(name, "case", f"broke off: {type(error).__name__}: {error}")


def _folders(folder: Path) -> list[Path]:
    return sorted(path for path in folder.iterdir() if path.is_dir())


def _model_type(path: Path) -> str:
    config = path / "config.json"
    return json.loads(config.read_text(encoding="utf-8")).get("model_type", "")[:4] if config.is_file() else ""


def _is_training_checkpoint(path: Path) -> bool:
    """Weights without a config, as the reference's training leaves them."""
    if path.name in DATA or (path / "config.json").exists():
        return False
    try:
        return bool(weight_files(path))
    except FileNotFoundError:
        return False


def _only(report: Report, what: str, found: list[Path]) -> Path | None:
    if len(found) != 1:
        report.fail(what, "folder", f"{len(found)} found, {[path.name for path in found]}")
        return None
    return found[0]


if __name__ == "__main__":
    raise SystemExit(main())
