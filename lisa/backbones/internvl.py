"""InternVL: tiles whose arrangement comes near the picture's proportions, and a thumbnail (Chen et al. 2024)."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from torch import Tensor, nn
from transformers.models.got_ocr2.image_processing_got_ocr2 import get_optimal_tiled_canvas

from lisa.backbones.base import Backbone, Family, PictureReader, gradients_if_learning, joined_by_picture
from lisa.pictures import PictureText, Shape, grid_view, tile_views

START, IMAGE, END = "<img>", "<IMG_CONTEXT>", "</img>"


class InternReader(PictureReader):
    """A shape is the numbers of rows and columns of tiles; where there is one only, it is the thumbnail."""

    control = (START, IMAGE, END)

    def pixels(self, images: Sequence[np.ndarray]) -> tuple[Tensor, tuple[Shape, ...]]:
        """Tiles of all pictures, (N, 3, s, s)."""
        pixels = self.process(images, crop_to_patches=True)["pixel_values"]
        return pixels, tuple(self._tiles(image.shape[:2]) for image in images)

    def _tiles(self, size: tuple[int, int]) -> Shape:
        images = self.image_processor
        tile = (images.size["height"], images.size["width"])
        columns, rows = get_optimal_tiled_canvas(size, tile, images.min_patches, images.max_patches)
        return (rows, columns)

    def text(self, shape: Shape) -> PictureText:
        rows, columns = shape
        vision = self.config.vision_config
        side = int(vision.image_size[0] // vision.patch_size[0] * self.config.downsample_ratio)
        views = tile_views(rows, columns, side)
        if rows * columns > 1:
            views.append(grid_view(rows * columns * side**2, side, side))
        image = self.id_of(IMAGE)
        ids = [self.id_of(START), *[image] * (_num_tiles(shape) * side**2), self.id_of(END)]
        return PictureText.of(ids, image, self.tokenizer.pad_token_id, views)


def _num_tiles(shape: Shape) -> int:
    tiles = shape[0] * shape[1]
    return tiles + (tiles > 1)


class InternBackbone(Backbone):
    """transformers' own `InternVLForConditionalGeneration`."""

    def features(self, pixel_values: Tensor, shapes: Sequence[Shape]) -> Sequence[Tensor]:
        model, config = self.vlm.model, self.vlm.config
        with gradients_if_learning(model.vision_tower, model.multi_modal_projector):
            tokens = model.get_image_features(
                pixel_values,
                vision_feature_layer=config.vision_feature_layer,
                vision_feature_select_strategy=config.vision_feature_select_strategy,
            ).pooler_output
        return joined_by_picture(tokens, [_num_tiles(shape) for shape in shapes])

    def tower_layers(self) -> Sequence[nn.Module]:
        return self.vlm.model.vision_tower.encoder.layer


FAMILY = Family(backbone=InternBackbone, reader=InternReader)
