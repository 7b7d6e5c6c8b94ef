"""What a model is made of, told from its config, its tokenizer, and the names and shapes of its weights."""

from __future__ import annotations

from pathlib import Path

from torch import nn

from lisa.checkpoint import find_model
from lisa.config import LisaConfig
from lisa.model_folder import check_weights
from lisa.modeling import LisaModel
from lisa.processing import LisaProcessor
from lisa.quantize import language_matrices
from lisa.released import open_released
from lisa.released.checkpoint import skeleton

BYTES = {"fp32": 4, "bf16": 2, "fp16": 2}


def describe(model: str | Path) -> dict:
    """Name, folder, settings, parameters of each part and in all, and bytes of the weights by precision."""
    folder = find_model(model)
    released = open_released(folder)
    config = released.config if released else LisaConfig.from_pretrained(folder)
    processor = released.processor if released else LisaProcessor.from_pretrained(folder)
    if not released:
        check_weights(folder, config, values=False)
    lisa = skeleton(config)
    if config.tie_word_embeddings:
        lisa.tie_weights()
    parts = {name: count(module) for name, module in parts_of(lisa).items()}
    total = count(lisa)
    parts["heads of training"] = total - sum(parts.values())
    quantised = sum(matrix.weight.numel() for matrix in language_matrices(lisa).values())
    sizes = {name: width * total for name, width in BYTES.items()}
    sizes |= {f"{bits}bit": round(2 * (total - quantised) + quantised * bits / 8) for bits in (8, 4)}
    return {
        "model": str(model),
        "folder": str(folder),
        "settings": {
            "vision_language_model": config.vlm_config.model_type,
            "format": "released LISA" if released else "ours",
            "template": config.template,
            "seg_state": config.seg_state,
            "image_tokens": processor.pictures.tokens_per_image or "as many as the picture needs",
            "longest_conversation": config.model_max_length,
            "sam_image_size": config.sam_size.image_size,
        },
        "parameters": parts,
        "total": total,
        "bytes": sizes,
    }


def parts_of(lisa: LisaModel) -> dict[str, nn.Module]:
    """The boxes of the figure; what is in none of them only training reads."""
    backbone = lisa.backbone.parts()
    return {name: backbone[name] for name in ("vision_tower", "projector", "language_model")} | {
        "sam_image_encoder": lisa.sam.image_encoder,
        "sam_prompt_encoder": lisa.sam.prompt_encoder,
        "sam_mask_decoder": lisa.sam.mask_decoder,
        "text_hidden_fcs": lisa.text_hidden_fcs,
    }


def count(module: nn.Module) -> int:
    """Parameters, each once."""
    return sum(weight.numel() for weight in module.parameters())
