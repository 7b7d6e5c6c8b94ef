"""A tiny random model of every family, and what transformers' own forward of it wants."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from small_sams import SAM_SIZE
from torch import Tensor
from transformers import (
    AutoConfig,
    BaseImageProcessor,
    CLIPImageProcessor,
    GotOcr2ImageProcessor,
    Idefics3ImageProcessor,
    LlavaNextImageProcessor,
    LlavaOnevisionImageProcessor,
    PretrainedConfig,
    PreTrainedTokenizerBase,
    Qwen2VLImageProcessor,
    SiglipImageProcessor,
    SmolVLMImageProcessor,
)

from lisa.config import LisaConfig
from lisa.conversation import SEG, Conversation, Turn
from lisa.modeling import LisaModel
from lisa.presets import train_tokenizer
from lisa.processing import LisaProcessor

WORDS = (
    "Where is the red ball?",
    "What is the dog on the left in this image?",
    "Show both of them, please.",
    "Sure, it is the red ball [SEG].",
    "Sure, [SEG] and [SEG].",
    "There is no dog.",
    "USER: ASSISTANT:",
)
TILE_SIZE = {"height": 32, "width": 32}
TEXT = {
    "hidden_size": 32,
    "intermediate_size": 64,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "num_key_value_heads": 1,
    "head_dim": 16,
    "max_position_embeddings": 512,
}
VISION = {
    "image_size": 32,
    "patch_size": 8,
    "hidden_size": 32,
    "intermediate_size": 64,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
}
PINPOINTS = [[32, 32], [32, 64], [64, 32], [64, 64]]


@dataclass(frozen=True, kw_only=True)
class Toy:
    """A family in small; `plain` gives what transformers' forward wants of a whole conversation besides its ids."""

    config: Callable[[PreTrainedTokenizerBase], PretrainedConfig]
    images: Callable[[], BaseImageProcessor]
    tokens: tuple[str, ...] = ("<image>",)
    plain: Callable[[Whole], dict[str, Tensor]] = lambda whole: {"pixel_values": whole.pixels}


@dataclass(frozen=True, kw_only=True)
class Whole:
    """One unpacked conversation about one picture."""

    ids: Tensor
    """(1, T) with the family's own image token."""
    is_image: Tensor
    """(1, T) bool."""
    is_prefix: Tensor
    """(1, T) bool: what stands before the first answer."""
    pixels: Tensor
    shape: tuple[int, ...]


def special(tokenizer: PreTrainedTokenizerBase) -> dict[str, int]:
    """What every language model's config wants to know of its tokenizer."""
    return {
        "vocab_size": len(tokenizer),
        "bos_token_id": tokenizer.bos_token_id,
        "eos_token_id": tokenizer.eos_token_id,
        "pad_token_id": tokenizer.pad_token_id,
    }


def configure(
    kind: str, vision: str, text: str, tokenizer: PreTrainedTokenizerBase, *, seen: dict, said: dict, **own
) -> PretrainedConfig:
    """A tiny config of a kind, with a vision and a text model of the types given."""
    text_config = AutoConfig.for_model(text, **TEXT | special(tokenizer) | said)
    vision_config = AutoConfig.for_model(vision, **VISION | seen)
    return AutoConfig.for_model(kind, vision_config=vision_config, text_config=text_config, **own)


def llava(vision: str, seen: dict, tied: bool) -> Callable[[PreTrainedTokenizerBase], PretrainedConfig]:
    return lambda tokenizer: configure(
        "llava",
        vision,
        "llama",
        tokenizer,
        seen=seen,
        said={"tie_word_embeddings": tied},
        tie_word_embeddings=tied,
        image_token_index=tokenizer.convert_tokens_to_ids("<image>"),
        vision_feature_layer=-1,
        vision_feature_select_strategy="default" if vision == "clip_vision_model" else "full",
    )


def paligemma(tokenizer: PreTrainedTokenizerBase) -> PretrainedConfig:
    return configure(
        "paligemma",
        "siglip_vision_model",
        "gemma",
        tokenizer,
        seen={"vision_use_head": False},
        said={},
        projection_dim=TEXT["hidden_size"],
        hidden_size=TEXT["hidden_size"],
        image_token_index=tokenizer.convert_tokens_to_ids("<image>"),
    )


def idefics(kind: str, vision: str) -> Callable[[PreTrainedTokenizerBase], PretrainedConfig]:
    return lambda tokenizer: configure(
        kind,
        vision,
        "llama",
        tokenizer,
        seen={},
        said={"tie_word_embeddings": True},
        tie_word_embeddings=True,
        scale_factor=2,
        pad_token_id=tokenizer.pad_token_id,
        image_token_id=tokenizer.convert_tokens_to_ids("<image>"),
    )


