"""Models from nothing: every box of the figure, small enough to train on a laptop's CPU in minutes."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import (
    BaseImageProcessor,
    CLIPImageProcessor,
    CLIPVisionConfig,
    GemmaConfig,
    LlamaConfig,
    LlavaConfig,
    PaliGemmaConfig,
    PretrainedConfig,
    PreTrainedTokenizerBase,
    PreTrainedTokenizerFast,
    Qwen2_5_VLConfig,
    Qwen2VLImageProcessor,
    SiglipImageProcessor,
    SiglipVisionConfig,
    SmolVLMConfig,
    SmolVLMImageProcessor,
)
from transformers.models.smolvlm import SmolVLMVisionConfig

from lisa.backbones.idefics import FAKE, GLOBAL, tile_token
from lisa.config import LisaConfig
from lisa.conversation import IMAGE_PLACEHOLDER, SEG
from lisa.tokenization import IM_END, IM_START

VOCABULARY = 1024
IMAGE_SIZE, PATCH_SIZE, MERGE = 128, 8, 2
STEM_WIDTHS = [32, 64, 128]


def train_tokenizer(texts: Iterable[str]) -> PreTrainedTokenizerFast:
    """A byte-level BPE of at most `VOCABULARY` tokens: the words of `texts`, and bytes for anything else."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    special = ["<pad>", "<s>", "</s>"]
    trainer = trainers.BpeTrainer(
        vocab_size=VOCABULARY - 3,
        special_tokens=special,
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        show_progress=False,
    )
    control = "|".join(re.escape(token) for token in (IMAGE_PLACEHOLDER, SEG, "</s>"))
    tokenizer.train_from_iterator((piece for text in texts for piece in re.split(control, text)), trainer)
    fast = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, pad_token="<pad>", bos_token="<s>", eos_token="</s>", padding_side="right"
    )
    fast.add_tokens([AddedToken(SEG, special=False, normalized=False)])
    fast.add_tokens([IM_START, IM_END], special_tokens=True)
    return fast


@dataclass(frozen=True, kw_only=True)
class TinyFamily:
    """A vision-language model in small: its config, its image processor, and the tokens it stands its pictures in."""

    vlm: Callable[[PreTrainedTokenizerBase], PretrainedConfig]
    images: Callable[[], BaseImageProcessor]
    tokens: tuple[str, ...] = ()


def tiny_tokenizer(texts: Iterable[str], version: str = "tiny") -> PreTrainedTokenizerFast:
    """A tokenizer for `texts`, with the tokens of the family."""
    tokenizer = train_tokenizer(texts)
    tokenizer.add_tokens(list(TINY_FAMILIES[version].tokens), special_tokens=True)
    return tokenizer


def tiny_image_processor(version: str = "tiny") -> BaseImageProcessor:
    """Of the vision tower of `tiny_config`."""
    return TINY_FAMILIES[version].images()


def tiny_config(tokenizer: PreTrainedTokenizerBase, version: str = "tiny") -> LisaConfig:
    """A few million parameters: a vision-language model and a SAM, and LISA between them."""
    return LisaConfig(
        vlm_config=TINY_FAMILIES[version].vlm(tokenizer),
        sam="tiny",
        seg_token_id=tokenizer.get_vocab()[SEG],
        template="plain",
        model_max_length=768,
        mask_loss_size="low_res",
        dense_loss_weight=2.0,
        iou_loss_weight=0.1,
        ground_loss_weight=1.0,
        look_loss_weight=1.0,
    )


VISION = {
    "image_size": IMAGE_SIZE,
    "patch_size": PATCH_SIZE,
    "hidden_size": 128,
    "intermediate_size": 512,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
}
SQUARE = {"height": IMAGE_SIZE, "width": IMAGE_SIZE}
"""The whole picture, squashed into a square: nothing is cropped off."""


def _text(tokenizer: PreTrainedTokenizerBase) -> dict[str, Any]:
    """What a language model of any type is made of."""
    return {
        "vocab_size": len(tokenizer),
        "hidden_size": 192,
        "intermediate_size": 512,
        "num_hidden_layers": 4,
        "num_attention_heads": 4,
        "num_key_value_heads": 4,
        "max_position_embeddings": 1024,
        "rms_norm_eps": 1e-6,
        "bos_token_id": tokenizer.bos_token_id,
        "eos_token_id": tokenizer.eos_token_id,
        "pad_token_id": tokenizer.pad_token_id,
        "tie_word_embeddings": True,
    }


