"""The flags of every evaluation script, and what happens between them and the report."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import tyro

from eval.benchmark import Mode, evaluate
from eval.predictions import PredictionFile
from eval.report import CHECKOUT, display_path, make_report, print_report, write_report
from lisa.progress import progress_bar
from lisa.whole_file import whole_file

if TYPE_CHECKING:
    from datasets.validation import ValidationSet
    from lisa.generation import Predictor

DEFAULT_DATASET_DIR = CHECKOUT / "data" / "synthetic"
DEFAULT_WORLD_IMAGES = 3000


@dataclass(frozen=True, kw_only=True)
class EvalFlags:
    """Score a model on held-out pictures, beside baselines that learned nothing."""

    data: tuple[str, ...]
    """What to score, one or more joined by commas: dataset|split_by|split (refCOCO family) or ReasonSeg|split."""

    model: str = "tiny"
    """Folder of the model, or the name of one that comes with the checkout."""

    dataset_dir: Path = DEFAULT_DATASET_DIR
    """Folder with the data in its official layout. Default: a synthetic world, rendered on first use."""

    elsewhere: str = ""
    """Folders of the tree that lie in another place, joined by ||, as in coco/train2017=/mnt/coco/train2017."""

    index_dir: Path = CHECKOUT / "runs" / "index"
    """Where indexes over large annotation files are kept for the next time."""

    mode: Literal["teacher_forced", "generated", "both"] = "both"
    """Who writes the answer: the data (teacher_forced) or the model (generated)."""

    cache_sam: Path | None = None
    """Folder in which SAM's image embeddings are kept (fp16), so that a picture is encoded once, in all runs."""

    batch_size: int = 16
    """Pictures per batch, each with all of its questions."""

    limit: int | None = None
    """Score the first so many pictures of each split only."""

    seed: int = 0
    """Draws the bootstrap replicates and the questions of other pictures."""

    device: str = "auto"
    """Where the model runs: auto, cpu, cuda, cuda:1, ..."""

    out: Path = Path("report.json")
    """Where the report goes."""

    save_predictions: Path | None = None
    """Also write every answer here, one JSON line per sample, masks as COCO RLE."""

    blind: bool = True
    """Also ask the model the questions of other pictures; doubles the questions."""

    @property
    def modes(self) -> tuple[Mode, ...]:
        """The modes to score, in the order of the report."""
        return ("teacher_forced", "generated") if self.mode == "both" else (self.mode,)

    @property
    def options(self) -> dict:
        """What `evaluate` takes over from the flags."""
        return {name: getattr(self, name) for name in ("batch_size", "limit", "seed", "blind")}


def parse_flags(description: str, default: EvalFlags, argv: Sequence[str] | None) -> EvalFlags:
    """Flags of the command line (`sys.argv` when None); both `--batch_size` and `--batch-size` are known."""
    flags = tyro.cli(EvalFlags, args=argv, default=default, description=description, use_underscores=True)
    specs = [spec.strip() for argument in flags.data for spec in argument.split(",")]
    return replace(flags, data=tuple(filter(None, specs)))


def run(flags: EvalFlags) -> dict:
    """Check everything that can be checked, load the model, score all data, write and print the report."""
    check_flags(flags)
    # Imported late: `--help` and refusals should not wait for torch.
    from lisa.allocator import keep_freed_memory
    from lisa.checkpoint import find_model, load
    from sam_bridge import EmbeddingCache

    model = find_model(flags.model)
    cache = EmbeddingCache(flags.cache_sam) if flags.cache_sam else None  # a bad folder is told before data is read
    validation_sets = open_validation_sets(flags)
    keep_freed_memory()
    predictor = load(model, device=flags.device)
    if cache:
        predictor.model.embedding_cache = cache
    with contextlib.ExitStack() as stack:
        path = flags.save_predictions
        sink = PredictionFile(stack.enter_context(whole_file(path))) if path else None
        results = [
            evaluate_with_progress(predictor, validation_set, mode, predictions=sink, **flags.options)
            for validation_set in validation_sets
            for mode in flags.modes
        ]
    report = make_report(display_path(model), results)
    write_report(report, flags.out)
    print_report(report)
    return report


def check_flags(flags: EvalFlags) -> None:
    """Refuse what can be known to be wrong before data and model are touched; make the output folders."""
    if not flags.data:
        raise ValueError("--data is empty: name at least one split, for example --data 'refcoco|unc|val'")
    if len(set(flags.data)) < len(flags.data):
        raise ValueError(f"--data names a split twice: {', '.join(flags.data)}")
    if flags.batch_size < 1:
        raise ValueError(f"--batch_size {flags.batch_size}: at least one picture per batch is needed")
    if flags.limit is not None and flags.limit < 1:
        raise ValueError(f"--limit {flags.limit}: at least one picture is needed; leave it out to score all")
    if flags.seed < 0:
        raise ValueError(f"--seed {flags.seed}: a seed is 0 or greater")
    if flags.dataset_dir != DEFAULT_DATASET_DIR and not flags.dataset_dir.is_dir():
        raise FileNotFoundError(f"--dataset_dir {flags.dataset_dir}: there is no such folder")
    for path in filter(None, (flags.out, flags.save_predictions)):
        if path.is_dir():
            raise ValueError(f"{path} is a folder; name a file to write to")
        path.parent.mkdir(parents=True, exist_ok=True)
    if flags.save_predictions and flags.save_predictions.resolve() == flags.out.resolve():
        raise ValueError(f"--out and --save_predictions are the same file: {flags.out}")


def open_validation_sets(flags: EvalFlags) -> list[ValidationSet]:
    """All the data of the flags, opened and checked; renders the synthetic world on first use."""
    from datasets.tree import Tree
    from datasets.validation import open_validation

    if flags.dataset_dir == DEFAULT_DATASET_DIR:
        from datasets.synthetic import render_world

        render_world(flags.dataset_dir, images=DEFAULT_WORLD_IMAGES, seed=0)
    tree = Tree.at(flags.dataset_dir, flags.elsewhere, flags.index_dir)
    return [open_validation(tree, spec) for spec in flags.data]


def evaluate_with_progress(
    predictor: Predictor, validation_set: ValidationSet, mode: Mode, *, limit: int | None = None, **options
) -> dict:
    """`evaluate` with a progress bar; the options are those of `evaluate`."""
    total = len(validation_set) if limit is None else min(limit, len(validation_set))
    with progress_bar() as bar:
        task = bar.add_task(f"{validation_set.spec}, {mode.replace('_', '-')}", total=total)
        advance = partial(bar.advance, task)
        return evaluate(predictor, validation_set, mode, limit=limit, progress=advance, **options)
