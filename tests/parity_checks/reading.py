"""From the files of a case to what our model reads, and from our rows to the reference's tensors."""

from __future__ import annotations

import copy
from pathlib import Path

import cv2
import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from lisa.conversation import IMAGE_PLACEHOLDER, Conversation, Turn
from lisa.packing import PADDING, Rows
from lisa.processing import LisaProcessor

IMAGE = -200
"""The reference's id at the place of the picture."""


def read_picture(path: Path) -> np.ndarray:
    """(H, W, 3) uint8 RGB."""
    return np.asarray(Image.open(path).convert("RGB"))


def read_mask(path: Path) -> np.ndarray:
    """(H, W) bool."""
    return cv2.imread(str(path), cv2.IMREAD_UNCHANGED) > 0


def conversation_of(rounds: list[list[str]], question: str | None = None) -> Conversation:
    """Rounds of question and answer, and perhaps one more question; the picture stands first, once."""
    texts = [text for pair in rounds for text in pair] + ([question] if question is not None else [])
    if not any(IMAGE_PLACEHOLDER in text for text in texts):
        texts[0] = f"{IMAGE_PLACEHOLDER}\n{texts[0]}"
    return Conversation(tuple(Turn("user" if k % 2 == 0 else "assistant", text) for k, text in enumerate(texts)))


def processor_for(processor: LisaProcessor, template: str, packing: bool = False) -> LisaProcessor:
    """The same processor with another template."""
    config = copy.deepcopy(processor.config)
    config.template = template
    return LisaProcessor(config, processor.tokenizer, processor.image_processor, packing=packing)


def with_one_image_token(rows: Rows, pad_id: int) -> tuple[Tensor, Tensor, Tensor]:
    """Ids (with -200 at the picture), labels and mask as the reference has them before it puts the picture in."""
    ids, labels = [], []
    for row in range(len(rows.input_ids)):
        kept = (rows.image_index[row] <= 0) & (rows.segments[row] != PADDING)
        ids.append(torch.where(rows.image_index[row] == 0, IMAGE, rows.input_ids[row])[kept])
        labels.append(rows.labels[row][kept])
    input_ids = pad_sequence(ids, batch_first=True, padding_value=pad_id)
    return input_ids, pad_sequence(labels, batch_first=True, padding_value=-100), input_ids != pad_id
