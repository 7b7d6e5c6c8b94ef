"""LisaConfig: what a LISA is made of, and how its parts are joined."""

from __future__ import annotations

from typing import Any

from transformers import AutoConfig, PretrainedConfig

from lisa.conversation import TEMPLATES
from sam_bridge.sizes import AnySize, as_size, describe

HEADS = {
    "dense": ("dense_prompt", "dense_image"),
    "ground": ("name_image",),
    "look": ("look_state", "look_token"),
}
"""Auxiliary heads by the loss term that teaches them, and the modules of `LisaModel` that they are."""


class LisaConfig(PretrainedConfig):
    """A vision-language model, a SAM, and the token [SEG] that joins them.

    vlm_config: configuration of the backbone (any family of `lisa.backbones`).
    sam: the sizes of the SAM, SAM 2 or SAM-HQ (a record of `sam_bridge.sizes`, its dict, or the name of a preset).
    seg_token_id: vocabulary id of [SEG].
    seg_state: "before" reads the state that predicts [SEG] (released LISA weights need this), "at" the state
        of [SEG] itself.
    template: how a conversation is written, a key of `lisa.conversation.TEMPLATES`.
    leading_blank: "every" piece of text between added tokens starts with sentencepiece's leading blank, or the
        "first" of a conversation only (released tokenizers with "legacy": false).
    image_backend: which of transformers' image processors makes pixels for the vision tower: "torchvision", or "pil",
        whose pixels are those that released weights were trained with.
    use_im_start_end: whether `<im_start>` and `<im_end>` stand around the image tokens.
    model_max_length: longest conversation in tokens, image tokens included.
    mask_loss_size: "original" computes mask losses at each picture's own size, as the reference does;
        "low_res" on the decoder's grid.
    click_decoder: whether masks that are corrected by clicks have a mask decoder of their own (`train_clicks.py`);
        a SAM that knows clicks needs none.
    heads: the auxiliary heads (keys of `HEADS`) that the model has, whatever their loss weighs now; None: those whose
        loss has a weight.
    released: what only the released format knows, kept for the way back: "config" (its config.json) and "inv_freq"
        (type and values of the rotary frequencies in its files, None when they are not in there).
    *_loss_weight: factors of the loss terms (see `lisa.losses`); 0 switches a term off. The reference knows ce,
        bce and dice; dense and look bring small heads of their own.
    """

    model_type = "lisa"
    sub_configs = {"vlm_config": AutoConfig}  # noqa: RUF012 - the way transformers declares it

    def __init__(
        self,
        vlm_config: PretrainedConfig | dict[str, Any] | None = None,
        sam: AnySize | dict[str, Any] | str = "vit_h",
        seg_token_id: int = 0,
        seg_state: str = "before",
        template: str = "llava_v1",
        leading_blank: str = "every",
        image_backend: str = "torchvision",
        use_im_start_end: bool = True,
        model_max_length: int = 512,
        mask_loss_size: str = "original",
        ce_loss_weight: float = 1.0,
        bce_loss_weight: float = 2.0,
        dice_loss_weight: float = 0.5,
        dense_loss_weight: float = 0.0,
        iou_loss_weight: float = 0.0,
        ground_loss_weight: float = 0.0,
        look_loss_weight: float = 0.0,
        click_decoder: bool = False,
        heads: list[str] | None = None,
        released: dict[str, Any] | None = None,
        **kwargs: Any,
    ) -> None:
        if isinstance(vlm_config, dict):
            vlm_config = AutoConfig.for_model(**vlm_config)
        self.vlm_config = vlm_config if vlm_config is not None else AutoConfig.for_model("llava")
        self.sam = describe(as_size(sam))
        self.seg_token_id = seg_token_id
        self.seg_state = _one_of("seg_state", seg_state, ("before", "at"))
        self.template = _one_of("template", template, tuple(TEMPLATES))
        self.leading_blank = _one_of("leading_blank", leading_blank, ("every", "first"))
        self.image_backend = _one_of("image_backend", image_backend, ("torchvision", "pil"))
        self.use_im_start_end = use_im_start_end
        self.model_max_length = model_max_length
        self.mask_loss_size = _one_of("mask_loss_size", mask_loss_size, ("original", "low_res"))
        self.ce_loss_weight = ce_loss_weight
        self.bce_loss_weight = bce_loss_weight
        self.dice_loss_weight = dice_loss_weight
        self.dense_loss_weight = dense_loss_weight
        self.iou_loss_weight = iou_loss_weight
        self.ground_loss_weight = ground_loss_weight
        self.look_loss_weight = look_loss_weight
        self.click_decoder = click_decoder
        self.heads = None if heads is None else [_one_of("heads", head, tuple(HEADS)) for head in heads]
        self.released = released
        kwargs.setdefault("tie_word_embeddings", getattr(self.vlm_config, "tie_word_embeddings", False))
        super().__init__(**kwargs)

    @property
    def wanted_heads(self) -> list[str]:
        """The auxiliary heads that a model of this config has."""
        if self.heads is not None:
            return self.heads
        return [head for head in HEADS if getattr(self, f"{head}_loss_weight") > 0]

    @property
    def sam_size(self) -> AnySize:
        """The sizes of the SAM as a record."""
        return as_size(self.sam)


def _one_of(name: str, value: str, allowed: tuple[str, ...]) -> str:
    if value not in allowed:
        raise ValueError(f"{name} is {value!r}; it must be one of {', '.join(allowed)}")
    return value


AutoConfig.register(LisaConfig.model_type, LisaConfig)
