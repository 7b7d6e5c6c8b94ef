"""Train a LISA: `python train_ds.py` builds a small one from nothing, on a synthetic world, in minutes on a CPU.

Flags choose real data (--dataset_dir), a pretrained model (--version) and everything else; see --help.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

sys.path.insert(0, str(Path(__file__).resolve().parent))  # our `datasets` comes before Hugging Face's

from lisa.allocator import keep_freed_memory
from lisa.arguments import TINY, TrainArgs, parse

if TYPE_CHECKING:
    from datasets.mixture import Mixture
    from datasets.validation import ValidationSet
    from lisa import LisaModel, LisaProcessor, Predictor
    from lisa.run_stop import StopSignals
    from lisa.trainer import Trainer

WORLD_IMAGES = 3000
TOKENIZER_SAMPLES = 3000
POINTING_PICTURES = 100


def main(argv: list[str] | None = None) -> dict:
    """Flags -> data, model, trainer -> train, save, validate; returns the report."""
    argv = sys.argv[1:] if argv is None else argv
    if "RANK" not in os.environ:
        return one_run(argv)
    from lisa.processes import one_of_several

    with one_of_several():
        return one_run(argv)


def one_run(argv: list[str]) -> dict:
    """What each process does; the first one alone writes to the run's folder, which it locks, and validates."""
    args = parse(argv, [data_problems])
    keep_freed_memory()
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    from eval.readable import check_readable
    from lisa.precision import resolve_precision
    from lisa.processes import is_first
    from lisa.run_dir import check_run_dir, check_writable
    from lisa.run_lock import run_lock
    from lisa.run_stop import StopSignals

    if not is_first():
        with StopSignals() as signals:
            return {} if args.eval_only else train_together(args, argv, signals)
    print(args.summary(), flush=True)
    check_writable(args.run_dir)
    with run_lock(args.run_dir):
        args = args if args.eval_only else resolve_precision(args)
        check_run_dir(args)
        data = open_data(args)
        for validation_set in data[1]:
            check_readable(validation_set, args.val_limit or None)
        if args.eval_only:
            return validate_only(args, *data)
        with StopSignals() as signals:
            return train_together(args, argv, signals, data)


def train_together(
    args: TrainArgs, argv: list[str], signals: StopSignals, data: tuple[Mixture, list[ValidationSet]] | None = None
) -> dict:
    """Train in all processes, then validate in the first, which has the data open already."""
    from lisa.processes import is_first, together

    with together(args.processes, main, argv):
        mixture, validation_sets = data or open_data(args)
        model, processor = make_model(args, mixture)
        validation_sets = readable_texts(args, processor, mixture, validation_sets)
        train(args, model, processor, mixture, validation_sets, signals)
    if not is_first():
        return {}
    from lisa import load

    trained = load(args.run_dir / "model")
    keep_embeddings(args, trained.model, trained.processor)
    report = validate(args, trained, validation_sets)
    tell_text_notes(args)
    return report


def validate_only(args: TrainArgs, mixture: Mixture, validation_sets: list[ValidationSet]) -> dict:
    """Score the model of --version as it is."""
    from lisa import Predictor
    from lisa.checkpoint import pick_device

    model, processor = make_model(args, mixture)
    model.to(pick_device("auto"))
    validation_sets = readable_texts(args, processor, mixture, validation_sets)
    report = validate(args, Predictor(model, processor, name=args.version), validation_sets)
    tell_text_notes(args)
    return report


def data_problems(args: TrainArgs) -> list[str]:
    """What is wrong with the names of data."""
    from datasets.names import training_problems

    return training_problems(args, TINY.dataset_dir)


def readable_texts(
    args: TrainArgs, processor: LisaProcessor, mixture: Mixture, validation_sets: list[ValidationSet]
) -> list[ValidationSet]:
    """Refuse own texts that the model cannot read; texts of official data are made readable from here on."""
    from datasets.texts import check_texts
    from lisa.processes import is_first

    say = partial(print, flush=True) if is_first() else str
    return check_texts(processor, args.text_notes, validation_sets, mixture, say)


def tell_text_notes(args: TrainArgs) -> None:
    """Count what was done with official texts that the model could not read."""
    from datasets.texts import TextNotes

    for line in TextNotes(args.text_notes).summary():
        print(line, flush=True)


def open_data(args: TrainArgs) -> tuple[Mixture, list[ValidationSet]]:
    """The training mixture and the validation sets, checked; the default world is rendered on first use."""
    from datasets.mixture import MixtureOptions, open_mixture
    from datasets.names import needs_tree
    from datasets.tree import Tree
    from datasets.validation import open_validation

    specs = [] if args.no_eval else args.val_dataset.split("||")
    if needs_tree(args.dataset.split("||"), specs) and args.dataset_dir == TINY.dataset_dir:
        from datasets.synthetic import render_world

        render_world(args.dataset_dir, images=WORLD_IMAGES, seed=0)
    tree = Tree.at(args.dataset_dir, args.elsewhere, args.index_dir)
    validation_sets = [open_validation(tree, spec) for spec in specs]
    options = MixtureOptions(**{name: getattr(args, name) for name in MixtureOptions.__dataclass_fields__})
    return open_mixture(tree, options, args.seed), validation_sets


