import json
import shutil
from dataclasses import replace

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from small_model import WORDS, ask, picture, small_lisa
from tokenizers import Tokenizer
from transformers import AutoModelForImageTextToText, PreTrainedTokenizerFast

from lisa.arguments import PRESETS, TINY, TrainArgs
from lisa.checkpoint import load, save
from lisa.generation import Predictor
from lisa.presets import train_tokenizer
from lisa.start import start_model
from sam_bridge import SAM_PRESETS, build_sam


def texts():
    return WORDS


@pytest.fixture(scope="module", params=PRESETS)
def preset(request):
    """(flags, model, processor) of a model that is built from nothing."""
    args = PRESETS[request.param]
    return args, *start_model(args, texts)


def test_a_preset_is_built_from_nothing_with_every_box(preset):
    args, model, processor = preset
    parameters = sum(p.numel() for p in model.parameters())
    assert 500_000 < parameters < 6_000_000  # in half precision at most 12 MB
    assert model.config.seg_token_id == processor.tokenizer.get_vocab()["[SEG]"]
    assert (model.config.template, processor.text.template) == (args.conv_type, args.conv_type)
    assert processor.packing == args.packing
    ((answer,),) = Predictor(model, processor).generate([picture(40, 60)], [[ask("Where is the red ball?")]], 3)
    assert answer.masks.shape[1:] == (40, 60)


TAUGHT = {
    "vision": ["vision_tower", "projector"],
    "grounding": ["language_model"],
    "answers": ["vision_tower", "projector", "language_model"],
}


@pytest.mark.parametrize("stage", TAUGHT)
def test_every_stage_of_a_preset_teaches_what_it_should(preset, stage):
    _, model, processor = preset
    images, mask = [picture(90, 120, seed=1), picture(120, 70, seed=2)], np.ones((1, 1), bool)
    masks = [mask.repeat(image.shape[0], 0).repeat(image.shape[1], 1)[None] for image in images]
    talk = [[ask("Where is the red ball?", "Sure, [SEG].")], [ask("Where is the dog?", "[SEG].")]]
    names = [["red ball"], ["dog"]]
    batch = processor(images, talk, masks=masks, ignore=[~one[0] for one in masks], names=names)
    model.zero_grad()
    terms = model(batch, stage)
    assert all(term.isfinite() for term in terms.values())
    terms["loss"].backward()
    parts = model.backbone.parts()
    for name in TAUGHT[stage]:
        assert any(p.grad is not None and p.grad.abs().max() > 0 for p in parts[name].parameters()), name


def test_a_preset_comes_back_from_its_folder(preset, tmp_path):
    _, model, processor = preset
    save(model, processor, tmp_path / "model")
    batch = processor([picture(90, 120)], [[ask("Where is the red ball?")]])
    loaded = load(tmp_path / "model", device="cpu")
    again = loaded.processor([picture(90, 120)], [[ask("Where is the red ball?")]])
    expected = model.eval().hidden_states(batch.rows, model.image_tokens(batch))
    given = loaded.model.hidden_states(again.rows, loaded.model.image_tokens(again))
    torch.testing.assert_close(given, expected, rtol=0, atol=1e-3)  # attention is computed in another way


def test_the_same_seed_gives_the_same_weights_and_another_seed_others():
    weights = [start_model(replace(TINY, seed=seed), texts)[0].state_dict() for seed in (1, 1, 2)]
    assert all(torch.equal(weights[1][name], tensor) for name, tensor in weights[0].items())
    assert not torch.equal(weights[2]["text_hidden_fcs.0.0.weight"], weights[0]["text_hidden_fcs.0.0.weight"])


def test_flags_decide_about_a_model_that_is_new():
    args = replace(
        TINY,
        seg_state="at",
        conv_type="llava_v1",
        model_max_length=333,
        mask_loss_size="original",
        dice_loss_weight=7.0,
        packing=False,
        use_mm_start_end=False,
    )
    model, processor = start_model(args, texts)
    config = model.config
    assert (config.seg_state, config.template, config.model_max_length) == ("at", "llava_v1", 333)
    assert (config.mask_loss_size, config.dice_loss_weight, config.use_im_start_end) == ("original", 7.0, False)
    assert (processor.packing, processor.text.model_max_length, processor.text.use_im_start_end) == (False, 333, False)


def test_a_tokenizer_learns_words_keeps_bytes_and_has_the_added_tokens_last():
    tokenizer = train_tokenizer(WORDS)
    assert len(tokenizer(" ball").input_ids) == 1
    assert tokenizer.decode(tokenizer(" zebra ☃").input_ids) == " zebra ☃"
    vocabulary = tokenizer.get_vocab()
    assert sorted(vocabulary, key=vocabulary.get)[-3:] == ["[SEG]", "<im_start>", "<im_end>"]
    assert (tokenizer.pad_token, tokenizer.bos_token, tokenizer.eos_token) == ("<pad>", "<s>", "</s>")


