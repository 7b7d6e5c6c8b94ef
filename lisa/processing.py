"""Pictures, conversations and masks -> the tensors of a batch."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields, is_dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor
from transformers import BaseImageProcessor, PreTrainedTokenizerBase

from lisa.backbones import picture_reader
from lisa.config import LisaConfig
from lisa.conversation import Conversation
from lisa.packing import Rows, pack_rows
from lisa.pictures import PictureText, Shape, coverage
from lisa.plan import Plan
from lisa.tokenization import ConversationTokenizer, EncodedConversation
from sam_bridge import ImageSize, masks_to_low_res, picture_key, prepare_pixels

SENTENCEPIECE = "sentencepiece.model"
"""tokenizer.model of a released checkpoint; by its own name, transformers would read it instead of tokenizer.json."""


@dataclass(frozen=True, kw_only=True)
class Targets:
    """What the masks of a batch should be; B images, N_b masks of image b, S in all."""

    low_res: Tensor
    """(S, l, l) float: share of each cell of the decoder's grid that the mask covers."""
    low_res_counts: Tensor
    """(B, l, l) float: share of each cell that counts, that is neither padding nor ignore region."""
    masks: tuple[Tensor, ...]
    """B tensors (N_b, H_b, W_b) bool; empty when losses are computed at low resolution."""
    counts: tuple[Tensor, ...]
    """B tensors (H_b, W_b) bool, false in ignore regions; empty likewise."""
    coverage: Tensor | None
    """(S, P) float: share of each image token's part of the picture that the mask covers, P being that of the picture
    with the most tokens; only for losses that read it."""


@dataclass(frozen=True, kw_only=True)
class Names:
    """Masks that have a name, for phrase grounding; M of them."""

    words: Tensor
    """(M, T) int64: the ids of each name, padded at the right."""
    real: Tensor
    """(M, T) bool: false at padding."""
    mask_index: Tensor
    """(M,) int64: which of the batch's S masks."""
    image_of: Tensor
    """(M,) int64."""


@dataclass(frozen=True, kw_only=True)
class Batch:
    """B images with all that is said about them; Q conversations, offset[b]:offset[b + 1] are of image b."""

    rows: Rows
    offset: Tensor
    """(B + 1,) int64."""
    pixel_values: Tensor
    """(B, 3, s, s) float: for the vision tower; some families have tiles (N, 3, s, s) or patches (N, C) instead."""
    sam_pixels: Tensor
    """(B, 3, t, t) float: for SAM."""
    sizes: tuple[ImageSize, ...]
    sam_keys: tuple[str, ...] = ()
    """What an `EmbeddingCache` calls each picture; only by a processor that `makes_sam_keys`."""
    shapes: tuple[Shape, ...] = ()
    """What the vision tower must know of each picture besides its pixels."""
    targets: Targets | None = None
    names: Names | None = None
    plan: Plan | None = None
    """Where the losses read the rows; only with targets."""

    def to(self, device: torch.device | str) -> Batch:
        """The same batch on the device; out of pinned memory it goes there while the host works on."""
        return _map_tensors(lambda tensor: tensor.to(device, non_blocking=True), self)

    def pin_memory(self) -> Batch:
        """The same batch in pinned memory; a DataLoader asks for it by this name."""
        return _map_tensors(Tensor.pin_memory, self)


def _map_tensors(change: Callable[[Tensor], Tensor], value: Any) -> Any:
    """A record, tuple or tensor with every tensor in it changed."""
    if isinstance(value, Tensor):
        return change(value)
    if isinstance(value, tuple):
        return tuple(_map_tensors(change, item) for item in value)
    if is_dataclass(value) and not isinstance(value, ImageSize):
        return replace(value, **{f.name: _map_tensors(change, getattr(value, f.name)) for f in fields(value)})
    return value