def qwen_tokens(tokenizer: PreTrainedTokenizerBase) -> dict[str, int]:
    names = {"image": "<|image_pad|>", "vision_start": "<|vision_start|>", "vision_end": "<|vision_end|>"}
    return {f"{name}_token_id": tokenizer.convert_tokens_to_ids(token) for name, token in names.items()}


def qwen2_5_vl(tokenizer: PreTrainedTokenizerBase) -> PretrainedConfig:
    sizes = {"hidden_size": 32, "intermediate_size": 64, "depth": 2, "num_heads": 2}
    sizes["out_hidden_size"] = TEXT["hidden_size"]
    vision = sizes | {"patch_size": 8, "window_size": 32, "fullatt_block_indexes": [1]}
    rope = {"rope_type": "default", "rope_theta": 1e4, "mrope_section": [TEXT["head_dim"] * n // 16 for n in (2, 3, 3)]}
    text = {name: value for name, value in TEXT.items() if name != "head_dim"}
    return AutoConfig.for_model(
        "qwen2_5_vl",
        vision_config=vision,
        text_config=text | special(tokenizer) | {"rope_parameters": rope},
        **qwen_tokens(tokenizer),
    )


def qwen3_vl(tokenizer: PreTrainedTokenizerBase) -> PretrainedConfig:
    sizes = {"hidden_size": 32, "intermediate_size": 64, "depth": 2, "num_heads": 2}
    sizes["out_hidden_size"] = TEXT["hidden_size"]
    vision = sizes | {"patch_size": 8, "num_position_embeddings": 16, "deepstack_visual_indexes": [0, 1]}
    rope = {"rope_type": "default", "rope_theta": 1e4, "mrope_section": [TEXT["head_dim"] * n // 16 for n in (2, 3, 3)]}
    return AutoConfig.for_model(
        "qwen3_vl",
        vision_config=vision,
        text_config=TEXT | special(tokenizer) | {"rope_parameters": rope},
        **qwen_tokens(tokenizer),
    )


def internvl(tokenizer: PreTrainedTokenizerBase) -> PretrainedConfig:
    return configure(
        "internvl",
        "internvl_vision",
        "qwen2",
        tokenizer,
        seen={"use_absolute_position_embeddings": True},
        said={},
        image_token_id=tokenizer.convert_tokens_to_ids("<IMG_CONTEXT>"),
        image_seq_length=4,
        tie_word_embeddings=False,
    )


def llava_tiles(kind: str, vision: str, text: str) -> Callable[[PreTrainedTokenizerBase], PretrainedConfig]:
    return lambda tokenizer: configure(
        kind,
        vision,
        text,
        tokenizer,
        seen={"vision_use_head": False} if "siglip" in vision else {},
        said={},
        image_grid_pinpoints=PINPOINTS,
        image_token_index=tokenizer.convert_tokens_to_ids("<image>"),
        vision_feature_layer=-1,
        vision_feature_select_strategy="default" if vision == "clip_vision_model" else "full",
        tie_word_embeddings=False,
    )


def tiles_of_idefics(processor: type[BaseImageProcessor]) -> Callable[[], BaseImageProcessor]:
    return lambda: processor(size={"longest_edge": 64}, max_image_size={"longest_edge": 32})


IDEFICS_TOKENS = (
    "<image>",
    "<fake_token_around_image>",
    "<global-img>",
    *(f"<row_{row}_col_{column}>" for row in (1, 2) for column in (1, 2)),
)


def idefics_plain(whole: Whole) -> dict[str, Tensor]:
    return {"pixel_values": whole.pixels[None]}


def qwen_plain(whole: Whole) -> dict[str, Tensor]:
    grid = torch.tensor([(1, *whole.shape)])
    return {"pixel_values": whole.pixels, "image_grid_thw": grid, "mm_token_type_ids": whole.is_image.int()}


def tiles_plain(whole: Whole) -> dict[str, Tensor]:
    return {"pixel_values": whole.pixels, "image_sizes": torch.tensor([whole.shape])}


def paligemma_plain(whole: Whole) -> dict[str, Tensor]:
    return {"pixel_values": whole.pixels, "token_type_ids": (~whole.is_prefix).long()}


def squashed() -> BaseImageProcessor:
    return CLIPImageProcessor(size=TILE_SIZE, do_center_crop=False, crop_size=TILE_SIZE)


FAMILIES = {
    "llava": Toy(config=llava("clip_vision_model", {}, tied=False), images=squashed),
    "llava, SigLIP": Toy(
        config=llava("siglip_vision_model", {"vision_use_head": False}, tied=True),
        images=lambda: SiglipImageProcessor(size=TILE_SIZE),
    ),
    "paligemma": Toy(config=paligemma, images=lambda: SiglipImageProcessor(size=TILE_SIZE), plain=paligemma_plain),
    "smolvlm": Toy(
        config=idefics("smolvlm", "smolvlm_vision"),
        images=tiles_of_idefics(SmolVLMImageProcessor),
        tokens=IDEFICS_TOKENS,
        plain=idefics_plain,
    ),
    "idefics3": Toy(
        config=idefics("idefics3", "idefics3_vision"),
        images=tiles_of_idefics(Idefics3ImageProcessor),
        tokens=IDEFICS_TOKENS,
        plain=idefics_plain,
    ),
    "qwen2_5_vl": Toy(
        config=qwen2_5_vl,
        images=lambda: Qwen2VLImageProcessor(patch_size=8, min_pixels=32 * 32, max_pixels=64 * 64),
        tokens=("<|vision_start|>", "<|image_pad|>", "<|vision_end|>"),
        plain=qwen_plain,
    ),
    "qwen3_vl": Toy(
        config=qwen3_vl,
        images=lambda: Qwen2VLImageProcessor(patch_size=8, min_pixels=32 * 32, max_pixels=64 * 64),
        tokens=("<|vision_start|>", "<|image_pad|>", "<|vision_end|>"),
        plain=qwen_plain,
    ),
    "internvl": Toy(
        config=internvl,
        images=lambda: GotOcr2ImageProcessor(size=TILE_SIZE, max_patches=4),
        tokens=("<img>", "<IMG_CONTEXT>", "</img>"),
    ),
    "llava_onevision": Toy(
        config=llava_tiles("llava_onevision", "siglip_vision_model", "qwen2"),
        images=lambda: LlavaOnevisionImageProcessor(size=TILE_SIZE, image_grid_pinpoints=PINPOINTS),
        plain=tiles_plain,
    ),
    "llava_next": Toy(
        config=llava_tiles("llava_next", "clip_vision_model", "llama"),
        images=lambda: LlavaNextImageProcessor(
            size={"shortest_edge": 32}, crop_size=TILE_SIZE, image_grid_pinpoints=PINPOINTS
        ),
        plain=tiles_plain,
    ),
}


def toy_tokenizer(toy: Toy) -> PreTrainedTokenizerBase:
    """Bytes, the words above, and the family's own tokens."""
    tokenizer = train_tokenizer(WORDS)
    tokenizer.add_tokens(list(toy.tokens), special_tokens=True)
    return tokenizer


def toy_lisa(toy: Toy, **changes) -> tuple[LisaModel, LisaProcessor]:
    """Model and processor with the random weights of seed 0; `changes` go to LisaConfig."""
    tokenizer = toy_tokenizer(toy)
    images = toy.images()
    vlm_config = toy.config(tokenizer)
    own_marks = family_marks(vlm_config)
    config = LisaConfig(
        vlm_config=vlm_config,
        seg_token_id=tokenizer.get_vocab()[SEG],
        **{"sam": SAM_SIZE, "template": "plain", "model_max_length": 512, "use_im_start_end": not own_marks} | changes,
    )
    torch.manual_seed(0)
    model = LisaModel(config).eval()
    # Embeddings and heads begin small, and all states near each other; with larger ones a wrong token is seen.
    with torch.no_grad():
        for parameter in model.vlm.parameters():
            if parameter.dim() > 1:
                parameter.mul_(3)
    return model, LisaProcessor(config, tokenizer, images)


def family_marks(vlm_config: PretrainedConfig) -> bool:
    from lisa.backbones import family_of

    return family_of(vlm_config).reader.marks_pictures


def picture(height: int, width: int, seed: int = 0) -> np.ndarray:
    """Coloured noise (height, width, 3) uint8."""
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)


def ask(question: str, answer: str | None = None) -> Conversation:
    """A conversation about a picture, which stands first."""
    return Conversation.of(f"<image>\n{question}", answer)


def talk(*texts: str) -> Conversation:
    """Turns by turns, the user's first; the picture stands first."""
    roles = ("user", "assistant") * len(texts)
    turns = [Turn(role, text) for role, text in zip(roles, texts, strict=False)]
    return Conversation((Turn("user", f"<image>\n{texts[0]}"), *turns[1:]))
