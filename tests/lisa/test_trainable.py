import copy

import pytest
import torch
from small_model import ask, picture, small_lisa

from lisa.arguments import TrainArgs
from lisa.checkpoint import merged_state_dict
from lisa.modeling import LisaModel
from lisa.train_checks import flag_problems
from lisa.trainable import choose_trainable

IMAGE = picture(32, 32, seed=1)
TALK = [ask("Where is the red ball?", "Sure, it is the red ball [SEG]."), ask("And the dog?", "No.")]


def arguments(trainable, **changes) -> TrainArgs:
    return TrainArgs(trainable=trainable, gradient_checkpointing=False, **changes)


def prepared(trainable, tied=True, **changes):
    model, processor = small_lisa(tied=tied)
    choose_trainable(model, processor, arguments(trainable, **changes))
    return model, processor


def trained_names(model) -> set[str]:
    return {name for name, parameter in model.named_parameters() if parameter.requires_grad}


def batch_of(processor):
    ignore = torch.zeros(32, 32).bool().numpy()
    return processor([IMAGE], [TALK], masks=[(ignore | True)[None]], ignore=[ignore])


def train(model, processor, steps=3):
    optimizer = torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], lr=0.01, weight_decay=0.0)
    model.train()
    for _ in range(steps):
        optimizer.zero_grad()
        model(batch_of(processor))["loss"].backward()
        optimizer.step()
    return model.eval()


PREFIXES = {
    "text_hidden_fcs": "text_hidden_fcs.",
    "mask_decoder": "sam.mask_decoder.",
    "image_encoder": "sam.image_encoder.",
    "vision_tower": "vlm.model.vision_tower.",
    "projector": "vlm.model.multi_modal_projector.",
}


@pytest.mark.parametrize("part", list(PREFIXES))
def test_one_part_is_trained_whole_and_nothing_else(part):
    model, _ = prepared(part)
    every = {name for name, _ in model.named_parameters() if name.startswith(PREFIXES[part])}
    assert trained_names(model) == every
    assert every


def test_several_parts_are_trained_together():
    model, _ = prepared("text_hidden_fcs,mask_decoder")
    assert {name.split(".")[0] for name in trained_names(model)} == {"text_hidden_fcs", "sam"}
    assert not any("image_encoder" in name or "prompt_encoder" in name for name in trained_names(model))


@pytest.mark.parametrize("tied", [True, False])
def test_embeddings_are_all_rows_of_embedding_and_head(tied):
    head = set() if tied else {"vlm.lm_head.weight"}
    assert trained_names(prepared("embeddings", tied)[0]) == {"vlm.model.language_model.embed_tokens.weight"} | head


def test_the_language_model_without_embeddings_keeps_its_vocabulary():
    names = trained_names(prepared("language_model", tied=False)[0])
    assert names
    assert all(name.startswith("vlm.model.language_model.") for name in names)
    assert not any("embed_tokens" in name or "lm_head" in name for name in names)


def test_all_is_everything_that_the_road_uses():
    model, processor = prepared("all")
    model(batch_of(processor))["loss"].backward()
    used = {name for name, p in model.named_parameters() if p.grad is not None}
    assert used - {"sam.prompt_encoder.no_mask_embed.weight"} <= trained_names(model)
    unused_prompts = ("point_embeddings", "not_a_point_embed", "mask_downscaling")
    frozen = {name for name, _ in model.named_parameters()} - trained_names(model)
    assert all(any(kind in name for kind in unused_prompts) for name in frozen)


@pytest.mark.parametrize("trainable", ["everything", "lora,nonsense", ""])
def test_an_unknown_part_is_refused_with_those_there_are(trainable):
    (problem,) = flag_problems(arguments(trainable))
    assert "is no part; choose from lora, new_tokens, embeddings" in problem


def test_lora_is_put_on_the_language_models_layers_only():
    names = trained_names(prepared("lora", lora_r=2)[0])
    assert len(names) == 2 * 2 * 2  # two layers, q and v, A and B
    assert all("language_model.layers." in name and ("q_proj" in name or "v_proj" in name) for name in names)
    assert not any("vision_tower" in name for name in names)


def test_lora_starts_as_the_model_that_it_adapts(small):
    model, processor = prepared("lora", lora_r=2)
    plain, _ = small_lisa()
    with torch.no_grad():
        one, other = model.eval()(batch_of(processor)), plain(batch_of(processor))
    assert one["loss"].item() == pytest.approx(other["loss"].item(), rel=1e-6)


@pytest.mark.parametrize("trainable", ["lora", "lora,new_tokens,text_hidden_fcs,mask_decoder", "new_tokens"])
@pytest.mark.parametrize("tied", [True, False])
def test_merged_weights_give_what_the_adapters_gave(trainable, tied):
    model, processor = prepared(trainable, tied, lora_r=2, lora_dropout=0.0)
    untrained = model(batch_of(processor))["loss"].item()
    train(model, processor)
    plain = LisaModel(model.config)
    plain.load_state_dict(merged_state_dict(model))  # strict: the names are those of a plain model
    with torch.no_grad():
        adapted, merged = model(batch_of(processor)), plain.eval()(batch_of(processor))
    assert adapted["loss"].item() < untrained - 1e-3
    assert merged["loss"].item() == pytest.approx(adapted["loss"].item(), rel=1e-5)


def test_merging_leaves_the_adapters_in_training():
    model, processor = prepared("lora", lora_r=2)
    before = trained_names(model)
    merged_state_dict(model)
    assert trained_names(model) == before
    train(model, processor, steps=1)


def test_merged_weights_of_a_model_without_adapters_are_its_own(small):
    model = small[0]
    merged = merged_state_dict(model)
    assert merged.keys() == model.state_dict().keys()
    assert all(torch.equal(merged[name], tensor) for name, tensor in model.state_dict().items())


@pytest.mark.parametrize("tied", [True, False])
def test_new_tokens_trains_the_added_rows_and_no_other(tied):
    model, processor = prepared("new_tokens", tied)
    before = copy.deepcopy(merged_state_dict(model))
    train(model, processor)
    after = merged_state_dict(model)
    vocabulary = processor.tokenizer.get_vocab()
    added = sorted(vocabulary[token] for token in ("[SEG]", "<im_start>", "<im_end>"))
    for name in ("vlm.model.language_model.embed_tokens.weight", "vlm.lm_head.weight"):
        moved = (before[name] != after[name]).any(dim=1).nonzero()[:, 0].tolist()
        assert moved == added, name
    unmoved = [name for name in before if "embed_tokens" not in name and "lm_head" not in name]
    assert all(torch.equal(before[name], after[name]) for name in unmoved)


def test_lora_keeps_the_other_parts_in_training():
    names = trained_names(prepared("lora,text_hidden_fcs,mask_decoder", lora_r=2)[0])
    assert any(name.startswith("text_hidden_fcs.") for name in names)
    assert any(name.startswith("sam.mask_decoder.") for name in names)


def test_gradient_checkpointing_changes_no_gradient():
    gradients = []
    for checkpointing in (False, True):
        model, processor = small_lisa()
        choose_trainable(model, processor, TrainArgs(trainable="language_model", gradient_checkpointing=checkpointing))
        model.train()(batch_of(processor))["loss"].backward()
        assert model.vlm.is_gradient_checkpointing == checkpointing
        gradients.append({name: p.grad for name, p in model.named_parameters() if p.grad is not None})
    for name, gradient in gradients[0].items():
        torch.testing.assert_close(gradients[1][name], gradient)
