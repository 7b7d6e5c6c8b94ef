"""The models and questions that benchmarks run on: random weights, since speed does not depend on what they say."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from transformers import CLIPImageProcessor, CLIPVisionConfig, LlamaConfig, LlavaConfig

from lisa.config import LisaConfig
from lisa.conversation import IMAGE_PLACEHOLDER, SEG, TEMPLATES, Conversation, write
from lisa.modeling import LisaModel
from lisa.presets import tiny_config, tiny_image_processor, train_tokenizer
from lisa.processing import LisaProcessor
from sam_bridge import SAM_PRESETS, SamSize

PATCH = 14
"""Side of the vision tower's patches, pixels."""

OBJECTS = (
    "the red boat on the left",
    "the person who holds an umbrella",
    "the second chair from the right",
    "the dog behind the fence",
    "the cup that is still full",
    "the tallest of the trees",
    "the sign with white letters",
    "the child in the blue coat",
)


@dataclass(frozen=True, kw_only=True)
class Shape:
    """The sizes of a model; heads are 64 wide in the tower and the language model, or 128 where it is 4096 wide."""

    hidden: int
    layers: int
    intermediate: int
    heads: int
    vision_hidden: int
    vision_layers: int
    sam: SamSize
    vocabulary: int = 32_003


SHAPES = {
    "medium": Shape(
        hidden=512,
        layers=8,
        intermediate=1376,
        heads=8,
        vision_hidden=384,
        vision_layers=12,
        sam=replace(SAM_PRESETS["vit_b"], image_size=512),
    ),
    "lisa7b-layer": Shape(
        hidden=4096,
        layers=1,
        intermediate=11_008,
        heads=32,
        vision_hidden=1024,
        vision_layers=2,
        sam=replace(SAM_PRESETS["vit_h"], depth=2, global_blocks=(1,)),
    ),
    "lisa7b": Shape(
        hidden=4096,
        layers=32,
        intermediate=11_008,
        heads=32,
        vision_hidden=1024,
        vision_layers=24,
        sam=SAM_PRESETS["vit_h"],
    ),
}
"""medium fits a small machine; lisa7b is LISA-7B, and lisa7b-layer one layer of it (two of SAM's: one of each kind)."""


def build(
    config: str,
    image_tokens: int = 256,
    sam_pixels: int = 0,
    device: torch.device | str = "cpu",
    dtype: torch.dtype = torch.float32,
) -> tuple[LisaModel, LisaProcessor]:
    """A model with the random weights of seed 0, and its processor; "tiny" is the preset, with 64 image tokens.

    image_tokens: how many the language model reads for an image, a square number; not for "tiny".
    sam_pixels: side of SAM's square, instead of the config's own. The weights are made on the device and in the type
    that they have there: the 7 billion of lisa7b need no copy in fp32.
    """
    torch.manual_seed(0)
    template = "plain" if config == "tiny" else "llava_v1"
    tokenizer = train_tokenizer(_texts(template))
    if config == "tiny":
        lisa_config, image_processor = tiny_config(tokenizer), tiny_image_processor()
    elif config in SHAPES:
        side = int(image_tokens**0.5) * PATCH
        square = {"height": side, "width": side}
        image_processor = CLIPImageProcessor(size=square, do_center_crop=False, crop_size=square)
        lisa_config = _config(SHAPES[config], side, tokenizer)
    else:
        raise ValueError(f"--config {config!r}: there is no such model; choose from tiny, {', '.join(SHAPES)}")
    if sam_pixels:
        lisa_config.sam = lisa_config.sam | {"image_size": sam_pixels}
    with torch.device(device), _default_dtype(dtype):
        model = LisaModel(lisa_config).eval()
    model.sam.restore_constants()
    positions = model.sam.prompt_encoder.pe_layer
    positions.positional_encoding_gaussian_matrix = torch.randn_like(
        positions.positional_encoding_gaussian_matrix, dtype=torch.float32
    )  # models keep it in fp32
    for name, parameter in model.sam.image_encoder.named_parameters():
        if "rel_pos" in name:  # these start at 0, which would hide that they are used
            torch.nn.init.normal_(parameter, std=0.02)
    return model, LisaProcessor(lisa_config, tokenizer, image_processor)


@contextlib.contextmanager
def _default_dtype(dtype: torch.dtype) -> Iterator[None]:
    before = torch.get_default_dtype()
    torch.set_default_dtype(dtype)
    try:
        yield
    finally:
        torch.set_default_dtype(before)


def pictures(number: int, height: int = 480, width: int = 640) -> list[np.ndarray]:
    """Coloured noise, (height, width, 3) uint8 each, no two alike."""
    return [np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8) for seed in range(number)]


def questions(number: int, answered: bool) -> list[Conversation]:
    """Conversations about one picture, about as long as referring ones; the answers point at one thing each."""
    asked = [OBJECTS[k % len(OBJECTS)] for k in range(number)]
    answer = f"Sure, {SEG} ." if answered else None
    return [Conversation.of(f"{IMAGE_PLACEHOLDER}\nWhat is {name} in this image?", answer) for name in asked]


def _texts(template: str) -> Sequence[str]:
    return ["".join(span.text for span in write(q, TEMPLATES[template])) for q in questions(len(OBJECTS), True)]


def _config(shape: Shape, side: int, tokenizer) -> LisaConfig:
    vision = CLIPVisionConfig(
        image_size=side,
        patch_size=PATCH,
        hidden_size=shape.vision_hidden,
        intermediate_size=4 * shape.vision_hidden,
        num_hidden_layers=shape.vision_layers,
        num_attention_heads=shape.vision_hidden // 64,
    )
    text = LlamaConfig(
        vocab_size=shape.vocabulary,
        hidden_size=shape.hidden,
        intermediate_size=shape.intermediate,
        num_hidden_layers=shape.layers,
        num_attention_heads=shape.heads,
        num_key_value_heads=shape.heads,
        max_position_embeddings=2048,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )
    vlm = LlavaConfig(
        vision_config=vision,
        text_config=text,
        image_token_index=tokenizer.pad_token_id,
        image_seq_length=(side // PATCH) ** 2,
        vision_feature_layer=-2,
        vision_feature_select_strategy="default",
    )
    seg = tokenizer.get_vocab()[SEG]
    return LisaConfig(vlm_config=vlm, sam=shape.sam, seg_token_id=seg, model_max_length=2048)
