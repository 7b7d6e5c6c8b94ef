"""Whatever modules a model has or has lost: what is saved loads, weights and config agreeing."""

from __future__ import annotations

import copy
import itertools
import json

import pytest
import torch
from small_model import ask, picture, small_lisa

from lisa.checkpoint import load, save
from lisa.config import HEADS, LisaConfig
from lisa.modeling import LisaModel

PARTS = (*HEADS, "clicks")
COMBINATIONS = [set(chosen) for n in (0, 1, len(PARTS)) for chosen in itertools.combinations(PARTS, n)]


def with_parts(parts):
    weights = {f"{head}_loss_weight": 1.0 for head in HEADS if head in parts}
    return small_lisa(**weights, click_decoder="clicks" in parts)


def take_out(model, parts):
    for head in set(HEADS) & parts:
        for name in HEADS[head]:
            delattr(model, name)
    if "clicks" in parts:
        model.click_decoder = None


def put_in(model, parts):
    """Modules of another model of the same size."""
    other, _ = with_parts(parts)
    for head in set(HEADS) & parts:
        for name in HEADS[head]:
            setattr(model, name, getattr(other, name))
    if "clicks" in parts:
        model.click_decoder = copy.deepcopy(model.sam.mask_decoder)


def comes_back(model, folder):
    predictor = load(folder, device="cpu")
    own, loaded = model.state_dict(), predictor.model.state_dict()
    assert own.keys() == loaded.keys()
    assert all(torch.equal(tensor, own[name]) for name, tensor in loaded.items())
    ((answer,),) = predictor.generate([picture(20, 30)], [[ask("Where is the red ball?")]], 3)
    assert answer.masks.shape[1:] == (20, 30)


@pytest.mark.parametrize("before", [set(), set(PARTS)], ids=["none", "all"])
def test_every_change_of_modules_is_saved_as_it_is(tmp_path, before):
    for after in COMBINATIONS:
        model, processor = with_parts(before)
        take_out(model, before - after)
        put_in(model, after - before)
        save(model, processor, tmp_path / "model")
        written = json.loads((tmp_path / "model" / "config.json").read_text())
        assert set(written["heads"]) | ({"clicks"} if written["click_decoder"] else set()) == after
        assert LisaModel.from_pretrained(tmp_path / "model").state_dict().keys() == model.state_dict().keys()


@pytest.mark.parametrize("writes", ["save", "save_pretrained"])
def test_a_loss_that_is_switched_off_leaves_its_head(tmp_path, writes):
    model, processor = with_parts(set(PARTS))
    for head in HEADS:
        setattr(model.config, f"{head}_loss_weight", 0.0)
    model.click_decoder = None
    if writes == "save":
        save(model, processor, tmp_path)
    else:
        model.save_pretrained(tmp_path)
        processor.save_pretrained(tmp_path)
    comes_back(model, tmp_path)
    assert LisaConfig.from_pretrained(tmp_path).dense_loss_weight == 0


def test_an_older_config_has_the_heads_whose_losses_have_a_weight():
    assert LisaConfig(look_loss_weight=1.0, ground_loss_weight=0.5).wanted_heads == ["ground", "look"]
    assert LisaConfig(look_loss_weight=1.0, heads=[]).wanted_heads == []
    with pytest.raises(ValueError, match="heads is 'ears'; it must be one of dense, ground, look"):
        LisaConfig(heads=["ears"])


def test_a_model_whose_weights_are_not_its_configs_is_not_saved(tmp_path):
    model, processor = small_lisa()
    model.text_hidden_fcs[0][2] = torch.nn.Linear(32, 16)
    with pytest.raises(ValueError, match=r"2 weights of this model are not those that its config describes"):
        save(model, processor, tmp_path / "model")
    assert not (tmp_path / "model").exists()


def test_a_quantised_model_is_not_saved(tmp_path):
    save(*small_lisa(), tmp_path / "model")
    predictor = load(tmp_path / "model", device="cpu", quantize="8bit")
    with pytest.raises(ValueError, match="a quantised model cannot be saved, save the one that it was made of"):
        save(predictor.model, predictor.processor, tmp_path / "again")
    assert not (tmp_path / "again").exists()


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_weights_that_are_not_finite_are_named_and_not_saved(tmp_path, value):
    model, processor = small_lisa()
    with torch.no_grad():
        model.text_hidden_fcs[0][0].weight[0, 0] = value
    with pytest.raises(ValueError, match=r"not finite .*text_hidden_fcs.0.0.weight.*earlier checkpoint"):
        save(model, processor, tmp_path / "model")
    assert not (tmp_path / "model").exists()


def test_weights_too_large_for_half_precision_are_named_and_other_types_advised(tmp_path):
    model, processor = small_lisa()
    with torch.no_grad():
        model.text_hidden_fcs[0][0].weight[0, 0] = 1e6
        model.text_hidden_fcs[0][0].bias[0] = 1e6
    with pytest.raises(ValueError, match=r"too large for float16.*text_hidden_fcs.0.0.weight.*bias.*bf16"):
        save(model, processor, tmp_path / "model", "fp16")
    save(model, processor, tmp_path / "model", "bf16")


def test_weights_are_written_in_shards_and_come_back(tmp_path, monkeypatch):
    monkeypatch.setattr("lisa.checkpoint.SHARD_WEIGHTS", 20_000)
    model, processor = small_lisa()
    save(model, processor, tmp_path)
    assert len(list(tmp_path.glob("model-*-of-*.safetensors"))) > 2
    comes_back(model, tmp_path)
