"""Models from nothing: every box of the figure, small enough to train on a laptop's CPU in minutes."""

from __future__ import annotations

import re
from collections.abc import Iterable

from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import CLIPImageProcessor, CLIPVisionConfig, LlamaConfig, LlavaConfig, PreTrainedTokenizerFast

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


def tiny_image_processor() -> CLIPImageProcessor:
    """The whole picture, squashed into a square: nothing is cropped off."""
    side = {"height": IMAGE_SIZE, "width": IMAGE_SIZE}
    return CLIPImageProcessor(size=side, do_center_crop=False, crop_size=side)


def tiny_config(tokenizer: PreTrainedTokenizerFast) -> LisaConfig:
    """A few million parameters: a CLIP tower, a Llama and a SAM, and LISA between them."""
    vision = CLIPVisionConfig(
        image_size=IMAGE_SIZE,
        patch_size=PATCH_SIZE,
        hidden_size=128,
        intermediate_size=512,
        num_hidden_layers=2,
        num_attention_heads=4,
        projection_dim=128,
    )
    text = LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=192,
        intermediate_size=512,
        num_hidden_layers=4,
        num_attention_heads=4,
        num_key_value_heads=4,
        max_position_embeddings=1024,
        rms_norm_eps=1e-6,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
        tie_word_embeddings=True,
    )
    vlm = LlavaConfig(
        vision_config=vision,
        text_config=text,
        image_token_index=tokenizer.pad_token_id,
        stem_widths=STEM_WIDTHS,
        merge_patches=MERGE,
        image_seq_length=(IMAGE_SIZE // PATCH_SIZE // MERGE) ** 2,
        vision_feature_layer=-1,
        vision_feature_select_strategy="default",
        tie_word_embeddings=True,
    )
    return LisaConfig(
        vlm_config=vlm,
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
