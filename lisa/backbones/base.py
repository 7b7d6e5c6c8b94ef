"""What LISA asks of a vision-language model, and of the way its pictures come in.

A family of models is a file that describes three things: how its pictures become pixels and words (`PictureReader`),
how the model is used (`Backbone`), and, where transformers' own way does not do, how it is built. The defaults are
those of most families in transformers.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import pad_sequence
from transformers import BaseImageProcessor, Cache, PretrainedConfig, PreTrainedModel, PreTrainedTokenizerBase
from transformers.models.auto.modeling_auto import MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING

from lisa.attention import Layout, knows_layouts
from lisa.pictures import PLAIN_RULES, PictureText, Shape
from lisa.profiling import backward_is, timed


class PictureReader:
    """Pictures on their way in: what is known of them without the model's weights."""

    rules = PLAIN_RULES
    tokens_per_image = 0
    """P where it is the same for all pictures."""
    marks_pictures = True
    """Whether the family has words of its own around a picture; else LISA's <im_start> and <im_end> may stand there."""
    control: tuple[str, ...] = ()
    """Tokens that only the software may write."""

    def __init__(
        self, config: PretrainedConfig, image_processor: BaseImageProcessor, tokenizer: PreTrainedTokenizerBase
    ) -> None:
        self.config, self.image_processor, self.tokenizer = config, image_processor, tokenizer

    def pixels(self, images: Sequence[np.ndarray]) -> tuple[Tensor, tuple[Shape, ...]]:
        """B pictures (H, W, 3) uint8 RGB -> pixels for `Backbone.image_tokens`, and B shapes."""
        return self.process(images)["pixel_values"], ((),) * len(images)

    def text(self, shape: Shape) -> PictureText:
        """What a picture of that shape is in a text."""
        raise NotImplementedError

    def process(self, images: Sequence[np.ndarray], *, nested: bool = False, **options) -> dict[str, Tensor]:
        """What the image processor makes of pictures; `nested` ones are given as lists of one picture each."""
        channels_last = [np.ascontiguousarray(image) for image in images]
        given = [[image] for image in channels_last] if nested else channels_last
        return self.image_processor(given, return_tensors="pt", input_data_format="channels_last", **options).data

    def id_of(self, token: str) -> int:
        """Vocabulary id of a token that must be there."""
        vocabulary = self.tokenizer.get_vocab()
        if token not in vocabulary:
            raise ValueError(
                f"the tokenizer has no {token}, which stands in texts of {self.config.model_type} models: take the "
                "tokenizer that belongs to the model"
            )
        return vocabulary[token]


