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
from lisa.flag_ranges import device_problems, number_problems, refuse
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
    model = check_flags(flags)
    # Imported late: `--help` and refusals should not wait for torch.
    from datasets.texts import TextNotes, check_texts
    from lisa.allocator import keep_freed_memory
    from lisa.checkpoint import load
    from sam_bridge import EmbeddingCache

    cache = EmbeddingCache(flags.cache_sam) if flags.cache_sam else None  # a bad folder is told before data is read
    validation_sets = open_validation_sets(flags)
    keep_freed_memory()
    predictor = load(model, device=flags.device)
    notes = flags.out.with_name(f"{flags.out.stem}_text_notes.jsonl")
    notes.unlink(missing_ok=True)
    validation_sets = check_texts(predictor.processor, notes, validation_sets)
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
    for line in TextNotes(notes).summary():
        print(line)
    return report


def check_flags(flags: EvalFlags) -> Path:
    """The folder of the model. Refuses all that can be known to be wrong before data and model are touched, at once;
    makes the folders of the output."""
    from datasets.names import open_tree, validation_problems
    from lisa.checkpoint import find_model

    problems = [*number_problems(flags), *device_problems(flags.device)]
    if not flags.data:
        problems.append("--data is empty: name at least one split, for example --data 'refcoco|unc|val'")
    if len(set(flags.data)) < len(flags.data):
        problems.append(f"--data names a split twice: {', '.join(flags.data)}")
    tree, wrong = open_tree(flags.dataset_dir, flags.elsewhere, DEFAULT_DATASET_DIR)
    problems += [*wrong, *validation_problems("--data", tree, flags.data)]
    outputs = list(filter(None, (flags.out, flags.save_predictions)))
    problems += [f"{path} is a folder; name a file to write to" for path in outputs if path.is_dir()]
    if flags.save_predictions and flags.save_predictions.resolve() == flags.out.resolve():
        problems.append(f"--out and --save_predictions are the same file: {flags.out}")
    if flags.cache_sam and flags.cache_sam.is_file():
        problems.append(f"--cache_sam {flags.cache_sam} is a file; name a folder for SAM's image embeddings")
    try:
        model = find_model(flags.model)
    except (ValueError, OSError) as error:
        problems.append(str(error))
    refuse(problems)
    for path in outputs:
        path.parent.mkdir(parents=True, exist_ok=True)
    return model


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
