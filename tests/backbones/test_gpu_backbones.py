"""Every family of vision-language models gives on a GPU what it gives on the CPU."""

import copy

import contract
import pytest
import torch
from families import FAMILIES

pytestmark = pytest.mark.gpu

TOLERANCE = {torch.float32: 1e-4, torch.bfloat16: 5e-2, torch.float16: 1e-2}
"""Relative difference to the CPU in fp32."""


@pytest.mark.parametrize("dtype", TOLERANCE, ids=str)
@pytest.mark.parametrize("packing", [True, False], ids=["packed", "unpacked"])
@pytest.mark.parametrize("family", FAMILIES)
@torch.no_grad()
def test_image_tokens_and_states(device, family, packing, dtype):
    subject = contract.Subject(FAMILIES[family])
    batch, model = subject.batch(packing=packing), subject.model
    on_device = copy.deepcopy(model).to(device, dtype)
    wanted = model.hidden_states(batch.rows, model.image_tokens(batch))
    moved = batch.to(device)
    given = on_device.hidden_states(moved.rows, on_device.image_tokens(moved)).float().cpu()
    real = batch.rows.segments >= 0
    assert ((given - wanted)[real].norm() / wanted[real].norm()).item() < TOLERANCE[dtype]


@pytest.mark.parametrize("family", FAMILIES)
def test_a_training_step(device, family):
    subject = contract.Subject(FAMILIES[family])
    model = copy.deepcopy(subject.model).to(device, torch.bfloat16)
    terms = model(subject.batch(learning=True).to(device))
    terms["loss"].backward()
    gradients = [p.grad for p in model.parameters() if p.grad is not None]
    assert gradients
    assert all(torch.isfinite(gradient).all() for gradient in gradients)
