"""PaliGemma: a SigLIP tower, a linear projector and a Gemma that reads picture and question with full attention.

The answer alone is causal (Beyer et al. 2024, figure 2). So what a picture's tokens become depends on the question, and
the conversations of a picture share no prefix; its image tokens are still computed once.
"""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor
from transformers import PaliGemmaConfig, PaliGemmaForConditionalGeneration

from lisa.backbones.base import Backbone, Family, PictureReader, gradients_if_learning
from lisa.backbones.merging import give_stem, merging_projector
from lisa.pictures import PictureText, Shape, TextRules, grid_view


def build_paligemma(config: PaliGemmaConfig) -> PaliGemmaForConditionalGeneration:
    """The model with random weights; `stem_widths` and `merge_patches` in the config are ours, as for LLaVA."""
    vlm = PaliGemmaForConditionalGeneration(config)
    give_stem(vlm.model.vision_tower.embeddings, config)
    if projector := merging_projector(config):
        vlm.model.multi_modal_projector = projector
    return vlm


class PaliGemmaReader(PictureReader):
    """The picture, squashed into the tower's square; the beginning of the sentence comes after it."""

    rules = TextRules(bos_first=False, first_position=1, full_prefix=True)

    def text(self, shape: Shape) -> PictureText:
        vision = self.config.vision_config
        side = vision.image_size // vision.patch_size // getattr(self.config, "merge_patches", 1)
        image_token = self.config.image_token_index
        return PictureText.of(
            [image_token] * side**2 + [self.tokenizer.bos_token_id],
            image_token,
            self.tokenizer.pad_token_id,
            [grid_view(0, side, side)],
        )


class PaliGemmaBackbone(Backbone):
    """transformers' own `PaliGemmaForConditionalGeneration`."""

    vlm: PaliGemmaForConditionalGeneration

    def features(self, pixel_values: Tensor, shapes: Sequence[Shape]) -> Tensor:
        model = self.vlm.model
        with gradients_if_learning(model.vision_tower):
            patches = model.vision_tower(pixel_values).last_hidden_state
        return model.multi_modal_projector(patches)


FAMILY = Family(backbone=PaliGemmaBackbone, reader=PaliGemmaReader, build=build_paligemma)
