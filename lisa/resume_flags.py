"""Which flags may differ when a run goes on with --resume; every flag of train_ds.py stands in one of the tables."""

from __future__ import annotations

from collections.abc import Mapping

FREE = [
    "resume",
    "overwrite",
    "local_rank",
    "exp_name",
    "log_base_dir",
    "workers",
    "print_freq",
    "save_every",
    "profile",
    "max_skipped_steps",
    "dataset_dir",
    "elsewhere",
    "index_dir",
    "cache_sam",
    "val_dataset",
    "val_batch_size",
    "val_limit",
    "eval_every",
    "eval_only",
    "no_eval",
    "attention",
    "gradient_checkpointing",
    "compile",
    "packing",
    "save_dtype",
]
"""They change no sample and no weight, but for rounding."""

SCHEDULE = ["lr", "muon_lr", "warmup_steps", "clip", "epochs"]
"""They hold from the next step on, as if the run had had them from its start; no sample changes its place."""

GLOBAL_BATCH = ["processes", "batch_size", "grad_accumulation_steps"]
"""Their product is the number of images of a step: each may change, it may not."""

PRECISION = ["precision"]
"""It may change as long as the weights are of the same type."""

FIXED = [
    "version",
    "sam",
    "vision_tower",
    "vision_pretrained",
    "conv_type",
    "model_max_length",
    "use_mm_start_end",
    "seg_state",
    "trainable",
    "lora_r",
    "lora_alpha",
    "lora_dropout",
    "lora_target_modules",
    "dataset",
    "sample_rates",
    "sem_seg_data",
    "refer_seg_data",
    "vqa_data",
    "reason_seg_data",
    "own_data",
    "ignored_is_background",
    "num_classes_per_sample",
    "explanatory",
    "name_targets",
    "loss_normalization",
    "ce_loss_weight",
    "bce_loss_weight",
    "dice_loss_weight",
    "dense_loss_weight",
    "iou_loss_weight",
    "ground_loss_weight",
    "look_loss_weight",
    "mask_loss_size",
    "steps_per_epoch",
    "vision_steps",
    "grounding_steps",
    "optimizer",
    "beta1",
    "beta2",
    "weight_decay",
    "zero_stage",
    "seed",
]
"""They decide which samples are drawn, what learns, or what the optimiser's state means."""


def type_of_weights(precision: str) -> str:
    """What the weights are in under --precision; bf16_mixed and auto compute in what they like, with fp32 weights."""
    return precision if precision in ("bf16", "fp16") else "fp32"


def changed_flags(before: Mapping[str, str], now: Mapping[str, str], names: list[str]) -> list[str]:
    """`--lr 0.001 instead of 0.003`, for each of the names that differs."""
    return [
        f"--{name} {now[name]} instead of {before.get(name, 'nothing')}"
        for name in names
        if now[name] != before.get(name)
    ]
