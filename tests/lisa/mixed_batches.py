"""Batches of every kind, and short runs over them, for tests of the training step."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
from small_model import ask, picture, small_lisa

from lisa.arguments import TrainArgs
from lisa.trainable import choose_trainable
from lisa.trainer import Trainer

HEIGHT, WIDTH = 24, 32
HEADS = {f"{term}_loss_weight": 1.0 for term in ("dense", "ground", "look")}
KINDS = {
    "masks": [[ask("Where is the red ball?", "[SEG].")], [ask("Show both of them, please.", "Sure, [SEG] and [SEG].")]],
    "words": [[ask("Is there a dog?", "There is no dog.")], [ask("Where is the dog?", "No."), ask("Is it?", "No.")]],
    "mixed": [[ask("Where is the red ball?", "Sure, [SEG].")], [ask("Is there a dog?", "There is no dog.")]],
    "silent": [[ask("Where is the red ball?", "")], [ask("Is there a dog?", "")]],
}
"""Two pictures' conversations; nothing is said in the last."""
ONE = [KINDS["mixed"][0], KINDS["words"][1], KINDS["masks"][1], KINDS["words"][0], *KINDS["mixed"]]
"""Samples of a run, one after the other: steps of two have masks in one of them, the other, or both."""


def sample(number: int, talk) -> tuple:
    """A picture, what is said about it, its masks and their names."""
    count = sum(conversation.num_seg for conversation in talk)
    masks = np.random.default_rng(number).random((count, HEIGHT, WIDTH)) > 0.5
    return picture(HEIGHT, WIDTH, seed=number), talk, masks, ["red ball"] * count


def draw(epoch: int, i: int) -> tuple:
    return sample(i, ONE[i % len(ONE)])


def collate_with(processor):
    def collate(samples):
        images, talks, masks, names = zip(*samples, strict=True)
        ignore = [np.zeros((HEIGHT, WIDTH), bool)] * len(samples)
        return processor(images, talks, masks=masks, ignore=ignore, names=names)

    return collate


def batch_of(processor, kind: str):
    """Two pictures and what is said about them."""
    return collate_with(processor)([sample(k, talk) for k, talk in enumerate(KINDS[kind])])


SHORT = TrainArgs(
    trainable="all",
    gradient_checkpointing=False,
    epochs=1,
    steps_per_epoch=8,
    batch_size=1,
    grad_accumulation_steps=1,
    warmup_steps=1,
    precision="fp32",
    lr=1e-3,
    workers=0,
    print_freq=1,
    exp_name="run",
)


def trainer_of(folder: Path, model=None, processor=None, draw=draw, **changes) -> Trainer:
    """A run of eight steps over the samples above, not begun."""
    args = replace(SHORT, log_base_dir=folder, **changes)
    if model is None:
        model, processor = small_lisa(mask_loss_size="low_res", iou_loss_weight=0.1, **HEADS)
    choose_trainable(model, processor, args)
    args.run_dir.mkdir(parents=True, exist_ok=True)
    return Trainer(model, args, draw, collate_with(processor))


def run(folder: Path, **changes) -> Trainer:
    """The first five steps of the same, done; the first two have a rate of 0, in which DeepSpeed warms up."""
    trainer = trainer_of(folder, **changes)
    trainer.run_until(5, trainer.args.stages[0])
    return trainer