class LisaProcessor:
    """Everything between files and tensors, for one model.

    tokenizer holds [SEG] (and `<im_start>`, `<im_end>` when the model uses them); image_processor is the
    vision tower's own. packing: whether conversations of an image share its prefix. sentencepiece: the tokenizer.model
    of a released checkpoint, for the way back to that format.
    """

    def __init__(
        self,
        config: LisaConfig,
        tokenizer: PreTrainedTokenizerBase,
        image_processor: BaseImageProcessor,
        packing: bool = True,
        sentencepiece: bytes | None = None,
    ) -> None:
        self.config = config
        self.tokenizer = tokenizer
        self.image_processor = image_processor
        self.packing = packing
        self.sentencepiece = sentencepiece
        self.makes_sam_keys = False
        """Whether batches say what an `EmbeddingCache` calls their pictures."""
        self.pictures = picture_reader(config.vlm_config, image_processor, tokenizer)
        self.text = ConversationTokenizer(
            tokenizer=tokenizer,
            template=config.template,
            tokens_per_image=self.pictures.tokens_per_image,
            use_im_start_end=config.use_im_start_end,
            model_max_length=config.model_max_length,
            leading_blank=config.leading_blank,
            rules=self.pictures.rules,
            control=frozenset(self.pictures.control),
        )

    @classmethod
    def from_pretrained(cls, path: str | Path) -> LisaProcessor:
        """From a folder that `save_pretrained` wrote, or from a released LISA (a folder or a hub id).

        ValueError or FileNotFoundError name the file that is missing or damaged, or does not fit the others.
        """
        from lisa.model_folder import open_processor
        from lisa.released import open_released, resolve

        folder = resolve(path)
        if (released := open_released(folder)) is not None:
            return released.processor
        return open_processor(folder)

    def save_pretrained(self, path: str | Path) -> None:
        """Tokenizer and image processor beside the model's config and weights."""
        self.tokenizer.save_pretrained(path)
        self.image_processor.save_pretrained(path)
        if self.sentencepiece is not None:
            (Path(path) / SENTENCEPIECE).write_bytes(self.sentencepiece)

    def __call__(
        self,
        images: Sequence[np.ndarray],
        conversations: Sequence[Sequence[Conversation]],
        masks: Sequence[np.ndarray] | None = None,
        ignore: Sequence[np.ndarray] | None = None,
        names: Sequence[Sequence[str]] | None = None,
    ) -> Batch:
        """B images (H, W, 3) uint8 RGB, their conversations and, to learn, masks (N, H, W) bool with ignore
        regions (H, W) bool and, to ground phrases, a name for each mask ("" has none)."""
        if len(images) != len(conversations):
            raise ValueError(f"{len(images)} pictures but conversations about {len(conversations)}")
        pixel_values, shapes = self.pictures.pixels(images)
        texts = [self.pictures.text(shape) for shape in shapes]
        encoded = [
            [self.text.encode(conversation, masks is not None, text) for conversation in group]
            for group, text in zip(conversations, texts, strict=True)
        ]
        sam_pixels, sizes = zip(*(prepare_pixels(image, self.config.sam_size) for image in images), strict=True)
        counts = torch.tensor([0, *(len(group) for group in conversations)])
        rows = pack_rows(encoded, self.packing, self.tokenizer.pad_token_id)
        return Batch(
            rows=rows,
            offset=counts.cumsum(0),
            pixel_values=pixel_values,
            sam_pixels=torch.stack(sam_pixels),
            sizes=sizes,
            sam_keys=tuple(map(picture_key, sam_pixels)) if self.makes_sam_keys else (),
            shapes=shapes,
            targets=self._targets(masks, ignore, sizes, texts) if masks is not None else None,
            names=self._names(names) if names is not None and self.config.ground_loss_weight > 0 else None,
            plan=Plan.of(rows, len(images), self.config.seg_token_id, self.config.seg_state)
            if masks is not None
            else None,
        )

    def encode(self, conversation: Conversation, shape: Shape) -> EncodedConversation:
        """One conversation about a picture of a batch, by its shape in the batch."""
        return self.text.encode(conversation, picture=self.pictures.text(shape))

    def check(self, conversation: Conversation) -> None:
        """Refuse, before there is a picture, what could not be encoded with one.

        Where pictures differ in length, too long a conversation is found with its picture only.
        """
        self.text.encode(
            conversation, picture=None if self.pictures.tokens_per_image else PictureText.of([], -1, 0, [])
        )

    def tower_pixels(self, images: Sequence[np.ndarray]) -> Tensor:
        """As the vision tower's own image processor makes them."""
        return self.pictures.pixels(images)[0]

    def _targets(
        self,
        masks: Sequence[np.ndarray],
        ignore: Sequence[np.ndarray],
        sizes: Sequence[ImageSize],
        texts: Sequence[PictureText],
    ) -> Targets:
        sam = self.config.sam_size
        low_res = [
            masks_to_low_res(group, size, sam.image_size, sam.low_res) for group, size in zip(masks, sizes, strict=True)
        ]
        counting = [
            masks_to_low_res(~region[None], size, sam.image_size, sam.low_res)[0]
            for region, size in zip(ignore, sizes, strict=True)
        ]
        full = self.config.mask_loss_size == "original"
        reads_tokens = self.config.ground_loss_weight > 0 or self.config.look_loss_weight > 0
        return Targets(
            low_res=torch.cat(low_res),
            low_res_counts=torch.stack(counting),
            masks=tuple(torch.from_numpy(group) for group in masks) if full else (),
            counts=tuple(torch.from_numpy(~region) for region in ignore) if full else (),
            coverage=_token_coverage(masks, texts) if reads_tokens else None,
        )

    def _names(self, names: Sequence[Sequence[str]]) -> Names:
        """Each name of a picture once: several questions may be about the same thing."""
        named_ids: list[list[int]] = []
        mask_index: list[int] = []
        image_of: list[int] = []
        first = 0
        for image, group in enumerate(names):
            named = list({name: k for k, name in enumerate(group) if name}.values())
            named_ids += [self.tokenizer(" " + group[k], add_special_tokens=False).input_ids for k in named]
            mask_index += [first + k for k in named]
            image_of += [image] * len(named)
            first += len(group)
        longest = max(map(len, named_ids), default=0)
        padded = [ids + [self.tokenizer.pad_token_id] * (longest - len(ids)) for ids in named_ids]
        lengths = torch.tensor([len(ids) for ids in named_ids], dtype=torch.int64)
        return Names(
            words=torch.tensor(padded, dtype=torch.int64).view(len(named_ids), longest),
            real=torch.arange(longest) < lengths[:, None],
            mask_index=torch.tensor(mask_index, dtype=torch.int64),
            image_of=torch.tensor(image_of, dtype=torch.int64),
        )


def _token_coverage(masks: Sequence[np.ndarray], texts: Sequence[PictureText]) -> Tensor:
    """(S, P): of each mask, on the image tokens of its picture; 0 beyond them."""
    most = max(text.num_tokens for text in texts)
    shares = [coverage(group, text) for group, text in zip(masks, texts, strict=True)]
    return torch.cat([F.pad(share, (0, most - share.shape[1])) for share in shares])
