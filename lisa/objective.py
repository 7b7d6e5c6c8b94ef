"""The loss of a batch: LISA's terms, and those that teach a model which starts from nothing.

Each function gives scalars by name; `weighed` adds them up.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

import torch
import torch.nn.functional as F
from torch import Tensor

from lisa.grounding import looking_loss, naming_loss, states_on_the_way, token_of_thing, word_rarity
from lisa.losses import balanced_bce_loss, dice_loss, iou_score_loss, mask_bce_loss, mean_over_masks
from lisa.profiling import timed
from sam_bridge import Embeddings, to_original_size

if TYPE_CHECKING:
    from lisa.config import LisaConfig
    from lisa.modeling import LisaModel, MaskOutput
    from lisa.plan import Plan
    from lisa.processing import Batch, Names


class _ReachAll(torch.autograd.Function):
    """A loss as it is, whose gradient reaches parameters that it does not depend on: 0."""

    @staticmethod
    def forward(ctx: Any, loss: Tensor, *parameters: Tensor) -> Tensor:
        ctx.parameters = parameters
        return loss.clone()

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, ...]:
        # Expanded zeros take no memory; what the loss does depend on is added to them.
        return gradient, *(parameter.new_zeros(()).expand_as(parameter) for parameter in ctx.parameters)


def reach_all(loss: Tensor, parameters: Iterable[Tensor]) -> Tensor:
    """The loss, whose backward pass leaves a gradient in each of the parameters that require one."""
    return _ReachAll.apply(loss, *(parameter for parameter in parameters if parameter.requires_grad))


LOOK_WIDTH = 64
"""Channels in which a state is compared with the image tokens."""


def weighed(
    terms: dict[str, Tensor], config: LisaConfig, shares: Mapping[str, Tensor] | None = None
) -> dict[str, Tensor]:
    """The terms, each times its share, with "loss", their sum weighed as the config says."""
    if shares is not None:
        terms = {name: term * shares[name] for name, term in terms.items()}
    weights = {
        "ce": config.ce_loss_weight,
        "bce": config.bce_loss_weight,
        "dice": config.dice_loss_weight,
        "dense": config.dense_loss_weight,
        "iou": config.iou_loss_weight,
        "ground": config.ground_loss_weight,
        "ground_sam": config.ground_loss_weight,
        "look": config.look_loss_weight,
    }
    return {"loss": sum(weights[name] * term for name, term in terms.items())} | terms


@timed("losses")
def mask_terms(model: LisaModel, masks: MaskOutput, plan: Plan, batch: Batch) -> dict[str, Tensor]:
    """bce, dice and, where switched on, dense and iou: means over the S masks, 0 without any."""
    targets, config = batch.targets, model.config
    if len(masks.low_res) != len(targets.low_res):
        raise ValueError(f"{len(masks.low_res)} [SEG] in the answers but {len(targets.low_res)} target masks")
    counts = targets.low_res_counts[plan.image_of]
    groups = [(masks.low_res.float(), targets.low_res, counts)]
    if config.mask_loss_size == "original" and len(plan.seg):
        per_image = masks.low_res.split(plan.masks_per_image)
        groups = [
            (to_original_size(logits, size, config.sam["image_size"]), target.float(), counted[None].float())
            for logits, size, target, counted in zip(per_image, batch.sizes, targets.masks, targets.counts, strict=True)
            if len(logits)
        ]
    terms = {
        "bce": mean_over_masks([mask_bce_loss(*group) for group in groups]),
        "dice": mean_over_masks([dice_loss(*group) for group in groups]),
    }
    # Terms that the reference does not have, at low resolution.
    if config.dense_loss_weight > 0:
        coarse, coarse_counts = (F.avg_pool2d(full[:, None], 4)[:, 0] for full in (targets.low_res, counts))
        terms["dense"] = mean_over_masks([balanced_bce_loss(dense_logits(model, masks), coarse, coarse_counts)])
    if config.iou_loss_weight > 0:
        terms["iou"] = mean_over_masks([iou_score_loss(masks.scores, masks.low_res, targets.low_res, counts)])
    return terms


def dense_logits(model: LisaModel, masks: MaskOutput) -> Tensor:
    """The prompt against the image embedding at each place, (S, g, g).

    An auxiliary head: it gives prompt and image encoder a direct gradient, before the decoder has learned
    to listen to prompts.
    """
    queries = model.dense_prompt(masks.prompts)
    places = of_each(model.dense_image(masks.embeddings.image), masks.row_of)
    return torch.einsum("se,seyx->syx", queries, places).float() / queries.shape[-1] ** 0.5


def token_naming_terms(model: LisaModel, image_tokens: Tensor, batch: Batch) -> dict[str, Tensor]:
    """ground: what the image tokens (B, P, D) say of the things that have a name."""
    names = batch.names
    image_tokens = image_tokens[..., : model.backbone.width]
    things = token_of_thing(of_each(image_tokens, names.image_of), batch.targets.coverage[names.mask_index])
    return {"ground": _naming_loss(model, things, names)}


def sam_naming_terms(model: LisaModel, embeddings: Embeddings, row_of: Tensor, batch: Batch) -> dict[str, Tensor]:
    """ground_sam: the same of SAM's embeddings; row_of (M,) tells each name's."""
    places = of_each(embeddings.image.flatten(2).transpose(1, 2), row_of)
    coverage = F.avg_pool2d(batch.targets.low_res[batch.names.mask_index][:, None], 4).flatten(1)
    return {"ground_sam": _naming_loss(model, model.name_image(token_of_thing(places, coverage)), batch.names)}


def _naming_loss(model: LisaModel, things: Tensor, names: Names) -> Tensor:
    """The names of things (M, D), read by the language model's head, rare words weighing more."""
    weights = word_rarity(names.words, names.real)
    return mean_over_masks([naming_loss(words_said(model, things), names.words, weights)])


def words_said(model: LisaModel, image_tokens: Tensor) -> Tensor:
    """Log-probabilities (..., V) of the words that image tokens (..., D) stand for."""
    return model.backbone.logits(model.backbone.final_norm(image_tokens)).float().log_softmax(-1)


def look_terms(model: LisaModel, hidden: Tensor, image_tokens: Tensor, batch: Batch) -> dict[str, Tensor]:
    """look: where the states (R, L, D) of the answers look, among the tokens of their picture; 0 without [SEG]."""
    row, column, mask = states_on_the_way(batch.rows, model.config.seg_token_id)
    looks = model.look_state(hidden[row, column])
    tokens = model.look_token(model.backbone.final_norm(image_tokens[..., : model.backbone.width]))
    picture_of = batch.rows.image_of_row[row]
    scores = torch.einsum("nd,npd->np", looks, of_each(tokens, picture_of)).float() / LOOK_WIDTH**0.5
    scores = hide_padding(scores, batch.rows.image_tokens_of(len(batch.sizes))[picture_of])
    return {"look": mean_over_masks([looking_loss(scores, batch.targets.coverage[mask])])}


def hide_padding(scores: Tensor, counts: Tensor) -> Tensor:
    """Scores (N, P) of image tokens, the lowest number beyond the counts (N,)."""
    beyond = torch.arange(scores.shape[1], device=scores.device) >= counts[:, None]
    return scores.masked_fill(beyond, torch.finfo(scores.dtype).min)


def of_each(per_picture: Tensor, picture_of: Tensor) -> Tensor:
    """(B, ...) -> (N, ...), the picture of each of N masks, names or states.

    Several threads sum the gradient of x[index] in any order, that of index_select in one: a resumed run ends with
    the same bits.
    """
    return per_picture.index_select(0, picture_of)
