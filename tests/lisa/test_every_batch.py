"""Every kind of batch, in every stage and precision: finite losses, and a gradient for the same parameters."""

from __future__ import annotations

import itertools

import pytest
import torch
from mixed_batches import HEADS, KINDS, batch_of
from small_model import small_lisa
from small_sams import SIZES

STAGES = ("vision", "grounding", "answers")
WEIGHTS = {
    "the reference's": {},
    "none but words": {"bce_loss_weight": 0.0, "dice_loss_weight": 0.0},
    "no words": {"ce_loss_weight": 0.0},
    "all": HEADS | {"iou_loss_weight": 0.1},
    "low resolution": HEADS | {"iou_loss_weight": 0.1, "mask_loss_size": "low_res"},
    "dense alone": {"dense_loss_weight": 1.0},
    "look alone": {"look_loss_weight": 1.0},
    "names alone": {"ground_loss_weight": 1.0},
}


@pytest.mark.parametrize("sam", list(SIZES))
@pytest.mark.parametrize("weights", list(WEIGHTS))
def test_every_batch_gives_the_same_parameters_a_gradient(weights, sam):
    changes = WEIGHTS[weights]
    model, processor = small_lisa(sam=SIZES[sam], **changes)
    learning = {name for name, parameter in model.named_parameters() if parameter.requires_grad}
    stages = STAGES if "ground_loss_weight" in changes else STAGES[2:]
    for stage, kind in itertools.product(stages, KINDS):
        model.zero_grad()
        terms = model(batch_of(processor, kind), stage)
        terms["loss"].backward()
        reached = {name for name, parameter in model.named_parameters() if parameter.grad is not None}
        assert reached == learning, (stage, kind)
        assert all(parameter.grad.isfinite().all() for parameter in model.parameters())
        assert all(value.isfinite() for value in terms.values()), (stage, kind)


@pytest.mark.parametrize("part", ["text_hidden_fcs", "projector", "sam"])
def test_what_is_frozen_gets_none(part):
    model, processor = small_lisa()
    parts = model.backbone.parts() | {"text_hidden_fcs": model.text_hidden_fcs, "sam": model.sam}
    model.requires_grad_(False)
    parts[part].requires_grad_(True)
    for kind in KINDS:
        model.zero_grad()
        model(batch_of(processor, kind))["loss"].backward()
        assert all((parameter.grad is not None) == parameter.requires_grad for parameter in model.parameters()), kind


def test_reaching_a_parameter_changes_no_gradient_and_adds_none_but_zeros():
    model, processor = small_lisa()
    batch = batch_of(processor, "words")
    model(batch)["loss"].backward()
    ours = {name: parameter.grad for name, parameter in model.named_parameters()}
    model.zero_grad()
    terms = model._terms(batch, "answers")
    (terms["ce"] * model.config.ce_loss_weight).backward()
    for name, parameter in model.named_parameters():
        wanted = torch.zeros_like(parameter) if parameter.grad is None else parameter.grad
        assert torch.equal(ours[name], wanted), name


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16], ids=["bf16", "fp16"])
@pytest.mark.parametrize("sam", list(SIZES))
@pytest.mark.parametrize("size", ["original", "low_res"])
def test_every_batch_passes_in_half_precision(dtype, sam, size):
    model, processor = small_lisa(sam=SIZES[sam], mask_loss_size=size, iou_loss_weight=0.1, **HEADS)
    model.to(dtype)
    for stage, kind in itertools.product(STAGES, KINDS):
        terms = model(batch_of(processor, kind), stage)
        terms["loss"].backward()
        assert all(value.isfinite() for value in terms.values()), (stage, kind)


def test_every_batch_passes_in_mixed_precision():
    model, processor = small_lisa(mask_loss_size="low_res", iou_loss_weight=0.1, **HEADS)
    for stage, kind in itertools.product(STAGES, KINDS):
        batch = batch_of(processor, kind)
        with torch.autocast("cpu", torch.bfloat16):
            terms = model(batch, stage)
        terms["loss"].backward()
        assert all(value.isfinite() for value in terms.values()), (stage, kind)
