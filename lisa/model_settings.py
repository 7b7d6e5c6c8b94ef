"""What the folder of --version says of itself, read before any weight is: which flags it decides, and its limits."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

Kind = Literal["lisa", "released", "old_llava", "vlm"]

TEXT_ROOM = 256
"""Tokens for words, beside those of an image, where the default of 512 is not enough for both."""

TEMPLATE_OF = {
    "smolvlm": "smolvlm",
    "idefics3": "smolvlm",
    "paligemma": "paligemma",
    "qwen2_5_vl": "chatml",
    "qwen3_vl": "chatml",
    "internvl": "chatml",
    "llava_onevision": "chatml",
}
"""The template that a family's own models were trained with, where it is not LLaVA's."""

TEMPLATE_TOKENS = {
    "chatml": ("<|im_start|>", "<|im_end|>"),
    "smolvlm": ("<|im_start|>", "<end_of_utterance>"),
}
"""Tokens without which a template would be read as words like any other."""

_TOKENIZER_FILES = ("tokenizer.json", "tokenizer_config.json", "added_tokens.json", "vocab.json")

HEADS = ("dense_loss_weight", "ground_loss_weight", "look_loss_weight")
"""Losses that bring a head of their own: a trained model has it or has it not."""

_LISA_FLAGS = {"conv_type": "template", "use_mm_start_end": "use_im_start_end", "seg_state": "seg_state"}
"""Flags that a trained LISA decides, and their names in its config.json."""

_LISA_DEFAULTS = {
    "template": "llava_v1",
    "use_im_start_end": True,
    "seg_state": "before",
    "model_max_length": 512,
    "iou_loss_weight": 0.0,
} | dict.fromkeys(HEADS, 0.0)
"""What a config.json means that does not name them (see `LisaConfig`)."""


@dataclass(frozen=True, kw_only=True)
class ModelSettings:
    """What is known of a model without its weights."""

    kind: Kind
    """A LISA of ours, a released one, a LLaVA in its authors' format, or a vision-language model of transformers."""
    folder: Path
    fixed: dict[str, Any] = field(default_factory=dict)
    """Flags whose value was decided when the model was trained."""
    defaults: dict[str, Any] = field(default_factory=dict)
    """Flags whose default is another one for this model."""
    max_positions: int | None = None
    """Tokens that its language model can tell the places of; None where its config.json does not say."""
    image_tokens: int | None = None
    """Image tokens of every image; None where they are not known yet or differ."""

    def lacks_tokens_of(self, template: str) -> list[str]:
        """Tokens of a template that none of the tokenizer's files holds; none where there is no such file."""
        files = [path for name in _TOKENIZER_FILES if (path := self.folder / name).is_file()]
        texts = [path.read_text(encoding="utf-8", errors="replace") for path in files]
        return [token for token in TEMPLATE_TOKENS.get(template, ()) if texts and not any(token in t for t in texts)]


def read_model_settings(version: str) -> ModelSettings:
    """Settings of a model by its folder or hub id; only small files are fetched.

    ValueError or FileNotFoundError says what is not there, or not a model.
    """
    folder = _folder_of(version)
    config = folder / "config.json"
    if not config.is_file():
        raise FileNotFoundError(
            f"--version {version}: {folder} holds no config.json; give the folder of a model, such as a run's model/"
        )
    try:
        raw = json.loads(config.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ValueError(f"--version {version}: {config} is no JSON ({error}); copy the model again") from error
    if not isinstance(raw, dict):
        raise ValueError(f"--version {version}: {config} holds no JSON object; copy the model again")
    if raw.get("model_type") == "lisa":
        return _of_lisa(folder, raw)
    if "text_config" not in raw and ("train_mask_decoder" in raw or "LISAForCausalLM" in raw.get("architectures", ())):
        positions = raw.get("max_position_embeddings")
        fixed = {"use_mm_start_end": raw.get("mm_use_im_start_end", True), "seg_state": "before"}
        return ModelSettings(
            kind="released",
            folder=folder,
            fixed=fixed,
            defaults={"model_max_length": min(512, positions or 512)} | dict.fromkeys(HEADS, 0.0),
            max_positions=positions,
        )
    if "text_config" not in raw and "mm_vision_tower" in raw:
        positions = raw.get("max_position_embeddings")
        defaults = {"model_max_length": min(512, positions or 512)}
        return ModelSettings(kind="old_llava", folder=folder, defaults=defaults, max_positions=positions)
    return _of_vlm(version, folder)


def _folder_of(version: str) -> Path:
    """The folder itself, or a copy of the small files of a hub repository."""
    folder = Path(version)
    if folder.is_dir():
        return folder
    from lisa.released.hub import fetch, looks_like_hub_id

    if folder.exists() or not looks_like_hub_id(version):
        raise FileNotFoundError(f"--version {version}: there is no such folder")
    try:
        return fetch(version, "the model", weights=False)
    except FileNotFoundError as error:
        raise FileNotFoundError(f"--version {version}: {error}") from error


def _of_lisa(folder: Path, raw: dict) -> ModelSettings:
    text = (raw.get("vlm_config") or {}).get("text_config") or {}
    known = _LISA_DEFAULTS | raw
    return ModelSettings(
        kind="lisa",
        folder=folder,
        fixed={flag: known[name] for flag, name in _LISA_FLAGS.items()},
        defaults={name: known[name] for name in ("model_max_length", "iou_loss_weight", *HEADS)},
        max_positions=text.get("max_position_embeddings"),
    )


def _of_vlm(version: str, folder: Path) -> ModelSettings:
    """A vision-language model of transformers, by the config that transformers makes of it."""
    from transformers import AutoConfig

    from lisa.backbones import family_of
    from lisa.backbones.llava import llava_tokens_per_image

    try:
        config = AutoConfig.from_pretrained(folder)
        family_of(config)
    except (ValueError, OSError, TypeError, KeyError) as error:
        reason = str(error).strip().splitlines()[0]
        raise ValueError(f"--version {version}: its config.json is of no model that LISA can use: {reason}") from error
    positions = getattr(config.get_text_config(), "max_position_embeddings", None)
    image_tokens = llava_tokens_per_image(config) if config.model_type == "llava" else None
    wanted = max(512, (image_tokens or 0) + TEXT_ROOM)
    defaults = {
        "conv_type": TEMPLATE_OF.get(config.model_type, "llava_v1"),
        "model_max_length": min(wanted, positions or wanted),
    }
    return ModelSettings(
        kind="vlm", folder=folder, defaults=defaults, max_positions=positions, image_tokens=image_tokens
    )
