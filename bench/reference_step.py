"""A training step the way the reference computes it, out of our own parts.

The vision tower runs once per conversation and through all of its layers, every conversation is a row of its own,
logits and prompts are computed at every token, and SAM encodes and decodes image by image. Memory settings (activations
that are recomputed, malloc's) are those of the other side.
"""

from __future__ import annotations

from dataclasses import replace

import torch
import torch.nn.functional as F
from torch import Tensor

from lisa.modeling import LisaModel, MaskOutput
from lisa.objective import mask_terms, weighed
from lisa.plan import Plan
from lisa.processing import Batch
from lisa.seg import seg_positions
from lisa.tokenization import IGNORE_INDEX
from sam_bridge import Embeddings, decode_masks, encode_images
from sam_bridge.attention import use_fast_attention, use_package_attention


def reference_terms(model: LisaModel, batch: Batch) -> dict[str, Tensor]:
    """Loss terms of a batch that is not packed, the same as those of `LisaModel.forward`."""
    hidden = _states(model, batch)
    logits = model.backbone.logits(hidden)[:, :-1].flatten(0, 1).float()
    terms = {"ce": F.cross_entropy(logits, batch.rows.labels[:, 1:].flatten(), ignore_index=IGNORE_INDEX)}
    prompts = model.text_hidden_fcs[0](hidden)[seg_positions(batch.rows, model.config.seg_token_id, "before")]
    plan = Plan.of(batch.rows, len(batch.sizes), model.config.seg_token_id, "before")
    terms |= mask_terms(model, _masks(model, batch, prompts, plan), plan, batch)
    return weighed(terms, model.config)


def _states(model: LisaModel, batch: Batch) -> Tensor:
    """(Q, L, D): a picture for each conversation, a row for each conversation, a full matrix of scores."""
    rows = batch.rows
    vlm, config = model.vlm.get_base_model().model, model.config.vlm_config
    with torch.no_grad():
        features = vlm.get_image_features(
            pixel_values=batch.pixel_values[rows.image_of_row].to(model.dtype),
            vision_feature_layer=config.vision_feature_layer,
            vision_feature_select_strategy=config.vision_feature_select_strategy,
            output_hidden_states=True,
            return_dict=True,
        )
    a_picture_each = replace(rows, image_of_row=torch.arange(len(rows.labels), device=rows.labels.device))
    embeds = model.embed_rows(a_picture_each, torch.stack(list(features.pooler_output)))
    return model.backbone.run(embeds, rows.attention_bias(embeds.dtype), rows.positions)


def _masks(model: LisaModel, batch: Batch, prompts: Tensor, plan: Plan) -> MaskOutput:
    """Image by image."""
    embeddings, decoded = [], []
    for image, own in enumerate(prompts.split(plan.masks_per_image)):
        with torch.no_grad():
            embeddings.append(encode_images(model.sam, batch.sam_pixels[image : image + 1]))
        nothing_before = own.new_zeros(len(own), dtype=torch.int64)
        decoded.append(decode_masks(model.sam, embeddings[-1], own, nothing_before))
    low_res, scores = (torch.cat(parts) for parts in zip(*decoded, strict=True))
    return MaskOutput(
        low_res=low_res, scores=scores, prompts=prompts, embeddings=Embeddings.cat(embeddings), row_of=plan.row_of
    )


def compute_as_the_reference(model: LisaModel, on: bool) -> None:
    """Let SAM's encoder be the package's, or ours."""
    (use_package_attention if on else use_fast_attention)(model.sam.image_encoder)
