"""LisaModel: the figure, in order, one line per box."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import compress
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from transformers import PreTrainedModel

from lisa.attention import Layout
from lisa.backbones import Backbone, adapt, build
from lisa.config import HEADS, LisaConfig
from lisa.losses import answer_loss
from lisa.objective import (
    LOOK_WIDTH,
    look_terms,
    mask_terms,
    of_each,
    reach_all,
    sam_naming_terms,
    token_naming_terms,
    weighed,
)
from lisa.packing import Rows
from lisa.plan import Plan
from lisa.processing import Batch
from lisa.profiling import backward_is, timed
from lisa.seg import build_text_hidden_fcs
from sam_bridge import (
    EmbeddingCache,
    Embeddings,
    build_sam,
    decode_masks,
    encode_images,
)


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
        heads = config.wanted_heads
        if "dense" in heads:
            self.dense_prompt, self.dense_image = nn.Linear(width, width), nn.Conv2d(width, width, 1)
        if "ground" in heads:
            self.name_image = nn.Linear(width, self.backbone.width)
        if "look" in heads:
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

    def save_pretrained(self, *args: Any, **kwargs: Any) -> None:
        """As transformers does it, with the config of the modules that are there."""
        self.describe_modules()
        super().save_pretrained(*args, **kwargs)

    def describe_modules(self) -> LisaConfig:
        """The config, brought in line with the modules: what is there now decides what a loaded model will have."""
        config = self.config
        config.click_decoder = self.click_decoder is not None
        config.heads = [head for head, modules in HEADS.items() if None not in map(self._modules.get, modules)]
        for head in HEADS.keys() - set(config.heads):
            setattr(config, f"{head}_loss_weight", 0.0)
        return config

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

    def forward(
        self, batch: Batch, stage: str = "answers", shares: Mapping[str, Tensor] | None = None
    ) -> dict[str, Tensor]:
        """Loss terms of a batch with targets, each a scalar; "loss" is their weighted sum.

        shares: a factor for each term, where the batch is a part of a step (`lisa.normalization`). Every parameter that
        requires a gradient gets one, if only 0: processes that exchange gradients must have them for the same ones.

        The stages "vision" and "grounding" come before the answers (`lisa.grounding`): the first learns from the names
        of things, the second from the questions and answers as they are, read without the picture.
        """
        terms = weighed(self._terms(batch, stage), self.config, shares)
        return terms | {"loss": reach_all(terms["loss"], self.parameters())}

    def _terms(self, batch: Batch, stage: str) -> dict[str, Tensor]:
        """The loss terms of a stage."""
        if stage == "vision":
            image_tokens = self.image_tokens(batch)
            embeddings = self.sam_embeddings(batch.sam_pixels, batch.sam_keys)
            terms = token_naming_terms(self, image_tokens, batch)
            return terms | sam_naming_terms(self, embeddings, batch.names.image_of, batch)
        reads_pictures = stage == "answers"
        plan = (batch.plan if reads_pictures else None) or self._plan(batch, reads_pictures)
        image_tokens = self.image_tokens(batch) if reads_pictures else None
        line = self.line_states(batch.rows, plan.layout, image_tokens)
        keys = tuple(compress(batch.sam_keys, plan.masks_per_image))
        embeddings = self.sam_embeddings(batch.sam_pixels.index_select(0, plan.images), keys)
        masks = self.masks_from_embeddings(line.index_select(0, plan.seg), plan.row_of, embeddings)
        terms = {"ce": answer_loss(line.index_select(0, plan.learned), plan.words, self.backbone.logits)}
        terms |= mask_terms(self, masks, plan, batch)
        if batch.names is not None:
            terms |= token_naming_terms(self, image_tokens, batch) if reads_pictures else {}
            terms |= sam_naming_terms(self, masks.embeddings, masks.row_of[batch.names.mask_index], batch)
        if self.config.look_loss_weight > 0 and reads_pictures:
            terms |= look_terms(self, _in_rows(line, plan.layout, batch.rows), image_tokens, batch)
        return terms

    def _plan(self, batch: Batch, pictures: bool) -> Plan:
        return Plan.of(batch.rows, len(batch.sizes), self.config.seg_token_id, self.config.seg_state, pictures=pictures)

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
        pictures = of_each(image_tokens.flatten(0, 1), places.flatten()).view_as(words)
        return torch.where((rows.image_index >= 0)[..., None], pictures.to(words.dtype), words)

    def masks_from_states(
        self, states: Tensor, image_of: Tensor, sam_pixels: Tensor, sam_keys: Sequence[str] = ()
    ) -> MaskOutput:
        """From [SEG] states (S, D) to masks: the road that training, evaluation and chat share.

        image_of (S,) is each state's image among the B of sam_pixels (B, 3, t, t); only images that have a
        state are encoded. sam_keys: as `Batch` has them.
        """
        images, row_of = torch.unique(image_of, return_inverse=True)
        keys = [sam_keys[image] for image in images.tolist()] if sam_keys else ()
        return self.masks_from_embeddings(states, row_of, self.sam_embeddings(sam_pixels[images], keys))

    @timed("SAM encode")
    def sam_embeddings(self, sam_pixels: Tensor, keys: Sequence[str] = ()) -> Embeddings:
        """SAM's image embeddings of (B, 3, t, t); kept ones are read instead, where there is a cache.

        keys: the pictures' names in the cache (`Batch.sam_keys`), where they are known.
        """
        if self.embedding_cache is not None:
            return self.embedding_cache.encode(self.sam, sam_pixels, keys)
        embeddings = encode_images(self.sam, sam_pixels)
        backward_is("SAM encode, backward", embeddings.image)
        return embeddings

    @timed("mask decode")
    def masks_from_embeddings(self, states: Tensor, row_of: Tensor, embeddings: Embeddings) -> MaskOutput:
        """As `masks_from_states`, for image embeddings that are there; row_of (S,) tells each state's."""
        prompts = self.text_hidden_fcs[0](states)
        low_res, scores = decode_masks(self.sam, embeddings, prompts, row_of)
        return MaskOutput(low_res=low_res, scores=scores, prompts=prompts, embeddings=embeddings, row_of=row_of)


def _in_rows(line: Tensor, layout: Layout, rows: Rows) -> Tensor:
    """(N, D) -> (R, L, D), 0 at padding."""
    places = line.new_zeros(rows.labels.numel(), line.shape[-1])
    return places.index_copy(0, layout.places, line).view(*rows.labels.shape, -1)
