"""LLaVA-NeXT and LLaVA-OneVision: a view of the whole picture, then tiles of it, joined and without their padding.

A learned token ends each line of the joined tiles (Liu et al. 2024, Li et al. 2024).
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor
from transformers.models.llava_onevision.modeling_llava_onevision import get_anyres_image_grid_shape, unpad_image

from lisa.backbones.base import Backbone, Family, PictureReader, gradients_if_learning
from lisa.pictures import PictureText, Shape, View, grid_view

ENLARGED = 1.1
"""Joined tiles of LLaVA-OneVision may have so many times the sides that the model's limit allows, then they shrink."""


class TilesReader(PictureReader):
    """A shape is the picture's height and width, pixels."""

    marks_pictures = False

    def pixels(self, images: Sequence[np.ndarray]) -> tuple[Tensor, tuple[Shape, ...]]:
        """(B, T, 3, s, s): T is that of the picture with the most tiles, the view of the whole among them."""
        data = self.process(images)
        return data["pixel_values"], tuple(tuple(size) for size in data["image_sizes"].tolist())

    def text(self, shape: Shape) -> PictureText:
        vision, image_token = self.config.vision_config, self.config.image_token_index
        side = vision.image_size // vision.patch_size
        rows, columns = self._joined(shape, side)
        # A line of joined tiles ends with a token that shows nothing.
        lines = side**2 + torch.arange(rows * (columns + 1)).view(rows, columns + 1)
        views = [grid_view(0, side, side), View(tokens=lines[:, :columns])]
        ids = [image_token] * (side**2 + lines.numel())
        return PictureText.of(ids, image_token, self.tokenizer.pad_token_id, views)

    def _joined(self, shape: Shape, side: int) -> tuple[int, int]:
        """Rows and columns of the joined tiles' tokens; a tile has side x side."""
        config = self.config
        tiles = get_anyres_image_grid_shape(shape, config.image_grid_pinpoints, config.vision_config.image_size)
        joined = torch.empty(1, *(number * side for number in tiles))
        rows, columns = unpad_image(joined, shape).shape[1:]
        if limit := getattr(config, "vision_aspect_ratio", "").removeprefix("anyres_max_"):
            ratio = math.sqrt(rows * columns / (int(limit) * side**2))
            if ratio > ENLARGED:
                rows, columns = int(rows // ratio), int(columns // ratio)
        return rows, columns


class TilesBackbone(Backbone):
    """transformers' own `LlavaNextForConditionalGeneration` and `LlavaOnevisionForConditionalGeneration`."""

    def features(self, pixel_values: Tensor, shapes: Sequence[Shape]) -> Sequence[Tensor]:
        model, config = self.vlm.model, self.vlm.config
        with gradients_if_learning(model.vision_tower, model.multi_modal_projector):
            return model.get_image_features(
                pixel_values,
                image_sizes=torch.tensor(shapes),
                vision_feature_layer=config.vision_feature_layer,
                vision_feature_select_strategy=config.vision_feature_select_strategy,
            ).pooler_output


FAMILY = Family(backbone=TilesBackbone, reader=TilesReader)
