"""Which parts learn, and which stay as they are."""

from __future__ import annotations

import re

from torch import nn

from lisa.arguments import TrainArgs
from lisa.conversation import SEG
from lisa.modeling import LisaModel
from lisa.processing import LisaProcessor
from lisa.tokenization import IM_END, IM_START


def choose_trainable(model: LisaModel, processor: LisaProcessor, args: TrainArgs) -> None:
    """Freeze everything but the parts that --trainable names; LoRA and new token rows are put in place.

    SAM's prompt encoder learns with "all" only as far as the road uses it: its no-mask embedding.
    """
    names = args.trainable_parts
    model.requires_grad_(False)
    parts = model.backbone.parts() | {
        "text_hidden_fcs": model.text_hidden_fcs,
        "mask_decoder": model.sam.mask_decoder,
        "image_encoder": model.sam.image_encoder,
    }
    for name in names:
        if name in parts:
            parts[name].requires_grad_(True)
    for name in ("dense_prompt", "dense_image", "name_image", "look_state", "look_token"):
        if hasattr(model, name):
            getattr(model, name).requires_grad_(True)
    if args.trainable == "all":
        model.sam.prompt_encoder.no_mask_embed.requires_grad_(True)
    if "embeddings" not in names and "language_model" in names:
        model.backbone.parts()["embeddings"].requires_grad_(False)
    if {"lora", "new_tokens"} & set(names):
        _insert_adapters(model, processor, args, lora="lora" in names, new_tokens="new_tokens" in names)
    if args.gradient_checkpointing:
        recompute_activations(model.vlm, True)


def recompute_activations(vlm: nn.Module, on: bool) -> None:
    """Whether layers forget their activations and compute them again in the backward pass."""
    # transformers 5.23 renamed both methods, and warns at every call by the old name.
    kind = "activation" if hasattr(vlm, "activation_checkpointing_enable") else "gradient"
    if on:
        getattr(vlm, f"{kind}_checkpointing_enable")({"use_reentrant": False})
    else:
        getattr(vlm, f"{kind}_checkpointing_disable")()


def train_mode(model: LisaModel) -> None:
    """Train mode for what learns and eval mode for parts that are frozen whole.

    The language model stays in train mode: only there does it recompute activations, on the way to what learns below.
    """
    model.train()
    parts = model.backbone.parts()
    for part in (parts["vision_tower"], parts["projector"], *model.sam.children(), model.text_hidden_fcs):
        if not any(parameter.requires_grad for parameter in part.parameters()):
            part.eval()


def _insert_adapters(
    model: LisaModel, processor: LisaProcessor, args: TrainArgs, *, lora: bool, new_tokens: bool
) -> None:
    """LoRA on the language model's layers, and a trainable copy of the added tokens' rows, by peft."""
    from peft import LoraConfig, TrainableTokensConfig, get_peft_model

    vocabulary = processor.tokenizer.get_vocab()
    added = sorted(vocabulary[token] for token in (SEG, IM_START, IM_END) if token in vocabulary)
    holders = ["embed_tokens"] if model.config.tie_word_embeddings else ["embed_tokens", "lm_head"]
    layers = "|".join(args.lora_target_modules.split(","))
    language_model = model.backbone.language_model
    inside = next(name for name, module in model.vlm.named_modules() if module is language_model)
    config = TrainableTokensConfig(token_indices=added, target_modules=holders)
    if lora:
        config = LoraConfig(
            r=args.lora_r,
            lora_alpha=args.lora_alpha,
            lora_dropout=args.lora_dropout,
            target_modules=rf"{re.escape(inside)}\..*\.({layers})",
            trainable_token_indices=dict.fromkeys(holders, added) if new_tokens else None,
        )
    # peft freezes what it does not adapt.
    trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
    model.vlm = get_peft_model(model.vlm, config)
    for parameter in trained:
        parameter.requires_grad_(True)