@pytest.fixture(scope="module")
def llava(tmp_path_factory):
    """A LLaVA folder without LISA's tokens, and SAM weights."""
    folder = tmp_path_factory.mktemp("llava")
    model, processor = small_lisa(tied=False)
    content = json.loads(train_tokenizer(WORDS).backend_tokenizer.to_str())
    content["added_tokens"] = [t for t in content["added_tokens"] if t["content"] in ("<pad>", "<s>", "</s>")]
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=Tokenizer.from_str(json.dumps(content)), pad_token="<pad>", bos_token="<s>", eos_token="</s>"
    )
    model.vlm.resize_token_embeddings(len(tokenizer))
    model.vlm.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    processor.image_processor.save_pretrained(folder)
    torch.manual_seed(3)
    torch.save(build_sam(SAM_PRESETS["tiny"]).state_dict(), folder / "sam.pth")
    return folder


def test_a_llava_gains_seg_and_a_sam_and_keeps_its_weights(llava):
    args = TrainArgs(version=str(llava), sam="tiny", vision_pretrained=str(llava / "sam.pth"))
    model, processor = start_model(args, texts)
    base = AutoModelForImageTextToText.from_pretrained(llava)
    old = base.get_input_embeddings().num_embeddings
    vocabulary = processor.tokenizer.get_vocab()
    assert [vocabulary[t] for t in ("[SEG]", "<im_start>", "<im_end>")] == [old, old + 1, old + 2]
    assert model.config.seg_token_id == old
    assert model.vlm.get_input_embeddings().num_embeddings == old + 3 == model.vlm.lm_head.out_features
    for name, tensor in base.state_dict().items():
        own = model.vlm.state_dict()[name]
        assert torch.equal(own[: len(tensor)] if own.shape != tensor.shape else own, tensor), name
    sam = torch.load(llava / "sam.pth", weights_only=True)
    assert all(torch.equal(model.sam.state_dict()[name], tensor) for name, tensor in sam.items())


def test_a_llava_that_became_a_lisa_is_saved_and_loaded_whole(llava, tmp_path):
    args = TrainArgs(version=str(llava), sam="tiny", vision_pretrained=str(llava / "sam.pth"))
    model, processor = start_model(args, texts)
    save(model, processor, tmp_path)
    loaded = load(tmp_path, device="cpu")
    assert all(torch.equal(loaded.model.state_dict()[name], t) for name, t in model.state_dict().items())
    assert loaded.processor.text.seg_token_id == processor.text.seg_token_id


def test_a_llava_without_sam_weights_is_refused(llava):
    with pytest.raises(ValueError, match="give SAM weights with --vision_pretrained"):
        start_model(TrainArgs(version=str(llava)), texts)


def test_fine_tuning_starts_from_everything_a_lisa_has_learned(tmp_path):
    model, processor = small_lisa()
    with torch.no_grad():
        model.text_hidden_fcs[0][0].weight.fill_(0.5)
    save(model, processor, tmp_path)
    args = TrainArgs(version=str(tmp_path), bce_loss_weight=9.0, packing=False)
    again, other = start_model(args, texts)
    assert all(torch.equal(again.state_dict()[name], tensor) for name, tensor in model.state_dict().items())
    assert again.config.bce_loss_weight == 9.0
    assert not other.packing
    assert other.tokenizer.get_vocab() == processor.tokenizer.get_vocab()


def test_a_lisa_without_the_grounding_loss_cannot_go_through_the_stages_that_learn_from_it(tmp_path):
    save(*small_lisa(), tmp_path)
    args = TrainArgs(version=str(tmp_path), ground_loss_weight=1.0, grounding_steps=5)
    with pytest.raises(ValueError, match=r"was built without the grounding loss.*leave them out"):
        start_model(args, texts)


def test_a_version_that_is_not_there_is_told_and_not_looked_for_on_the_network(tmp_path):
    with pytest.raises((ValueError, FileNotFoundError), match="nowhere"):
        start_model(TrainArgs(version=str(tmp_path / "nowhere")), texts)


BASES = {
    "nan": (lambda w: w | {_norm(w): torch.full_like(w[_norm(w)], float("nan"))}, "1 of its weights are not finite"),
    "missing": (lambda w: {n: t for n, t in w.items() if n != _norm(w)}, "cannot be loaded .missing keys: .*norm"),
    "shape": (lambda w: w | {_norm(w): torch.ones(3)}, "cannot be loaded"),
    "cut off": (None, "cannot be loaded"),
}


def _norm(weights):
    """The final norm's weight, by its stored name."""
    return next(name for name in weights if name.endswith(("model.norm.weight", "language_model.norm.weight")))


@pytest.mark.parametrize("damage", BASES)
def test_a_damaged_llava_is_refused_with_a_sentence(llava, tmp_path, damage):
    change, said = BASES[damage]
    folder = shutil.copytree(llava, tmp_path / "llava")
    file = folder / "model.safetensors"
    if change is None:
        file.write_bytes(file.read_bytes()[:-100])
    else:
        save_file(change(load_file(llava / "model.safetensors")), file, metadata={"format": "pt"})
    with pytest.raises(ValueError, match=said):
        start_model(TrainArgs(version=str(folder), sam="tiny", vision_pretrained=str(llava / "sam.pth")), texts)
