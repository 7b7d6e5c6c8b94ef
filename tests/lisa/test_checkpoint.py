import contextlib
import copy
import json

import numpy as np
import pytest
import torch
from small_model import ask, picture, small_lisa
from transformers import AutoConfig

import lisa
from lisa.arguments import TrainArgs
from lisa.checkpoint import find_model, load, save
from lisa.config import LisaConfig
from lisa.conversation import Conversation
from lisa.generation import Predictor
from lisa.trainable import choose_trainable

PICKLES = {".bin", ".pt", ".pth", ".pkl", ".pickle", ".ckpt", ".npy"}


def weights(model):
    return model.state_dict()


@pytest.mark.parametrize("tied", [True, False])
def test_a_saved_model_comes_back_equal_in_every_tensor(tmp_path, tied):
    model, processor = small_lisa(tied=tied, dense_loss_weight=1.0)
    save(model, processor, tmp_path)
    loaded = load(tmp_path, device="cpu").model
    assert weights(loaded).keys() == weights(model).keys()
    for name, tensor in weights(model).items():
        assert torch.equal(weights(loaded)[name], tensor), name
    assert dict(loaded.named_buffers()).keys() == dict(model.named_buffers()).keys()
    for name, tensor in model.named_buffers():  # those that no file holds, too
        assert torch.equal(dict(loaded.named_buffers())[name], tensor), name
    head, embedding = loaded.vlm.lm_head.weight, loaded.vlm.get_input_embeddings().weight
    assert (head.data_ptr() == embedding.data_ptr()) == tied


def test_a_saved_model_gives_equal_answers(taught, lessons, tmp_path):
    images, conversations = lessons
    save(taught.model, taught.processor, tmp_path)
    loaded = load(tmp_path, device="cpu")
    asked = [[Conversation(c.turns[:1]) for c in group] for group in conversations]
    for group, expected in zip(loaded.generate(images, asked), taught.generate(images, asked), strict=True):
        for answer, other in zip(group, expected, strict=True):
            assert answer.text == other.text
            np.testing.assert_array_equal(answer.masks, other.masks)
            np.testing.assert_array_equal(answer.scores.expected_iou, other.scores.expected_iou)
    assert loaded.name == str(tmp_path)
    assert not loaded.model.training


@pytest.mark.parametrize("dtype", ["fp16", "bf16"])
@pytest.mark.parametrize("tied", [True, False])
def test_half_precision_halves_the_file_and_rounds_every_tensor(tmp_path, dtype, tied):
    model, processor = small_lisa(tied=tied)
    save(model, processor, tmp_path / "whole")
    save(model, processor, tmp_path / "half", dtype)
    sizes = [(tmp_path / name / "model.safetensors").stat().st_size for name in ("whole", "half")]
    assert 0.45 < sizes[1] / sizes[0] < 0.6
    half = {"fp16": torch.float16, "bf16": torch.bfloat16}[dtype]
    loaded = load(tmp_path / "half", device="cpu").model
    for name, tensor in weights(model).items():
        # SAM's positions would move if their frequencies were rounded.
        expected = tensor if name.endswith("gaussian_matrix") else tensor.to(half).float()
        assert torch.equal(weights(loaded)[name], expected), name
    assert (loaded.vlm.lm_head.weight.data_ptr() == loaded.vlm.get_input_embeddings().weight.data_ptr()) == tied


def test_saving_in_half_precision_leaves_the_model_as_it_was(tmp_path):
    model, processor = small_lisa()
    save(model, processor, tmp_path, "fp16")
    assert {parameter.dtype for parameter in model.parameters()} == {torch.float32}


def test_the_folder_holds_safetensors_and_nothing_pickled(small, tmp_path):
    save(*small, tmp_path)
    names = {path.name for path in tmp_path.rglob("*") if path.is_file()}
    assert {"config.json", "model.safetensors", "tokenizer.json", "preprocessor_config.json"} <= names
    assert not [name for name in names if any(name.endswith(ending) for ending in PICKLES)]
    assert AutoConfig.from_pretrained(tmp_path).model_type == "lisa"


def test_the_folder_can_be_moved(small, tmp_path):
    save(*small, tmp_path / "here")
    texts = [p.read_text() for p in (tmp_path / "here").glob("*.json")]
    assert not [text for text in texts if str(tmp_path) in text]
    (tmp_path / "here").rename(tmp_path / "there")
    assert load(tmp_path / "there", device="cpu").processor.text.seg_token_id == small[0].config.seg_token_id


def test_a_loaded_processor_makes_the_same_batch(small, tmp_path):
    save(*small, tmp_path)
    again = lisa.LisaProcessor.from_pretrained(tmp_path)
    images, talk = [picture(9, 30)], [[ask("Where is the red ball?", "Sure, [SEG].")]]
    one, other = small[1](images, talk), again(images, talk)
    assert torch.equal(one.rows.input_ids, other.rows.input_ids)
    assert torch.equal(one.rows.labels, other.rows.labels)
    assert torch.equal(one.pixel_values, other.pixel_values)
    assert again.text.decode([small[0].config.seg_token_id]) == "[SEG]"


