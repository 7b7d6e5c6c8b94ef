"""The names of weights in released files and in transformers' folders -> ours.

A released SAM or SAM-HQ keeps its names. A SAM 2 has transformers' for what is built of its parts, and SAM's elsewhere.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

from torch import Tensor

Rules = Sequence[tuple[str, str]]
"""Regular expressions and what stands in their place, all tried in order; a name that becomes "" is left out."""

_PROMPTS: Rules = (
    # The positions stand in two places; the second is used in transformers, and is the only one in some files.
    (r"^prompt_encoder\.shared_embedding\..*$", ""),
    (r"^shared_image_embedding\.positional_embedding$", "prompt_encoder.pe_layer.positional_encoding_gaussian_matrix"),
    (r"^prompt_encoder\.point_embed\.", "prompt_encoder.point_embeddings."),
    (r"^prompt_encoder\.mask_embed\.conv1\.", "prompt_encoder.mask_downscaling.0."),
    (r"^prompt_encoder\.mask_embed\.layer_norm1\.", "prompt_encoder.mask_downscaling.1."),
    (r"^prompt_encoder\.mask_embed\.conv2\.", "prompt_encoder.mask_downscaling.3."),
    (r"^prompt_encoder\.mask_embed\.layer_norm2\.", "prompt_encoder.mask_downscaling.4."),
    (r"^prompt_encoder\.mask_embed\.conv3\.", "prompt_encoder.mask_downscaling.6."),
)
"""transformers' prompt encoders -> the authors', which are the same in every SAM."""

_SAM2: Rules = (
    (r"^(memory_attention|memory_encoder|mask_downsample|obj_ptr_proj|obj_ptr_tpos_proj)\..*$", ""),
    (r"^(maskmem_tpos_enc|no_mem_pos_enc|no_obj_ptr|no_obj_embed_spatial)$", ""),
    (r"^no_mem_embed$", "image_encoder.no_memory_embedding"),
    (r"^sam_prompt_encoder\.", "prompt_encoder."),
    (r"^sam_mask_decoder\.(conv_s[01])\.", r"image_encoder.\1."),
    (r"^sam_mask_decoder\.", "mask_decoder."),
    (r"^image_encoder\.neck\.convs\.(\d)\.conv\.", r"image_encoder.vision.neck.convs.\1."),
    (r"^image_encoder\.trunk\.patch_embed\.proj\.", "image_encoder.vision.backbone.patch_embed.projection."),
    (r"^image_encoder\.trunk\.", "image_encoder.vision.backbone."),
    (r"\.mlp\.layers\.0\.", ".mlp.proj_in."),
    (r"\.mlp\.layers\.1\.", ".mlp.proj_out."),
    (r"\.out_proj\.", ".o_proj."),
    (r"\.norm(\d)\.", r".layer_norm\1."),
    (r"\.norm_final_attn\.", ".layer_norm_final_attn."),
    (r"\.output_upscaling\.0\.", ".upscale_conv1."),
    (r"\.output_upscaling\.1\.", ".upscale_layer_norm."),
    (r"\.output_upscaling\.3\.", ".upscale_conv2."),
    # All heads have three layers.
    (r"((?:mlps\.\d|_head)\.)layers\.0\.", r"\1proj_in."),
    (r"((?:mlps\.\d|_head)\.)layers\.2\.", r"\1proj_out."),
    (r"((?:mlps\.\d|_head)\.)layers\.1\.", r"\1layers.0."),
)
"""The authors' SAM 2 and 2.1; what only videos need is left out."""

_SAM2_TRANSFORMERS: Rules = (
    (r"^(memory_attention|memory_encoder|mask_downsample|object_pointer_proj)\..*$", ""),
    (r"^temporal_positional_encoding_projection_layer\..*$", ""),
    (r"^(memory_temporal_positional_encoding|no_memory_positional_encoding|no_object_pointer)$", ""),
    (r"^occlusion_spatial_embedding_parameter$", ""),
    (r"^no_memory_embedding$", "image_encoder.no_memory_embedding"),
    (r"^mask_decoder\.(conv_s[01])\.", r"image_encoder.\1."),
    (r"^vision_encoder\.", "image_encoder.vision."),
    *_PROMPTS,
)
"""transformers' Sam2Model and Sam2VideoModel."""

_HQ_TRANSFORMERS: Rules = (
    *_PROMPTS,
    (r"^vision_encoder\.patch_embed\.projection\.", "image_encoder.patch_embed.proj."),
    (r"^vision_encoder\.layers\.(\d+)\.layer_norm", r"image_encoder.blocks.\1.norm"),
    (r"^vision_encoder\.layers\.", "image_encoder.blocks."),
    (r"^vision_encoder\.neck\.conv1\.", "image_encoder.neck.0."),
    (r"^vision_encoder\.neck\.layer_norm1\.", "image_encoder.neck.1."),
    (r"^vision_encoder\.neck\.conv2\.", "image_encoder.neck.2."),
    (r"^vision_encoder\.neck\.layer_norm2\.", "image_encoder.neck.3."),
    (r"^vision_encoder\.", "image_encoder."),
    (r"\.layer_norm(\d)\.", r".norm\1."),
    (r"\.layer_norm_final_attn\.", ".norm_final_attn."),
    (r"\.upscale_conv1\.", ".output_upscaling.0."),
    (r"\.upscale_layer_norm\.", ".output_upscaling.1."),
    (r"\.upscale_conv2\.", ".output_upscaling.3."),
    (r"((?:mlps\.\d|_head|_mlp)\.)layers\.0\.", r"\1layers.1."),
    (r"((?:mlps\.\d|_head|_mlp)\.)proj_in\.", r"\1layers.0."),
    (r"((?:mlps\.\d|_head|_mlp)\.)proj_out\.", r"\1layers.2."),
    (r"\.hq_token\.", ".hf_token."),
    (r"\.hq_mask_mlp\.", ".hf_mlp."),
    (r"\.(compress_vit|encoder|mask)_conv1\.", r".\1.0."),
    (r"\.(compress_vit|encoder|mask)_norm\.", r".\1.1."),
    (r"\.(compress_vit|encoder|mask)_conv2\.", r".\1.3."),
    (r"\.compress_vit\.", ".compress_vit_feat."),
    (r"\.encoder\.", ".embedding_encoder."),
    (r"\.mask\.", ".embedding_maskfeature."),
)
"""transformers' SamHQModel."""

# A name by which a file is known, and its rules.
_LAYOUTS: tuple[tuple[str, Rules], ...] = (
    ("image_encoder.trunk.pos_embed", _SAM2),
    ("vision_encoder.backbone.pos_embed", _SAM2_TRANSFORMERS),
    ("vision_encoder.layers.0.attn.qkv.weight", _HQ_TRANSFORMERS),
)

_POINTS = "prompt_encoder.point_embeddings."


def by_our_names(weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The weights of a SAM, SAM 2 or SAM-HQ by the names that `build_sam` gives them.

    Names that no rule knows stay, and so fit no model.
    """
    rules = next((rules for mark, rules in _LAYOUTS if mark in weights), ())
    renamed = {new: tensor for name, tensor in weights.items() if (new := _rename(name, rules))}
    table = renamed.get(f"{_POINTS}weight")  # transformers' SAM 2 has one table
    if table is not None and table.dim() == 2:
        del renamed[f"{_POINTS}weight"]
        renamed |= {f"{_POINTS}{k}.weight": row[None] for k, row in enumerate(table)}
    return renamed


def _rename(name: str, rules: Rules) -> str:
    for rule, replacement in rules:
        name = re.sub(rule, replacement, name)
    return name
