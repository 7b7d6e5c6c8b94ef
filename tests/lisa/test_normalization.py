"""The losses of a step are means over all of its masks and words, however they are shared out."""

from __future__ import annotations

import itertools

import pytest
import torch
from mixed_batches import HEADS, KINDS, collate_with, sample, trainer_of
from small_model import small_lisa

from lisa.normalization import shares_of_step

SAMPLES = [sample(number, talk) for number, talk in enumerate(itertools.chain(*KINDS.values()))]
"""Eight pictures; 4 have masks, 6 have answers."""


@pytest.fixture(scope="module", params=["original", "low_res"])
def lisa(request):
    return small_lisa(mask_loss_size=request.param, iou_loss_weight=0.1, **HEADS)


def step(lisa, parts: list[list], stage: str) -> tuple[dict, dict]:
    """Loss terms and gradients of a step whose samples are in these micro-batches, as DeepSpeed adds them up."""
    model, processor = lisa
    batches = list(map(collate_with(processor), parts))
    model.zero_grad()
    totals: dict[str, float] = {}
    for batch, shares in zip(batches, shares_of_step(batches, model.config, 1, "cpu"), strict=True):
        terms = model(batch, stage, shares)
        (terms["loss"] / len(parts)).backward()
        for name, value in terms.items():
            totals[name] = totals.get(name, 0.0) + value.item() / len(parts)
    return totals, {name: parameter.grad.clone() for name, parameter in model.named_parameters()}


@pytest.mark.parametrize("stage", ["vision", "grounding", "answers"])
@pytest.mark.parametrize("sizes", [(1,) * 8, (2,) * 4, (5, 3), (3, 1, 4)])
def test_micro_batches_of_any_size_give_the_losses_and_gradients_of_one_batch(lisa, stage, sizes):
    rest = iter(SAMPLES)
    parts = [list(itertools.islice(rest, size)) for size in sizes]
    (terms, gradients), (whole, expected) = step(lisa, parts, stage), step(lisa, [SAMPLES], stage)
    assert terms == pytest.approx(whole, rel=1e-4)
    for name, gradient in gradients.items():
        torch.testing.assert_close(gradient, expected[name], rtol=1e-3, atol=1e-5, msg=name)


def test_one_batch_is_its_own_step(lisa):
    model, processor = lisa
    for kind, stage in itertools.product(KINDS, ("vision", "grounding", "answers")):
        batch = collate_with(processor)([sample(k, talk) for k, talk in enumerate(KINDS[kind])])
        (shares,) = shares_of_step([batch], model.config, 1, "cpu")
        alone, shared = model(batch, stage), model(batch, stage, shares)
        assert {n: v.item() for n, v in shared.items()} == pytest.approx({n: v.item() for n, v in alone.items()})


@pytest.mark.parametrize(("normalization", "factor"), [("step", 1.0), ("micro_batch", 0.5)])
def test_beside_words_alone_a_mask_weighs_half_where_each_micro_batch_is_averaged(tmp_path, normalization, factor):
    def draw(epoch, i):
        return sample(i, KINDS["mixed"][i % 2])

    options = {"draw": draw, "steps_per_epoch": 1}
    whole = first_loss(tmp_path / "whole", batch_size=2, **options)
    options |= {"grad_accumulation_steps": 2, "loss_normalization": normalization}
    halves = first_loss(tmp_path / "halves", **options)
    assert halves["bce"] == pytest.approx(factor * whole["bce"], rel=1e-4)
    assert halves["dice"] == pytest.approx(factor * whole["dice"], rel=1e-4)
    assert (halves["ce"] == pytest.approx(whole["ce"], rel=1e-4)) == (normalization == "step")


def first_loss(folder, **options):
    trainer = trainer_of(folder, **options)
    trainer._enter(trainer.args.stages[0])
    return {name: value.item() for name, value in trainer._one_step("answers").items()}
