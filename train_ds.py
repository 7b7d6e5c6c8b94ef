"""Train a LISA: `python train_ds.py` builds a small one from nothing, on a synthetic world, in minutes on a CPU.

Flags choose real data (--dataset_dir), a pretrained model (--version) and everything else; see --help.
"""

from __future__ import annotations

import itertools
import os
import shutil
import sys
from functools import partial
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent))  # our `datasets` comes before Hugging Face's

from lisa.allocator import keep_freed_memory
from lisa.arguments import TINY, TrainArgs, parse

TOKENIZER_SAMPLES = 3000


def main(argv: list[str] | None = None) -> dict:
    """Flags -> data, model, trainer -> train, save, validate; returns the report."""
    from lisa.generation import Predictor

    args = parse(argv)
    keep_freed_memory()
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    prepare_run_dir(args)
    mixture, validation_sets = open_data(args)
    model, processor = make_model(args, mixture)
    if not args.eval_only:
        train(args, model, processor, mixture, validation_sets)
    return validate(args, Predictor(model, processor, name=args.exp_name), validation_sets) if validation_sets else {}


def prepare_run_dir(args: TrainArgs) -> None:
    """Make the run's folder; an earlier run of the same name is continued or deleted only when asked."""
    used = (args.run_dir / "metrics.jsonl").exists() or (args.run_dir / "checkpoints").exists()
    if used and args.overwrite:
        shutil.rmtree(args.run_dir)
    elif used and not (args.resume or args.eval_only):
        raise ValueError(
            f"{args.run_dir} holds an earlier run: --resume continues it, --overwrite starts again, "
            "--exp_name gives this run a folder of its own"
        )
    args.run_dir.mkdir(parents=True, exist_ok=True)


def open_data(args: TrainArgs):
    """The training mixture and the validation sets, checked; the default world is rendered on first use."""
    from datasets.mixture import MixtureOptions, open_mixture
    from datasets.validation import open_validation

    if args.dataset_dir == TINY.dataset_dir:
        from datasets.synthetic import render_world

        render_world(args.dataset_dir, images=3000, seed=0)
    options = MixtureOptions(**{name: getattr(args, name) for name in MixtureOptions.__dataclass_fields__})
    mixture = open_mixture(args.dataset_dir, options, args.seed)
    specs = args.val_dataset.split("||")
    return mixture, [] if args.no_eval else [open_validation(args.dataset_dir, spec) for spec in specs]


def make_model(args: TrainArgs, mixture):
    """Model and processor to start from, with the parts that learn chosen."""
    from lisa.start import start_model
    from lisa.trainable import choose_trainable

    model, processor = start_model(args, partial(sentences, mixture))
    choose_trainable(model, processor, args)
    return model, processor


def sentences(mixture):
    """What is said in the training data, for a tokenizer to learn from."""
    for i in range(TOKENIZER_SAMPLES):
        for conversation in mixture.sample(0, i).conversations:
            yield from (turn.text for turn in conversation.turns)


def train(args: TrainArgs, model, processor, mixture, validation_sets) -> None:
    """All stages, then the model's folder; validates between epochs when asked."""
    from datasets.collate import collate
    from lisa.checkpoint import save
    from lisa.trainable import merged_state_dict
    from lisa.trainer import Trainer

    trainer = Trainer(model, args, mixture.sample, partial(collate, processor=processor))
    trainer.run_until(args.grounding_steps, "grounding")
    for epoch in range(1, args.epochs + 1):
        trainer.run_until(args.grounding_steps + epoch * args.steps_per_epoch, "answers")
        if args.eval_every and epoch % args.eval_every == 0 and epoch < args.epochs:
            validate(args, Predictor(model, processor, name=args.exp_name), validation_sets)
    save(model, processor, args.run_dir / "model", args.save_dtype)


def validate(args: TrainArgs, predictor, validation_sets) -> dict:
    """Score the model on every validation set, in both modes; writes report.json and predictions.png."""
    import numpy as np

    from eval.benchmark import evaluate
    from eval.predictions import PredictionPick
    from eval.report import make_report, print_report, write_report
    from eval.sheet import prediction_sheet

    results, rows = [], []
    for validation_set in validation_sets:
        for mode in ("teacher_forced", "generated"):
            pick = PredictionPick(validation_set.num_samples, 6, np.random.default_rng(args.seed))
            options = {"batch_size": args.val_batch_size, "limit": args.val_limit or None, "seed": args.seed}
            results.append(evaluate(predictor, validation_set, mode, predictions=pick, **options))
            rows += pick.rows if mode == "generated" else []
    report = make_report(predictor.name, results)
    write_report(report, args.run_dir / "report.json")
    print_report(report)
    prediction_sheet(rows, args.run_dir / "predictions.png")
    return report


if __name__ == "__main__":
    try:
        main()
    except (ValueError, FileNotFoundError) as error:
        print(f"error: {error}", file=sys.stderr)
        raise SystemExit(2) from None
