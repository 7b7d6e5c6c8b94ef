"""What a model's folder decides about the flags, read without its weights."""

import json

import pytest
from small_model import WORDS
from transformers import LlamaConfig, LlavaConfig, Qwen2_5_VLConfig, SmolVLMConfig

from lisa.arguments import PRESETS, parse
from lisa.model_settings import read_model_settings
from lisa.presets import TINY_FAMILIES, tiny_tokenizer

SAM = ["--sam", "tiny", "--vision_pretrained", __file__]


@pytest.mark.parametrize(
    ("config", "template", "length"),
    [
        (LlavaConfig(text_config=LlamaConfig(max_position_embeddings=4096)), "llava_v1", 576 + 256),
        (LlavaConfig(text_config=LlamaConfig(max_position_embeddings=700)), "llava_v1", 700),
        (Qwen2_5_VLConfig(), "chatml", 512),
        (SmolVLMConfig(), "smolvlm", 512),
    ],
    ids=["llava", "few positions", "qwen", "smolvlm"],
)
def test_a_vision_language_model_gets_its_familys_template_and_room_for_its_image(config, template, length, tmp_path):
    config.save_pretrained(tmp_path)
    args = parse(["--version", str(tmp_path), *SAM])
    assert (args.conv_type, args.model_max_length) == (template, length)
    assert parse(["--version", str(tmp_path), *SAM, "--conv_type", "plain"]).conv_type == "plain"


def test_an_image_that_fills_the_conversation_is_refused(tmp_path):
    LlavaConfig().save_pretrained(tmp_path)
    with pytest.raises(ValueError, match="--model_max_length 512: an image alone has 576 tokens"):
        parse(["--version", str(tmp_path), *SAM, "--model_max_length", "512"])


@pytest.mark.parametrize("preset", PRESETS)
def test_a_template_whose_tokens_the_tokenizer_lacks_is_refused(preset, tmp_path):
    tokenizer = tiny_tokenizer(WORDS, preset)
    tokenizer.save_pretrained(tmp_path)
    TINY_FAMILIES[preset].vlm(tokenizer).save_pretrained(tmp_path)
    assert parse(["--version", str(tmp_path), *SAM, "--conv_type", "plain"]).conv_type == "plain"
    for template, token in (("chatml", "<|im_start|>"), ("smolvlm", "<end_of_utterance>")):
        with pytest.raises(ValueError, match="which the tokenizer of --version") as refusal:
            parse(["--version", str(tmp_path), *SAM, "--conv_type", template])
        assert token in str(refusal.value)


def test_sam_weights_are_asked_for_before_anything_loads(tmp_path):
    LlavaConfig().save_pretrained(tmp_path)
    with pytest.raises(ValueError, match="is a vision-language model: give SAM weights with --vision_pretrained"):
        parse(["--version", str(tmp_path)])


def test_a_released_lisa_decides_what_its_weights_were_trained_with(lisa_a):
    folder = next(path.parent for path in lisa_a.rglob("config.json") if "train_mask_decoder" in path.read_text())
    settings = read_model_settings(str(folder))
    assert settings.kind == "released"
    args = parse(["--version", str(folder)])
    assert (args.conv_type, args.seg_state) == ("llava_v1", "before")
    assert args.use_mm_start_end == json.loads((folder / "config.json").read_text()).get("mm_use_im_start_end", True)
    with pytest.raises(ValueError, match="was trained with seg_state before"):
        parse(["--version", str(folder), "--seg_state", "at"])
    with pytest.raises(ValueError, match="was built without the head of that loss"):
        parse(["--version", str(folder), "--look_loss_weight", "1"])


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        (b"{", "is no JSON"),
        (b"\xff\xfe", "is no JSON"),
        (b"[1]", "holds no JSON object"),
        (b"{}", "is of no model that LISA can use"),
        (b'{"model_type": "bert"}', "no backbone for models of type 'bert'"),
        (b'{"model_type": "no-such-model"}', "is of no model that LISA can use"),
    ],
)
def test_a_config_that_is_none_is_told_with_its_folder(content, sentence, tmp_path):
    (tmp_path / "config.json").write_bytes(content)
    with pytest.raises(ValueError, match="--version") as refusal:
        read_model_settings(str(tmp_path))
    assert sentence in str(refusal.value)