def make_model(args: TrainArgs, mixture: Mixture) -> tuple[LisaModel, LisaProcessor]:
    """Model and processor to start from, with the parts that learn chosen."""
    from lisa.compile import compile_parts
    from lisa.start import start_model
    from lisa.trainable import choose_trainable

    model, processor = start_model(args, partial(sentences, mixture, args.conv_type))
    choose_trainable(model, processor, args)
    if args.compile:
        compile_parts(model)
    keep_embeddings(args, model, processor)
    return model, processor


def keep_embeddings(args: TrainArgs, model: LisaModel, processor: LisaProcessor) -> None:
    """Keep SAM's image embeddings on disk, when asked."""
    from sam_bridge import EmbeddingCache

    if args.cache_sam:
        model.embedding_cache = EmbeddingCache(args.cache_sam)
        processor.makes_sam_keys = True


def sentences(mixture: Mixture, template: str) -> Iterator[str]:
    """What is said in the training data, as the template writes it, for a tokenizer to learn from."""
    from lisa.conversation import TEMPLATES, write

    for i in range(TOKENIZER_SAMPLES):
        for conversation in mixture.sample(0, i).conversations:
            yield "".join(span.text for span in write(conversation, TEMPLATES[template]))


def train(
    args: TrainArgs,
    model: LisaModel,
    processor: LisaProcessor,
    mixture: Mixture,
    validation_sets: list[ValidationSet],
    signals: StopSignals | None = None,
) -> None:
    """All stages, then the model's folder; validates between epochs when asked."""
    from datasets.collate import collate
    from lisa import Predictor
    from lisa.checkpoint import save
    from lisa.processes import is_first
    from lisa.run_dir import begin_run_dir
    from lisa.trainer import Trainer
    from lisa.whole_file import told_if_full

    if is_first():
        begin_run_dir(args)
    trainer = Trainer(model, args, mixture.sample, partial(collate, processor=processor), signals)
    *earlier, answers = args.stages
    for stage in earlier:
        if trainer.step < stage.last:
            trainer.run_until(stage.last, stage)
            for validation_set in validation_sets[:1] if is_first() else ():
                report_pointing(trainer, model, processor, validation_set, stage.name)
    for epoch in range(1, args.epochs + 1):
        trainer.run_until(answers.first + epoch * args.steps_per_epoch, answers)
        if is_first() and args.eval_every and epoch % args.eval_every == 0 and epoch < args.epochs:
            validate(args, Predictor(model, processor, name=args.exp_name), validation_sets)
    if is_first():
        mend = "the last checkpoint is whole: free space, and --resume writes the model"
        with told_if_full(args.run_dir / "model", mend):
            save(model, processor, args.run_dir / "model", args.save_dtype)


def report_pointing(
    trainer: Trainer, model: LisaModel, processor: LisaProcessor, validation_set: ValidationSet, stage: str
) -> None:
    """What a stage reached on held-out pictures: how often the best image token lies on what is named."""
    from datasets.collate import collate
    from lisa.pointing_game import measure_pointing

    pictures = range(min(len(validation_set), POINTING_PICTURES))
    batches = (collate([validation_set.sample(i)], processor) for i in pictures)
    trainer.note({"pointing": measure_pointing(model, batches)}, stage, validation_set.spec)


def validate(args: TrainArgs, predictor: Predictor, validation_sets: list[ValidationSet]) -> dict:
    """Score the model on every validation set, in both modes; writes report.json and predictions.png."""
    import numpy as np

    from eval.cli import evaluate_with_progress
    from eval.predictions import PredictionPick
    from eval.report import make_report, print_report, write_report
    from eval.sheet import prediction_sheet

    results, rows = [], []
    for validation_set in validation_sets:
        for mode in ("teacher_forced", "generated"):
            pick = PredictionPick(validation_set.num_samples, 6, np.random.default_rng(args.seed))
            options = {"batch_size": args.val_batch_size, "limit": args.val_limit or None, "seed": args.seed}
            results.append(evaluate_with_progress(predictor, validation_set, mode, predictions=pick, **options))
            rows += pick.rows if mode == "generated" else []
    if not results:
        return {}
    report = make_report(predictor.name, results)
    if not args.eval_only:
        report["precision"] = args.precision
    write_report(report, args.run_dir / "report.json")
    print_report(report)
    prediction_sheet(rows, args.run_dir / "predictions.png")
    return report


if __name__ == "__main__":
    from lisa.cli.exits import exit_with_sentence

    exit_with_sentence(main)
