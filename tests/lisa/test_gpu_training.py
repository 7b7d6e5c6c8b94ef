"""Training on one GPU: every precision with every ZeRO stage trains, saves, loads and answers."""

from __future__ import annotations

import pytest
import torch
from small_model import ask, picture, small_lisa
from test_trainer import ALL_LOSSES, PRODUCTS, dtypes_of_products, lines, train, weights

from lisa import load
from lisa.checkpoint import save

pytestmark = pytest.mark.gpu

HOW = {
    "muon": {"optimizer": "muon", "trainable": "all"},
    "adamw": {"optimizer": "adamw", "trainable": "all"},
    "lora": {"optimizer": "adamw", "trainable": "lora,new_tokens,text_hidden_fcs,mask_decoder", "lr": 1e-3},
}
COMBINATIONS = [
    (how, precision, stage)
    for how in HOW
    for precision in ("fp32", "bf16_mixed", "bf16", "fp16")
    for stage in (0, 1, 2)
    if how != "muon" or (stage == 0 and precision in ("fp32", "bf16_mixed"))
]


@pytest.mark.parametrize(("how", "precision", "stage"), COMBINATIONS)
def test_it_trains_saves_loads_and_answers(device, tmp_path, how, precision, stage):
    if device.type == "cpu" and precision == "fp16":
        with pytest.raises(ValueError, match="fp16"):
            train(tmp_path, 1, precision=precision, zero_stage=stage, **HOW[how])
        return
    stages = {"vision_steps": 0, "grounding_steps": 0, "ground_loss_weight": 0.0} if how == "lora" else {}
    trainer = train(tmp_path, 10, precision=precision, zero_stage=stage, **HOW[how], **stages)
    assert trainer.engine.device.type == device.type
    assert all(torch.isfinite(tensor).all() for tensor in weights(trainer).values())
    assert lines(tmp_path)[-1]["loss"] > 0
    save(trainer.model, small_lisa(**ALL_LOSSES)[1], tmp_path / "model", "bf16")
    trainer.engine.destroy()
    predictor = load(tmp_path / "model", device=str(device))
    (answer,) = predictor.generate([picture(24, 32)], [[ask("Where is the red ball?")]])[0]
    assert answer.masks.shape[1:] == (24, 32)


@pytest.mark.parametrize(("precision", "stage"), [("fp32", 0), ("bf16", 2)])
def test_a_resumed_run_ends_where_the_unbroken_one_ends(device, tmp_path, precision, stage):
    how = {"optimizer": "adamw", "precision": precision, "zero_stage": stage}
    whole = weights(train(tmp_path / "whole", 10, **how))
    train(tmp_path / "cut", 7, **how)
    resumed = weights(train(tmp_path / "cut", 10, **how, resume=True))
    for name, tensor in resumed.items():
        # Sums on a GPU come in any order.
        torch.testing.assert_close(tensor, whole[name], rtol=2e-2, atol=2e-3, msg=name)


@pytest.mark.parametrize("precision", PRODUCTS)
def test_products_have_the_precision_of_the_flag_on_a_gpu(device, tmp_path, precision):
    assert dtypes_of_products(tmp_path, precision, optimizer="adamw") == {PRODUCTS[precision]}
