"""A LISA of a few ten thousand parameters, with every box of the figure, for tests."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import torch
from small_sams import SAM_SIZE
from transformers import CLIPImageProcessor, CLIPVisionConfig, LlamaConfig, LlavaConfig, PreTrainedTokenizerFast

from lisa.config import LisaConfig
from lisa.conversation import SEG, Conversation
from lisa.modeling import LisaModel
from lisa.presets import train_tokenizer
from lisa.processing import LisaProcessor

PATCHES = 16  # (32 / 8) squared
WORDS = (
    "Where is the red ball?",
    "What is the dog on the left in this image?",
    "Show both of them, please.",
    "Is there a cat, or is there nothing but grass, sand and sky?",
    "Sure, it is the red ball [SEG].",
    "Sure, [SEG] and [SEG].",
    "There is no dog.",
    "USER: ASSISTANT:",
)


def small_tokenizer() -> PreTrainedTokenizerFast:
    """Bytes, and the words above."""
    return train_tokenizer(WORDS)


def small_config(tokenizer: PreTrainedTokenizerFast, *, tied: bool = True, **changes) -> LisaConfig:
    """CLIP 32 px / 8, Llama of width 32 with 2 layers, SAM 64 px / 16; `changes` go to LisaConfig."""
    vision = CLIPVisionConfig(
        image_size=32,
        patch_size=8,
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=2,
        num_attention_heads=2,
        projection_dim=32,
    )
    text = LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=2,
        num_attention_heads=2,
        num_key_value_heads=2,
        max_position_embeddings=512,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
        tie_word_embeddings=tied,
    )
    vlm = LlavaConfig(
        vision_config=vision,
        text_config=text,
        image_token_index=tokenizer.pad_token_id,
        image_seq_length=PATCHES,
        vision_feature_layer=-1,
        vision_feature_select_strategy="default",
        tie_word_embeddings=tied,
    )
    wanted = {"template": "plain", "model_max_length": 256, "sam": SAM_SIZE} | changes
    return LisaConfig(vlm_config=vlm, seg_token_id=tokenizer.get_vocab()[SEG], **wanted)


def small_image_processor() -> CLIPImageProcessor:
    """The whole picture, squashed into 32 x 32."""
    side = {"height": 32, "width": 32}
    return CLIPImageProcessor(size=side, do_center_crop=False, crop_size=side)


def small_lisa(**changes) -> tuple[LisaModel, LisaProcessor]:
    """Model and processor with the random weights of seed 0."""
    tokenizer = small_tokenizer()
    config = small_config(tokenizer, **changes)
    torch.manual_seed(0)
    return LisaModel(config).eval(), LisaProcessor(config, tokenizer, small_image_processor())


def picture(height: int, width: int, seed: int = 0) -> np.ndarray:
    """Coloured noise (height, width, 3) uint8."""
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)


def ask(question: str, answer: str | None = None) -> Conversation:
    """A conversation about a picture, which stands first."""
    return Conversation.of(f"<image>\n{question}", answer)


def unpacked(processor: LisaProcessor) -> LisaProcessor:
    """The same processor, one row for each conversation."""
    return LisaProcessor(processor.config, processor.tokenizer, processor.image_processor, packing=False)


def reconfigured(processor: LisaProcessor, **changes) -> LisaProcessor:
    """The same processor with other settings of its text part."""
    other = unpacked(processor)
    other.packing, other.text = processor.packing, replace(processor.text, **changes)
    return other


def plain_hidden_states(model: LisaModel, processor: LisaProcessor, image: np.ndarray, ids: list[int]) -> torch.Tensor:
    """(T, D) after the final norm, by Hugging Face's own LLaVA forward over one whole sequence."""
    output = model.vlm(
        input_ids=torch.tensor([ids]),
        attention_mask=torch.ones(1, len(ids), dtype=torch.long),
        pixel_values=processor.tower_pixels([image]),
        output_hidden_states=True,
        use_cache=False,
    )
    return output.hidden_states[-1][0]
