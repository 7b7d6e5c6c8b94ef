"""LisaModel: the figure, in order, one line per box."""

from __future__ import annotations

import copy
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from transformers import PreTrainedModel

from lisa.attention import Layout
from lisa.backbones import Backbone, adapt, build
from lisa.config import LisaConfig
from lisa.grounding import looking_loss, naming_loss, states_on_the_way, token_of_thing, word_rarity, word_scores
from lisa.losses import (
    answer_loss,
    balanced_bce_loss,
    dice_loss,
    iou_score_loss,
    mask_bce_loss,
    mean_over_masks,
)
from lisa.packing import Rows
from lisa.plan import Plan
from lisa.processing import Batch, Names, Targets
from lisa.profiling import backward_is, timed
from lisa.seg import build_text_hidden_fcs
from sam_bridge import (
    EmbeddingCache,
    Embeddings,
    ImageSize,
    build_sam,
    decode_masks,
    encode_images,
    to_original_size,
)

LOOK_WIDTH = 64
"""Channels in which a state is compared with the image tokens."""


@dataclass(frozen=True, kw_only=True)
class MaskOutput:
    """Masks of a batch at the decoder's resolution; S of them, in reading order."""

    low_res: Tensor
    """(S, l, l) logits."""
    scores: Tensor
    """(S,) predicted IoU."""
    prompts: Tensor
    """(S, E) prompt embeddings."""
    embeddings: Embeddings
    """Of the B' images that have a [SEG]."""
    row_of: Tensor
    """(S,) int64: the row of `embeddings` that each mask is about."""