def test_dtype_chooses_the_precision_of_the_loaded_model(small, tmp_path):
    save(*small, tmp_path)
    for name, dtype in (("auto", torch.float32), ("fp32", torch.float32), ("bf16", torch.bfloat16)):
        assert load(tmp_path, device="cpu", dtype=name).model.dtype == dtype
    answers = load(tmp_path, device="cpu", dtype="bf16").generate([picture(8, 8)], [[ask("Where?")]], 3)
    assert len(answers[0]) == 1
    with pytest.raises(ValueError, match="dtype 'int3' is none of auto, fp32, bf16, fp16"):
        load(tmp_path, device="cpu", dtype="int3")


def test_a_folder_that_is_not_there_is_told(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"no model folder at .*nowhere"):
        load(tmp_path / "nowhere")


def test_a_folder_without_a_config_is_told(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"holds no config\.json"):
        load(tmp_path)


def test_a_folder_of_another_model_is_told(tmp_path):
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "bert"}))
    with pytest.raises(ValueError, match="is a 'bert' model, not a LISA model"):
        load(tmp_path)


def test_a_folder_whose_weights_are_gone_is_told(small, tmp_path):
    save(*small, tmp_path)
    (tmp_path / "model.safetensors").unlink()
    with pytest.raises((FileNotFoundError, ValueError), match="safetensors"):
        load(tmp_path, device="cpu")


def test_a_name_finds_a_model_that_comes_with_the_checkout(tmp_path, monkeypatch, small):
    monkeypatch.setattr("lisa.checkpoint.KEPT_MODELS", tmp_path)
    save(*small, tmp_path / "kept")
    assert find_model("kept") == tmp_path / "kept"
    assert load("kept", device="cpu").name == "kept"


def test_the_names_of_the_package_are_what_they_say():
    assert lisa.load is load
    assert lisa.Predictor is Predictor
    assert lisa.LisaConfig is LisaConfig
    with pytest.raises(AttributeError, match="no attribute 'nonsense'"):
        lisa.nonsense  # noqa: B018


def test_a_copy_of_the_model_shares_nothing(small):
    model = small[0]
    twin = copy.deepcopy(model)
    twin.text_hidden_fcs[0][0].weight.data += 1
    assert not torch.equal(twin.text_hidden_fcs[0][0].weight, model.text_hidden_fcs[0][0].weight)


@pytest.mark.parametrize("tied", [True, False])
def test_save_pretrained_writes_a_folder_that_can_be_loaded_too(tmp_path, tied):
    model, processor = small_lisa(tied=tied)
    model.save_pretrained(tmp_path)
    processor.save_pretrained(tmp_path)
    loaded = load(tmp_path, device="cpu").model
    assert all(torch.equal(weights(loaded)[name], tensor) for name, tensor in weights(model).items())


def test_adapters_are_merged_into_the_saved_model(tmp_path):
    model, processor = small_lisa()
    choose_trainable(model, processor, TrainArgs(trainable="lora", lora_r=2, lora_dropout=0.0))
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if "lora_B" in name:
                parameter.normal_()
    plain, _ = small_lisa()
    save(model, processor, tmp_path)
    loaded = load(tmp_path, device="cpu").model
    batch = processor([picture(32, 32)], [[ask("Where is the red ball?", "Sure, [SEG].")]])
    with torch.no_grad():
        states = [
            each.eval().hidden_states(batch.rows, each.backbone.image_tokens(batch.pixel_values))
            for each in (model, loaded, plain)
        ]
    torch.testing.assert_close(states[1], states[0], rtol=1e-4, atol=1e-5)
    assert not torch.allclose(states[2], states[0], atol=1e-2)


def test_a_save_that_breaks_off_leaves_the_older_model_whole(small, tmp_path, monkeypatch):
    model, processor = small_lisa()
    save(model, processor, tmp_path / "model")
    before = (tmp_path / "model" / "model.safetensors").read_bytes()
    monkeypatch.setattr("lisa.released.files.save_file", lambda *_, **__: 1 / 0)
    with torch.no_grad():
        model.text_hidden_fcs[0][0].weight.fill_(1.0)
    with pytest.raises(ZeroDivisionError):
        save(model, processor, tmp_path / "model")
    assert (tmp_path / "model" / "model.safetensors").read_bytes() == before
    monkeypatch.undo()
    save(model, processor, tmp_path / "model")
    assert [path.name for path in tmp_path.iterdir()] == ["model"]
    assert (load(tmp_path / "model", device="cpu").model.text_hidden_fcs[0][0].weight == 1).all()


def test_saving_into_a_folder_of_other_things_deletes_none_of_them(small, tmp_path):
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "notes.txt").write_text("years of work")
    with contextlib.suppress(ValueError):  # refused or saved beside: either way
        save(*small, tmp_path / "mine")
    assert (tmp_path / "mine" / "notes.txt").read_text() == "years of work"
