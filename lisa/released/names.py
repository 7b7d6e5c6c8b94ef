"""The names of weights: released LISA, LLaVA and the reference's training checkpoints <-> ours."""

from __future__ import annotations

import re
from typing import NamedTuple

TOWER = "vlm.model.vision_tower."
PROJECTOR = "vlm.model.multi_modal_projector."
LANGUAGE = "vlm.model.language_model."

# Released prefix, our prefix; the first that fits counts.
_PREFIXES = (
    ("model.visual_model.", "sam."),
    ("model.text_hidden_fcs.", "text_hidden_fcs."),
    ("model.vision_tower.vision_tower.vision_model.", TOWER),
    ("model.mm_projector.0.", f"{PROJECTOR}linear_1."),
    ("model.mm_projector.2.", f"{PROJECTOR}linear_2."),
    ("model.mm_projector.", f"{PROJECTOR}linear_1."),
    ("model.", LANGUAGE),
    ("lm_head.", "vlm.lm_head."),
)
INV_FREQ = ".rotary_emb.inv_freq"
"""Rotary frequencies: constants that transformers 4.31 stored, and that follow from the config."""
_CONSTANTS = (INV_FREQ, ".position_ids", ".pixel_mean", ".pixel_std")


class LoraName(NamedTuple):
    """Which layer a LoRA matrix adapts, and which of the two it is."""

    target: str
    """Our name of the adapted weight."""
    matrix: str
    """"A" (rank, in) or "B" (out, rank)."""


def our_name(name: str) -> str | LoraName | None:
    """Our name of a weight; None for a constant that no checkpoint has to hold.

    Names that nothing is known about come back as they are, and so fit no model.
    """
    name = name.removeprefix("base_model.model.")
    if name.endswith(_CONSTANTS):
        return None
    if lora := re.fullmatch(r"(.*)\.lora_([AB])\.default\.weight", name):
        return LoraName(_renamed(f"{lora[1]}.weight"), lora[2])
    return _renamed(name.replace(".base_layer.", "."))


def tower_name(name: str) -> str | None:
    """Our name of a weight in the vision tower's own folder; None for CLIP's text half and its constants."""
    if name.endswith(".position_ids") or name.split(".")[0] in (
        "text_model",
        "logit_scale",
        "text_projection",
        "visual_projection",
    ):
        return None
    return TOWER + name.removeprefix("vision_model.")


def released_name(name: str, projector_layers: int) -> str | None:
    """The released name of one of our weights; None for the vision tower, which the format leaves out."""
    if name.startswith(TOWER):
        return None
    if name.startswith(PROJECTOR) and projector_layers == 1:
        return name.replace(f"{PROJECTOR}linear_1.", "model.mm_projector.")
    for released, ours in _PREFIXES:
        if name.startswith(ours):
            return released + name.removeprefix(ours)
    return name


def _renamed(name: str) -> str:
    for released, ours in _PREFIXES:
        if name.startswith(released):
            return ours + name.removeprefix(released)
    return name
