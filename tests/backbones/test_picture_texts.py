"""The tokens that stand for a picture are those that transformers' own processors write."""

import copy

import numpy as np
import pytest
from contract import PICTURES
from families import FAMILIES, toy_tokenizer
from transformers import (
    Idefics3Processor,
    InternVLProcessor,
    InternVLVideoProcessor,
    LlavaNextProcessor,
    LlavaOnevisionProcessor,
    LlavaOnevisionVideoProcessor,
    LlavaProcessor,
    PaliGemmaProcessor,
    Qwen2_5_VLProcessor,
    Qwen2VLVideoProcessor,
)
from transformers.models.smolvlm.processing_smolvlm import get_image_prompt_string

from lisa.backbones import picture_reader


def idefics3(images, tokenizer):
    return Idefics3Processor(images, tokenizer, image_seq_len=4)


def internvl(images, tokenizer):
    tokens = {"start_image": "<img>", "context_image": "<IMG_CONTEXT>", "end_image": "</img>", "video": "<video>"}
    for name, token in tokens.items():
        setattr(tokenizer, f"{name}_token", token)
        setattr(tokenizer, f"{name}_token_id", tokenizer.convert_tokens_to_ids(token))
    return InternVLProcessor(images, tokenizer, InternVLVideoProcessor(), image_seq_length=4)


def paligemma(images, tokenizer):
    images.image_seq_length = 16
    tokenizer.image_token, tokenizer.image_token_id = "<image>", tokenizer.convert_tokens_to_ids("<image>")
    return PaliGemmaProcessor(images, tokenizer)


PROCESSORS = {
    "llava": lambda images, tokenizer: LlavaProcessor(
        images, tokenizer, patch_size=8, vision_feature_select_strategy="default", num_additional_image_tokens=1
    ),
    "paligemma": paligemma,
    "idefics3": idefics3,
    "internvl": internvl,
    "qwen2_5_vl": lambda images, tokenizer: Qwen2_5_VLProcessor(images, tokenizer, Qwen2VLVideoProcessor()),
    "llava_next": lambda images, tokenizer: LlavaNextProcessor(
        images, tokenizer, patch_size=8, vision_feature_select_strategy="default", num_additional_image_tokens=1
    ),
    "llava_onevision": lambda images, tokenizer: LlavaOnevisionProcessor(
        images,
        tokenizer,
        LlavaOnevisionVideoProcessor(),
        num_image_tokens=16,
        vision_feature_select_strategy="full",
    ),
}
PLACEHOLDER = {"internvl": "<IMG_CONTEXT>", "qwen2_5_vl": "<|vision_start|><|image_pad|><|vision_end|>"}


def reader_of(name):
    tokenizer = toy_tokenizer(FAMILIES[name])
    return picture_reader(FAMILIES[name].config(tokenizer), FAMILIES[name].images(), tokenizer)


def ids_of(reader, image: np.ndarray) -> list[int]:
    """With the family's own image token in the place of ours."""
    _, (shape,) = reader.pixels([image])
    text = reader.text(shape)
    own = getattr(reader.config, "image_token_id", None) or reader.config.image_token_index
    return [own if index >= 0 else token for token, index in zip(text.ids.tolist(), text.image_index, strict=True)]


@pytest.mark.parametrize("image", PICTURES, ids=["wide", "high"])
@pytest.mark.parametrize("name", PROCESSORS)
def test_ids_are_those_of_the_processor(name, image):
    reader = reader_of(name)
    tokenizer = copy.deepcopy(reader.tokenizer)
    processor = PROCESSORS[name](FAMILIES[name].images(), tokenizer)
    text = PLACEHOLDER.get(name, "<image>")
    ids = np.array(processor(images=[image], text=[text], add_special_tokens=False)["input_ids"])[0].tolist()
    ours = ids_of(reader, image)
    assert ids[: len(ours)] == ours
    assert tokenizer.decode(ids[len(ours) :]).strip() == ""  # PaliGemma's question ends its line


@pytest.mark.parametrize(("rows", "columns"), [(0, 0), (1, 2), (2, 2)])
def test_smolvlm_writes_tiles_as_its_processor_does(rows, columns):
    reader = reader_of("smolvlm")
    string = get_image_prompt_string(
        rows,
        columns,
        4,
        fake_token_around_image="<fake_token_around_image>",
        image_token="<image>",
        global_image_token="<global-img>",
    )
    text = reader.text((rows, columns))
    assert (text.image_index >= 0).sum() == 4 * (rows * columns + 1)
    written = [
        reader.id_of("<image>") if index >= 0 else token
        for token, index in zip(text.ids.tolist(), text.image_index, strict=True)
    ]
    assert written == reader.tokenizer(string, add_special_tokens=False).input_ids


def test_a_tokenizer_without_the_familys_tokens_is_refused():
    reader = reader_of("smolvlm")
    reader.tokenizer = toy_tokenizer(FAMILIES["llava"])
    with pytest.raises(ValueError, match="no <fake_token_around_image>"):
        reader.text((1, 1))
