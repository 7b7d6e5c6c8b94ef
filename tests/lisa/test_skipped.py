"""A gradient that is not finite, though the loss is: the step is left out, counted, and its samples are named."""

from __future__ import annotations

import json

import pytest
import torch
from mixed_batches import HEADS, draw, trainer_of
from small_model import small_lisa

MODES = [(precision, stage) for precision in ("fp32", "bf16", "bf16_mixed") for stage in (0, 1, 2)]


def broken_in(folder, steps, value=float("nan"), micro_batch=0, **changes):
    """A run whose gradient has `value` in it in a micro-batch of these steps (1 is the first)."""
    model, processor = small_lisa(mask_loss_size="low_res", **HEADS)
    trainer = trainer_of(folder, model, processor, **changes)
    passes = iter(range(10**6))

    def spoil(gradient):
        step, part = divmod(next(passes), trainer.args.grad_accumulation_steps)
        if step + 1 in steps and part == micro_batch:
            gradient = gradient.clone()
            gradient.view(-1)[0] = value
        return gradient

    model.text_hidden_fcs[0][0].weight.register_hook(spoil)
    return trainer


def weights(trainer):
    return {name: tensor.clone() for name, tensor in trainer.model.state_dict().items()}


def log(trainer):
    return [json.loads(line) for line in (trainer.args.run_dir / "metrics.jsonl").read_text().splitlines()]


@pytest.mark.parametrize(("precision", "zero_stage"), MODES)
@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_the_step_is_left_out_and_the_next_ones_are_not(tmp_path, precision, zero_stage, value):
    trainer = broken_in(tmp_path, {2}, value, precision=precision, zero_stage=zero_stage)
    (stage,) = trainer.args.stages
    trainer.run_until(1, stage)
    first, rate = weights(trainer), trainer.engine.get_lr()
    trainer.run_until(2, stage)
    assert all(torch.equal(tensor, first[name]) for name, tensor in weights(trainer).items())
    assert trainer.engine.get_lr() == rate
    trainer.run_until(5, stage)
    last = weights(trainer)
    assert any(not torch.equal(tensor, first[name]) for name, tensor in last.items())
    assert all(tensor.isfinite().all() for tensor in last.values())
    assert [line.get("skipped_steps") for line in log(trainer)] == [None, 1.0, 1.0, 1.0, 1.0]


@pytest.mark.parametrize("zero_stage", [0, 1, 2])
@pytest.mark.parametrize("micro_batch", [0, 1])
def test_one_micro_batch_spoils_its_step_alone(tmp_path, zero_stage, micro_batch):
    options = {"zero_stage": zero_stage, "grad_accumulation_steps": 2, "micro_batch": micro_batch}
    trainer = broken_in(tmp_path, {1}, **options)
    (stage,) = trainer.args.stages
    before = weights(trainer)
    trainer.run_until(1, stage)
    assert all(torch.equal(tensor, before[name]) for name, tensor in weights(trainer).items())
    trainer.run_until(4, stage)
    assert trainer.skipped.total == 1
    assert any(not torch.equal(tensor, before[name]) for name, tensor in weights(trainer).items())


def named(epoch, i):
    """A sample with what a dataset says of it."""
    return SampleTuple(draw(epoch, i), f"own|{i}.png")


class SampleTuple(tuple):
    """The small samples of these tests, with data and file."""

    data = "my data"

    def __new__(cls, values, path):
        self = super().__new__(cls, values)
        self.image_path = path
        return self


def test_too_many_in_a_row_end_the_run_and_name_the_samples(tmp_path):
    trainer = broken_in(
        tmp_path, {1, 3, 4}, draw=named, batch_size=2, max_skipped_steps=2, steps_per_epoch=6, zero_stage=0
    )
    with pytest.raises(ValueError, match=r"in 2 optimiser steps in a row, 3 to 4.*my data: own\|4.png; my data"):
        trainer.run_until(6, trainer.args.stages[0])
    listed = (tmp_path / "run" / "skipped_samples.txt").read_text().splitlines()
    assert listed == [f"my data: own|{i}.png" for i in (4, 5, 6, 7)]
    assert trainer.skipped.total == 3


def test_many_samples_are_in_the_file_and_some_in_the_message(tmp_path):
    trainer = broken_in(tmp_path, {1, 2}, batch_size=12, max_skipped_steps=2, zero_stage=0)
    with pytest.raises(ValueError, match=r"sample 0 of epoch 0.*; and 4 more, all in .*skipped_samples.txt"):
        trainer.run_until(3, trainer.args.stages[0])
    assert len((tmp_path / "run" / "skipped_samples.txt").read_text().splitlines()) == 24


def test_weights_that_are_not_finite_reach_no_checkpoint(tmp_path):
    trainer = broken_in(tmp_path, set(), zero_stage=0)
    (stage,) = trainer.args.stages
    trainer.run_until(1, stage)
    kept = sorted(path.name for path in trainer.checkpoints.iterdir())
    with torch.no_grad():
        trainer.model.sam.mask_decoder.iou_token.weight[0, 0] = float("nan")
    with pytest.raises(ValueError, match=r"not finite .*sam.mask_decoder.iou_token.weight"):
        trainer._save()
    assert sorted(path.name for path in trainer.checkpoints.iterdir()) == kept


def test_lowering_the_loss_scale_of_fp16_is_no_skipped_step(tmp_path):
    skipped = trainer_of(tmp_path, precision="fp16", max_skipped_steps=3).skipped
    for step, scale in enumerate((2.0**16, 2.0**15, 2.0, 1.0), start=1):
        skipped.note(step, applied=False, loss_scale=scale)
    assert (skipped.total, skipped.in_a_row) == (1, [4])
    skipped.note(5, applied=True, loss_scale=1.0)
    assert (skipped.total, skipped.in_a_row) == (1, [])