def _llava(vision: PretrainedConfig, tokenizer: PreTrainedTokenizerBase) -> PretrainedConfig:
    """A Llama that reads merged patches of a tower with a convolutional stem."""
    has_class_token = vision.model_type == "clip_vision_model"
    return LlavaConfig(
        vision_config=vision,
        text_config=LlamaConfig(**_text(tokenizer)),
        image_token_index=tokenizer.pad_token_id,
        stem_widths=STEM_WIDTHS,
        merge_patches=MERGE,
        image_seq_length=(IMAGE_SIZE // PATCH_SIZE // MERGE) ** 2,
        vision_feature_layer=-1,
        vision_feature_select_strategy="default" if has_class_token else "full",
        tie_word_embeddings=True,
    )


def _paligemma(tokenizer: PreTrainedTokenizerBase) -> PretrainedConfig:
    return PaliGemmaConfig(
        vision_config=SiglipVisionConfig(**VISION, vision_use_head=False),
        text_config=GemmaConfig(**_text(tokenizer) | {"head_dim": 48}),
        projection_dim=192,
        hidden_size=192,
        vocab_size=len(tokenizer),
        image_token_index=tokenizer.convert_tokens_to_ids(IMAGE_PLACEHOLDER),
        stem_widths=STEM_WIDTHS,
        merge_patches=MERGE,
    )


def _smolvlm(tokenizer: PreTrainedTokenizerBase) -> PretrainedConfig:
    """Up to 2 x 2 tiles of 64 pixels, and the whole picture in one more."""
    return SmolVLMConfig(
        vision_config=SmolVLMVisionConfig(**VISION | {"image_size": IMAGE_SIZE // 2}),
        text_config=LlamaConfig(**_text(tokenizer)),
        pad_token_id=tokenizer.pad_token_id,
        image_token_id=tokenizer.convert_tokens_to_ids(IMAGE_PLACEHOLDER),
        scale_factor=MERGE,
        stem_widths=STEM_WIDTHS,
        merge_patches=MERGE,
        tie_word_embeddings=True,
    )


def _smolvlm_images() -> BaseImageProcessor:
    return SmolVLMImageProcessor(size={"longest_edge": IMAGE_SIZE}, max_image_size={"longest_edge": IMAGE_SIZE // 2})


QWEN_TOKENS = {
    "vision_start_token_id": "<|vision_start|>",
    "image_token_id": "<|image_pad|>",
    "vision_end_token_id": "<|vision_end|>",
}


def _qwen_vl(tokenizer: PreTrainedTokenizerBase) -> PretrainedConfig:
    """A picture keeps its proportions, and has as many pixels as the others' squares."""
    vision = {
        "depth": 2,
        "hidden_size": 128,
        "out_hidden_size": 192,
        "intermediate_size": 344,
        "num_heads": 4,
        "patch_size": PATCH_SIZE,
        "temporal_patch_size": 1,
        "spatial_merge_size": MERGE,
        "window_size": IMAGE_SIZE,
        "fullatt_block_indexes": [0, 1],
    }
    rope = {"rope_type": "default", "rope_theta": 1e4, "mrope_section": [8, 8, 8]}
    return Qwen2_5_VLConfig(
        vision_config=vision,
        text_config=_text(tokenizer) | {"rope_parameters": rope},
        stem_widths=STEM_WIDTHS,
        merge_patches=MERGE,
        tie_word_embeddings=True,
        **{name: tokenizer.convert_tokens_to_ids(token) for name, token in QWEN_TOKENS.items()},
    )


def _qwen_images() -> BaseImageProcessor:
    sizes = {"patch_size": PATCH_SIZE, "temporal_patch_size": 1, "merge_size": MERGE}
    return Qwen2VLImageProcessor(**sizes, min_pixels=IMAGE_SIZE**2 * 3 // 4, max_pixels=IMAGE_SIZE**2)


TINY_FAMILIES = {
    "tiny": TinyFamily(
        vlm=lambda tokenizer: _llava(CLIPVisionConfig(**VISION, projection_dim=128), tokenizer),
        images=lambda: CLIPImageProcessor(size=SQUARE, do_center_crop=False, crop_size=SQUARE),
    ),
    "tiny-siglip": TinyFamily(
        vlm=lambda tokenizer: _llava(SiglipVisionConfig(**VISION, vision_use_head=False), tokenizer),
        images=lambda: SiglipImageProcessor(size=SQUARE),
    ),
    "tiny-paligemma": TinyFamily(
        vlm=_paligemma, images=lambda: SiglipImageProcessor(size=SQUARE), tokens=(IMAGE_PLACEHOLDER,)
    ),
    "tiny-smolvlm": TinyFamily(
        vlm=_smolvlm,
        images=_smolvlm_images,
        tokens=(IMAGE_PLACEHOLDER, FAKE, GLOBAL, *(tile_token(row, column) for row in (0, 1) for column in (0, 1))),
    ),
    "tiny-qwen-vl": TinyFamily(vlm=_qwen_vl, images=_qwen_images, tokens=tuple(QWEN_TOKENS.values())),
}
"""What --version may name to start from nothing."""
