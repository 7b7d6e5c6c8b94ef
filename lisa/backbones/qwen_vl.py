"""Qwen2.5-VL: a picture keeps its proportions, and its tokens have places in time, height and width."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor, nn
from transformers import PretrainedConfig, PreTrainedModel
from transformers.models.qwen2_5_vl.modeling_qwen2_5_vl import Qwen2_5_VisionTransformerPretrainedModel

from lisa.backbones.base import Backbone, Family, PictureReader, build_by_config, gradients_if_learning
from lisa.backbones.merging import TokenRMSNorm
from lisa.pictures import PictureText, Shape, TextRules, grid_view
from sam_bridge.stem import ConvStem


def build_qwen(config: PretrainedConfig) -> PreTrainedModel:
    """The model with random weights; `stem_widths` in the config, for Qwen2.5-VL, is ours, as for LLaVA."""
    vlm = build_by_config(config)
    if widths := getattr(config, "stem_widths", ()):
        vlm.model.visual = StemTower(config.vision_config, widths)
    return vlm


class StemTower(Qwen2_5_VisionTransformerPretrainedModel):
    """Qwen2.5-VL's tower with a convolutional stem before it and a norm after its merger."""

    def __init__(self, config: PretrainedConfig, widths: Sequence[int]) -> None:
        super().__init__(config)
        self.patch_embed = nn.Identity()
        self.stem = ConvStem(widths, config.hidden_size, config.patch_size)
        self.merger.mlp.append(TokenRMSNorm(config.out_hidden_size))

    def forward(self, hidden_states: Tensor, grid_thw: Tensor, **options):
        patches = hidden_states.split(grid_thw.prod(1).tolist())
        seen = [self._seen(own, *grid[1:]) for own, grid in zip(patches, grid_thw.tolist(), strict=True)]
        return super().forward(torch.cat(seen), grid_thw, **options)

    def _seen(self, patches: Tensor, rows: int, columns: int) -> Tensor:
        """Patches (rows * columns, 3 p p) of one picture through the stem: (rows * columns, C), in the same order."""
        merge, patch = self.spatial_merge_size, self.patch_size
        squares = patches.view(rows // merge, columns // merge, merge, merge, 3, patch, patch)
        picture = squares.permute(4, 0, 2, 5, 1, 3, 6).reshape(1, 3, rows * patch, columns * patch)
        seen = self.stem(picture)[0].unflatten(1, (-1, merge)).unflatten(3, (-1, merge))
        return seen.permute(1, 3, 2, 4, 0).flatten(0, 3)


class QwenReader(PictureReader):
    """A shape is the numbers of rows and columns of patches."""

    rules = TextRules(axes=3)
    control = ("<|vision_start|>", "<|image_pad|>", "<|vision_end|>")

    def pixels(self, images: Sequence[np.ndarray]) -> tuple[Tensor, tuple[Shape, ...]]:
        """Patches of all pictures, (N, C), those that become one token side by side."""
        data = self.process(images)
        return data["pixel_values"], tuple((rows, columns) for _, rows, columns in data["image_grid_thw"].tolist())

    def text(self, shape: Shape) -> PictureText:
        config = self.config
        rows, columns = (length // config.vision_config.spatial_merge_size for length in shape)
        ids = [config.vision_start_token_id, *[config.image_token_id] * (rows * columns), config.vision_end_token_id]
        row, column = torch.meshgrid(torch.arange(rows), torch.arange(columns), indexing="ij")
        places = 1 + torch.stack([torch.zeros_like(row), row, column], dim=-1).flatten(0, 1)
        start, end = torch.zeros(1, 3, dtype=torch.int64), torch.full((1, 3), 1 + max(rows, columns))
        return PictureText.of(
            ids,
            config.image_token_id,
            self.tokenizer.pad_token_id,
            [grid_view(0, rows, columns)],
            positions=torch.cat([start, places, end]),
        )


class QwenBackbone(Backbone):
    """transformers' own `Qwen2_5_VLForConditionalGeneration`."""

    def features(self, pixel_values: Tensor, shapes: Sequence[Shape]) -> Sequence[Tensor]:
        visual = self.vlm.model.visual
        grids = torch.tensor([(1, *shape) for shape in shapes], device=pixel_values.device)
        with gradients_if_learning(visual):
            tokens = self.tokens_of(visual(pixel_values, grid_thw=grids))
        return tokens.split([rows * columns // visual.spatial_merge_size**2 for rows, columns in shapes])

    def tokens_of(self, seen) -> Tensor:
        """What the tower gives -> the image tokens of all pictures."""
        return seen.pooler_output

    def position_ids(self, positions: Tensor) -> Tensor:
        return positions.movedim(-1, 0)

    def parts(self) -> dict[str, nn.Module]:
        children = dict(self.vlm.model.visual.named_children())
        mergers = [children[name] for name in children if "merger" in name]
        return {
            "vision_tower": nn.ModuleList([child for child in children.values() if child not in mergers]),
            "projector": nn.ModuleList(mergers),
            "language_model": self.language_model,
            "embeddings": nn.ModuleList([self.vlm.get_input_embeddings(), self.vlm.lm_head]),
        }

    def tower_layers(self) -> Sequence[nn.Module]:
        return self.vlm.model.visual.blocks


FAMILY = Family(backbone=QwenBackbone, reader=QwenReader, build=build_qwen)
