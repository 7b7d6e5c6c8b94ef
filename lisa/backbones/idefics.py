"""Idefics3 and SmolVLM: a picture is cut into tiles, and a global view of it comes last (Laurencon et al. 2024).

Row and column of a tile stand before its image tokens; squares of patches become one token (pixel shuffle).
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor
from transformers import PretrainedConfig, PreTrainedModel

from lisa.backbones.base import (
    Backbone,
    Family,
    PictureReader,
    build_by_config,
    gradients_if_learning,
    joined_by_picture,
)
from lisa.backbones.merging import give_stem, merging_projector
from lisa.pictures import PictureText, Shape, grid_view, tile_views

FAKE, IMAGE, GLOBAL = "<fake_token_around_image>", "<image>", "<global-img>"


def build_idefics(config: PretrainedConfig) -> PreTrainedModel:
    """The model with random weights; `stem_widths` and `merge_patches`, equal to `scale_factor`, are ours."""
    vlm = build_by_config(config)
    give_stem(vlm.model.vision_model.embeddings, config)
    if projector := merging_projector(config):
        vlm.model.connector = projector
    return vlm


def tile_token(row: int, column: int) -> str:
    """What stands before a tile, counted from 0."""
    return f"<row_{row + 1}_col_{column + 1}>"


class IdeficsReader(PictureReader):
    """A shape is the numbers of rows and columns of tiles, 0 for a picture that is not cut."""

    control = (FAKE, GLOBAL)

    def pixels(self, images: Sequence[np.ndarray]) -> tuple[Tensor, tuple[Shape, ...]]:
        """Tiles of all pictures, (N, 3, s, s)."""
        data = self.process(images, nested=True, return_row_col_info=True)
        shapes = tuple(
            (int(rows[0]), int(columns[0])) for rows, columns in zip(data["rows"], data["cols"], strict=True)
        )
        tiles = [own[: _num_tiles(shape)] for own, shape in zip(data["pixel_values"], shapes, strict=True)]
        return torch.cat(tiles), shapes

    def text(self, shape: Shape) -> PictureText:
        rows, columns = shape
        vision = self.config.vision_config
        side = vision.image_size // vision.patch_size // self.config.scale_factor
        image = IMAGE * side**2
        lines = ("".join(f"{FAKE}{tile_token(row, column)}{image}" for column in range(columns)) for row in range(rows))
        tiles = "".join(f"{line}\n" for line in lines) + "\n" * (rows > 0)
        ids = self.tokenizer(f"{tiles}{FAKE}{GLOBAL}{image}{FAKE}", add_special_tokens=False).input_ids
        needed = [FAKE, GLOBAL, IMAGE, *(tile_token(row, column) for row in range(rows) for column in range(columns))]
        for token in needed:
            self.id_of(token)
        views = [*tile_views(rows, columns, side), grid_view(rows * columns * side**2, side, side)]
        return PictureText.of(ids, self.id_of(IMAGE), self.tokenizer.pad_token_id, views)


def _num_tiles(shape: Shape) -> int:
    """The global view is one of them."""
    return shape[0] * shape[1] + 1


class IdeficsBackbone(Backbone):
    """transformers' own `Idefics3ForConditionalGeneration` and `SmolVLMForConditionalGeneration`."""

    tower, projector, decoder = "vision_model", "connector", "text_model"

    def features(self, pixel_values: Tensor, shapes: Sequence[Shape]) -> Sequence[Tensor]:
        model = self.vlm.model
        with gradients_if_learning(model.vision_model):
            patches = model.vision_model(pixel_values=pixel_values).last_hidden_state
        return joined_by_picture(model.connector(patches), [_num_tiles(shape) for shape in shapes])


FAMILY = Family(backbone=IdeficsBackbone, reader=IdeficsReader, build=build_idefics)