class Backbone:
    """A model in use: B images, P image tokens each, D language width, R rows of L tokens, V vocabulary."""

    tower, projector, decoder = "vision_tower", "multi_modal_projector", "language_model"
    """Names of the parts in `vlm.model`."""

    def __init__(self, vlm: PreTrainedModel) -> None:
        self.vlm = vlm
        self.language_model: nn.Module = getattr(vlm.model, self.decoder)
        self.width: int = self.language_model.config.hidden_size
        """D."""
        _refuse_windows(self.language_model.config)

    def features(self, pixel_values: Tensor, shapes: Sequence[Shape]) -> Tensor | Sequence[Tensor]:
        """Vision tower and projector: (B, P, D), or B tensors (P_b, D)."""
        raise NotImplementedError

    @timed("vision tower")
    def image_tokens(self, pixel_values: Tensor, shapes: Sequence[Shape] = ()) -> Tensor:
        """Vision tower and projector: what `PictureReader.pixels` gives -> (B, P, D); pictures with fewer tokens end in
        zeros.

        A family whose tower speaks to several layers has more than D channels, the first D those of the embeddings.
        """
        pixels = pixel_values.to(next(self.parts()["projector"].parameters()).dtype)
        tokens = self.features(pixels, shapes)
        if not isinstance(tokens, Tensor):
            tokens = pad_sequence(list(tokens), batch_first=True)
        return backward_is("vision tower, backward", tokens)

    def embed(self, ids: Tensor) -> Tensor:
        """Token embeddings: ids of any shape -> (..., D)."""
        return self.vlm.get_input_embeddings()(ids)

    def run(self, embeds: Tensor, bias: Tensor, positions: Tensor, cache: Cache | None = None) -> Tensor:
        """Language model: (R, L, D) -> the last hidden state (R, L, D) after the final norm.

        bias (R, 1, L, K) is added to the attention scores, K being L plus the length of the cache, which
        grows by L. positions is (R, L), or (R, L, axes).
        """
        outputs = self.language_model(
            **self.inputs(embeds),
            attention_mask=bias,
            position_ids=self.position_ids(positions),
            past_key_values=cache,
            use_cache=cache is not None,
        )
        return outputs.last_hidden_state

    def run_line(self, embeds: Tensor, positions: Tensor, layout: Layout) -> Tensor:
        """Language model over the N tokens of all rows in one line: (1, N, D) -> last hidden states (1, N, D).

        positions is (1, N), or (1, N, axes); what may look at what is said by the layout.
        """
        config = self.language_model.config
        # For good: a layer that is computed again in the backward pass must find the same attention.
        config._attn_implementation = knows_layouts(config._attn_implementation)
        outputs = self.language_model(
            **self.inputs(embeds), position_ids=self.position_ids(positions), use_cache=False, layout=layout
        )
        return outputs.last_hidden_state

    def inputs(self, embeds: Tensor) -> dict[str, Any]:
        """Embeddings as the language model takes them."""
        return {"inputs_embeds": embeds}

    def position_ids(self, positions: Tensor) -> Tensor:
        """Positions as the language model takes them."""
        return positions

    def final_norm(self, states: Tensor) -> Tensor:
        """The norm that ends the language model, on its own: (..., D) -> (..., D)."""
        return self.language_model.norm(states)

    def logits(self, states: Tensor) -> Tensor:
        """Vocabulary scores: (..., D) -> (..., V)."""
        return self.vlm.lm_head(states)

    def parts(self) -> dict[str, nn.Module]:
        """The modules that can be trained or frozen: vision_tower, projector, language_model, embeddings."""
        model = self.vlm.model
        return {
            "vision_tower": getattr(model, self.tower),
            "projector": getattr(model, self.projector),
            "language_model": self.language_model,
            "embeddings": nn.ModuleList([self.vlm.get_input_embeddings(), self.vlm.lm_head]),
        }

    def tower_layers(self) -> Sequence[nn.Module]:
        """The layers of the vision tower."""
        return self.parts()["vision_tower"].encoder.layers


def build_by_config(config: PretrainedConfig) -> PreTrainedModel:
    """transformers' own model, with random weights."""
    return MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING[type(config)](config)


@dataclass(frozen=True, kw_only=True)
class Family:
    """What a file of `lisa.backbones` offers as FAMILY."""

    backbone: type[Backbone]
    reader: type[PictureReader]
    build: Callable[[PretrainedConfig], PreTrainedModel] = build_by_config


def gradients_if_learning(*modules: nn.Module) -> contextlib.AbstractContextManager:
    """No graph through frozen modules.

    Where activations are recomputed, transformers makes the patches require a gradient, frozen or not.
    """
    learns = any(parameter.requires_grad for module in modules for parameter in module.parameters())
    return torch.set_grad_enabled(torch.is_grad_enabled() and learns)


def joined_by_picture(tokens: Tensor, tiles: Sequence[int]) -> Sequence[Tensor]:
    """Image tokens (N, p, D) of the tiles of B pictures, which have so many each -> B tensors (P_b, D)."""
    return [own.flatten(0, 1) for own in tokens.split(list(tiles))]


def _refuse_windows(config: PretrainedConfig) -> None:
    """Language models whose attention is more than a mask are not computed right here."""
    if getattr(config, "attn_logit_softcapping", None):
        raise ValueError(
            f"{config.model_type} caps its attention scores, which LISA's attention does not: take another model"
        )
    layers = getattr(config, "layer_types", None)
    windowed = "sliding_attention" in layers if layers else bool(getattr(config, "sliding_window", None))
    if windowed:
        raise ValueError(
            f"this {config.model_type} looks {config.sliding_window} tokens back only, which LISA's attention does "
            "not; set sliding_window to null in its config.json if your conversations are shorter than that"
        )