class LisaModel(PreTrainedModel):
    """A vision-language model whose [SEG] prompts a SAM.

    `forward(batch)` gives the loss terms of a batch with targets; `predict` in `lisa.generation` gives answers.
    """

    config_class = LisaConfig
    base_model_prefix = "lisa"
    supports_gradient_checkpointing = True
    _supports_sdpa = True
    _supports_flash_attn = True
    # Rounded, the frequencies of SAM's positions would move every position.
    _keep_in_fp32_modules_strict = {"pe_layer"}  # noqa: RUF012 - the way transformers declares it

    def __init__(self, config: LisaConfig) -> None:
        super().__init__(config)
        self.vlm = build(config.vlm_config)
        self.sam = build_sam(config.sam_size)
        self.text_hidden_fcs = build_text_hidden_fcs(self.backbone.width, config.sam_size.prompt_width)
        width = config.sam_size.prompt_width
        if config.dense_loss_weight > 0:
            self.dense_prompt, self.dense_image = nn.Linear(width, width), nn.Conv2d(width, width, 1)
        if config.ground_loss_weight > 0:
            self.name_image = nn.Linear(width, self.backbone.width)
        if config.look_loss_weight > 0:
            self.look_state, self.look_token = (nn.Linear(self.backbone.width, LOOK_WIDTH) for _ in range(2))
        self.click_decoder = copy.deepcopy(self.sam.mask_decoder) if config.click_decoder else None
        """For masks that are corrected by clicks, where SAM's own decoder has never seen one (`train_clicks.py`)."""
        self.embedding_cache: EmbeddingCache | None = None
        """Where `--cache_sam` keeps SAM's image embeddings; not a part of the model."""
        self.post_init()

    @classmethod
    def from_pretrained(cls, pretrained_model_name_or_path: str | Path, *args: Any, **kwargs: Any) -> LisaModel:
        """The model in a folder or on the hub: one that `save` wrote, or a released LISA.

        ValueError when weights are missing or too many: none is ever left random. A released LISA takes `dtype` and the
        fields of `lisa.released.ReleasedOptions` only.
        """
        from lisa.released import ReleasedOptions, holds_released, open_released, resolve

        folder = resolve(pretrained_model_name_or_path)
        if holds_released(folder):
            dtype = kwargs.pop("dtype", "auto")
            if isinstance(dtype, str):
                dtype = None if dtype == "auto" else getattr(torch, dtype)
            return open_released(folder, ReleasedOptions(**kwargs)).model(dtype)
        kwargs["output_loading_info"] = True
        model, report = super().from_pretrained(folder, *args, **kwargs)
        wrong = {name: sorted(map(str, keys)) for name, keys in report.items() if keys}
        if wrong:
            listed = "; ".join(f"{name.replace('_', ' ')}: {', '.join(keys)}" for name, keys in wrong.items())
            raise ValueError(f"{folder} does not hold the model of its config: {listed}; copy the whole folder again")
        return model

    def _init_weights(self, module: nn.Module) -> None:
        """Parts bring their own initialisation; only SAM's constants, which no file holds, are set again."""
        if module is self.sam:
            module.restore_constants()

    @property
    def backbone(self) -> Backbone:
        """The vision-language model behind its interface."""
        return adapt(self.vlm)

    def learns_in(self, stage: str) -> list[nn.Module]:
        """The modules that a stage of `forward` can teach."""
        parts = self.backbone.parts()
        if stage == "vision":
            tower = [parts["vision_tower"], parts["projector"], parts["embeddings"]]
            return [*tower, self.sam.image_encoder, self.name_image]
        if stage == "grounding":
            seen_by_sam = [module for name, module in self.named_children() if name != "vlm"]
            return [parts["language_model"], parts["embeddings"], *seen_by_sam]
        return [self]

    def forward(self, batch: Batch, stage: str = "answers") -> dict[str, Tensor]:
        """Loss terms of a batch with targets, each a scalar; "loss" is their weighted sum.

        The stages "vision" and "grounding" come before the answers (`lisa.grounding`): the first learns from the names
        of things, the second from the questions and answers as they are, read without the picture.
        """
        if stage == "vision":
            image_tokens = self.image_tokens(batch)
            embeddings = self.sam_embeddings(batch.sam_pixels)
            terms = {"ground": self._naming_by_tokens(image_tokens, batch)}
            return self._weigh(terms | {"ground_sam": self._naming_by_sam(embeddings, batch.names.image_of, batch)})
        reads_pictures = stage == "answers"
        plan = (batch.plan if reads_pictures else None) or self._plan(batch, reads_pictures)
        image_tokens = self.image_tokens(batch) if reads_pictures else None
        line = self.line_states(batch.rows, plan.layout, image_tokens)
        embeddings = self.sam_embeddings(batch.sam_pixels.index_select(0, plan.images))
        masks = self.masks_from_embeddings(line.index_select(0, plan.seg), plan.row_of, embeddings)
        terms = {"ce": answer_loss(line.index_select(0, plan.learned), plan.words, self.backbone.logits)}
        terms |= self.mask_losses(masks, plan, batch.targets, batch.sizes)
        if len(plan.seg) == 0:
            terms["bce"] = terms["bce"] + self._unused_road(line, batch.sam_pixels)
        if batch.names is not None:
            rows = masks.row_of[batch.names.mask_index]
            if image_tokens is not None:
                terms["ground"] = self._naming_by_tokens(image_tokens, batch)
            terms["ground_sam"] = self._naming_by_sam(masks.embeddings, rows, batch)
        if self.config.look_loss_weight > 0 and image_tokens is not None:
            hidden = _in_rows(line, plan.layout, batch.rows)
            terms["look"] = self._looking_loss(hidden, image_tokens, batch)
        return self._weigh(terms)

    def _plan(self, batch: Batch, pictures: bool) -> Plan:
        return Plan.of(batch.rows, len(batch.sizes), self.config.seg_token_id, self.config.seg_state, pictures=pictures)

    def _unused_road(self, states: Tensor, sam_pixels: Tensor) -> Tensor:
        """Zero, by way of everything between the first of some states (N, D) and its mask.

        When one process has a [SEG] and another has none, both must use the same parameters: ZeRO's gradient
        exchange breaks off otherwise.
        """
        masks = self.masks_from_states(states[:1], states.new_zeros(1, dtype=torch.int64), sam_pixels)
        used = masks.low_res.sum() + masks.scores.sum()
        if self.config.dense_loss_weight > 0:
            used = used + self.dense_logits(masks).sum()
        return 0 * used

    def image_tokens(self, batch: Batch) -> Tensor:
        """(B, P, D): what the language model reads for each picture; those with fewer tokens than P end in zeros."""
        return self.backbone.image_tokens(batch.pixel_values, batch.shapes)

    def hidden_states(self, rows: Rows, image_tokens: Tensor) -> Tensor:
        """Last hidden state of every token: (R, L, D); image_tokens is (B, P, D)."""
        layout = Layout.of(rows)
        return _in_rows(self.line_states(rows, layout, image_tokens), layout, rows)

    @timed("language model")
    def line_states(self, rows: Rows, layout: Layout, image_tokens: Tensor | None) -> Tensor:
        """Last hidden states of the N tokens of the layout's line: (N, D).

        image_tokens is (B, P, D), or None for a layout without pictures.
        """
        embeds = self.backbone.embed(rows.input_ids) if image_tokens is None else self.embed_rows(rows, image_tokens)
        line = embeds.flatten(0, 1).index_select(0, layout.places)
        positions = rows.positions.flatten(0, 1).index_select(0, layout.places)
        states = self.backbone.run_line(line[None], positions[None], layout)[0]
        return backward_is("language model, backward", states)

    def embed_rows(self, rows: Rows, image_tokens: Tensor) -> Tensor:
        """(R, L, D): word embeddings, with the picture's tokens where it stands."""
        words = F.pad(self.backbone.embed(rows.input_ids), (0, image_tokens.shape[-1] - self.backbone.width))
        places = rows.image_of_row[:, None] * image_tokens.shape[1] + rows.image_index.clamp_min(0)
        pictures = _repeat(image_tokens.flatten(0, 1), places.flatten()).view_as(words)
        return torch.where((rows.image_index >= 0)[..., None], pictures.to(words.dtype), words)

    def masks_from_states(self, states: Tensor, image_of: Tensor, sam_pixels: Tensor) -> MaskOutput:
        """From [SEG] states (S, D) to masks: the road that training, evaluation and chat share.

        image_of (S,) is each state's image among the B of sam_pixels (B, 3, t, t); only images that have a
        state are encoded.
        """
        images, row_of = torch.unique(image_of, return_inverse=True)
        return self.masks_from_embeddings(states, row_of, self.sam_embeddings(sam_pixels[images]))

    @timed("SAM encode")
    def sam_embeddings(self, sam_pixels: Tensor) -> Embeddings:
        """SAM's image embeddings of (B, 3, t, t); kept ones are read instead, where there is a cache."""
        if self.embedding_cache is not None:
            return self.embedding_cache.encode(self.sam, sam_pixels)
        embeddings = encode_images(self.sam, sam_pixels)
        backward_is("SAM encode, backward", embeddings.image)
        return embeddings

    @timed("mask decode")
    def masks_from_embeddings(self, states: Tensor, row_of: Tensor, embeddings: Embeddings) -> MaskOutput:
        """As `masks_from_states`, for image embeddings that are there; row_of (S,) tells each state's."""
        prompts = self.text_hidden_fcs[0](states)
        low_res, scores = decode_masks(self.sam, embeddings, prompts, row_of)
        return MaskOutput(low_res=low_res, scores=scores, prompts=prompts, embeddings=embeddings, row_of=row_of)

    @timed("losses")
    def mask_losses(
        self, masks: MaskOutput, plan: Plan, targets: Targets, sizes: tuple[ImageSize, ...]
    ) -> dict[str, Tensor]:
        """bce, dice and, where switched on, dense and iou: means over the S masks, 0 without any."""
        if len(masks.low_res) != len(targets.low_res):
            raise ValueError(f"{len(masks.low_res)} [SEG] in the answers but {len(targets.low_res)} target masks")
        counts = targets.low_res_counts[plan.image_of]
        groups = [(masks.low_res.float(), targets.low_res, counts)]
        if self.config.mask_loss_size == "original" and len(plan.seg):
            per_image = masks.low_res.split(plan.masks_per_image)
            groups = [
                (to_original_size(logits, size, self.config.sam["image_size"]), target.float(), counted[None].float())
                for logits, size, target, counted in zip(per_image, sizes, targets.masks, targets.counts, strict=True)
                if len(logits)
            ]
        return self._mask_terms(groups) | self._auxiliary_terms(masks, targets.low_res, counts)

    def _mask_terms(self, groups: list[tuple[Tensor, Tensor, Tensor]]) -> dict[str, Tensor]:
        """groups: (logits, targets, weights) of masks of one size each."""
        return {
            "bce": mean_over_masks([mask_bce_loss(*group) for group in groups]),
            "dice": mean_over_masks([dice_loss(*group) for group in groups]),
        }

    def _auxiliary_terms(self, masks: MaskOutput, targets: Tensor, counts: Tensor) -> dict[str, Tensor]:
        """Terms that the reference does not have, at low resolution; only those that are switched on."""
        terms = {}
        if self.config.dense_loss_weight > 0:
            coarse, coarse_counts = (F.avg_pool2d(full[:, None], 4)[:, 0] for full in (targets, counts))
            terms["dense"] = mean_over_masks([balanced_bce_loss(self.dense_logits(masks), coarse, coarse_counts)])
        if self.config.iou_loss_weight > 0:
            terms["iou"] = mean_over_masks([iou_score_loss(masks.scores, masks.low_res, targets, counts)])
        return terms

    def dense_logits(self, masks: MaskOutput) -> Tensor:
        """The prompt against the image embedding at each place, (S, g, g).

        An auxiliary head: it gives prompt and image encoder a direct gradient, before the decoder has learned
        to listen to prompts.
        """
        queries = self.dense_prompt(masks.prompts)
        places = _repeat(self.dense_image(masks.embeddings.image), masks.row_of)
        return torch.einsum("se,seyx->syx", queries, places).float() / queries.shape[-1] ** 0.5

    def place_scores(self, image_tokens: Tensor, batch: Batch) -> Tensor:
        """(M, P): how well each token of its picture fits each name of the batch; image_tokens is (B, P, D)."""
        names = batch.names
        image_tokens = image_tokens[..., : self.backbone.width]
        scores = word_scores(self._words_said(image_tokens)[names.image_of], names.words, names.real)
        return _hide_padding(scores, batch.rows.image_tokens_of(len(batch.sizes))[names.image_of])

    def _naming_by_tokens(self, image_tokens: Tensor, batch: Batch) -> Tensor:
        """What the image tokens (B, P, D) say of the things that have a name."""
        names = batch.names
        image_tokens = image_tokens[..., : self.backbone.width]
        things = token_of_thing(_repeat(image_tokens, names.image_of), batch.targets.coverage[names.mask_index])
        return self._naming_loss(things, names)

    def _naming_by_sam(self, embeddings: Embeddings, row_of: Tensor, batch: Batch) -> Tensor:
        """The same of SAM's embeddings; row_of (M,) tells each name's."""
        places = _repeat(embeddings.image.flatten(2).transpose(1, 2), row_of)
        coverage = F.avg_pool2d(batch.targets.low_res[batch.names.mask_index][:, None], 4).flatten(1)
        return self._naming_loss(self.name_image(token_of_thing(places, coverage)), batch.names)

    def _naming_loss(self, things: Tensor, names: Names) -> Tensor:
        """The names of things (M, D), read by the language model's head, rare words weighing more."""
        weights = word_rarity(names.words, names.real)
        return mean_over_masks([naming_loss(self._words_said(things), names.words, weights)])

    def _looking_loss(self, hidden: Tensor, image_tokens: Tensor, batch: Batch) -> Tensor:
        """Where the states of the answers look, among the tokens of their picture; 0 without [SEG]."""
        row, column, mask = states_on_the_way(batch.rows, self.config.seg_token_id)
        looks = self.look_state(hidden[row, column])
        tokens = self.look_token(self.backbone.final_norm(image_tokens[..., : self.backbone.width]))
        picture_of = batch.rows.image_of_row[row]
        scores = torch.einsum("nd,npd->np", looks, _repeat(tokens, picture_of)).float() / LOOK_WIDTH**0.5
        scores = _hide_padding(scores, batch.rows.image_tokens_of(len(batch.sizes))[picture_of])
        return mean_over_masks([looking_loss(scores, batch.targets.coverage[mask])])

    def _words_said(self, image_tokens: Tensor) -> Tensor:
        """Log-probabilities (..., V) of the words that image tokens (..., D) stand for."""
        return self.backbone.logits(self.backbone.final_norm(image_tokens)).float().log_softmax(-1)

    def _weigh(self, terms: dict[str, Tensor]) -> dict[str, Tensor]:
        weights = {
            "ce": self.config.ce_loss_weight,
            "bce": self.config.bce_loss_weight,
            "dice": self.config.dice_loss_weight,
            "dense": self.config.dense_loss_weight,
            "iou": self.config.iou_loss_weight,
            "ground": self.config.ground_loss_weight,
            "ground_sam": self.config.ground_loss_weight,
            "look": self.config.look_loss_weight,
        }
        return {"loss": sum(weights[name] * term for name, term in terms.items())} | terms


def _in_rows(line: Tensor, layout: Layout, rows: Rows) -> Tensor:
    """(N, D) -> (R, L, D), 0 at padding."""
    places = line.new_zeros(rows.labels.numel(), line.shape[-1])
    return places.index_copy(0, layout.places, line).view(*rows.labels.shape, -1)


def _hide_padding(scores: Tensor, counts: Tensor) -> Tensor:
    """Scores (N, P) of image tokens, the lowest number beyond the counts (N,)."""
    beyond = torch.arange(scores.shape[1], device=scores.device) >= counts[:, None]
    return scores.masked_fill(beyond, torch.finfo(scores.dtype).min)


def _repeat(per_picture: Tensor, picture_of: Tensor) -> Tensor:
    """(B, ...) -> (N, ...), the picture of each of N masks, names or states.

    Several threads sum the gradient of x[index] in any order, that of index_select in one: a resumed run ends with
    the same bits.
    """
    return per_picture.index_select(0, picture_of)
