"""Answers: what a model says about pictures, and the masks of every [SEG] in it.

The picture and the common beginning of its conversations are read once (`lisa.decoding`); a talk about one picture
that goes on question by question is a `lisa.session.ChatSession`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import torch
from torch import Tensor

from lisa.conversation import SEG, Conversation
from lisa.decoding import decode, prefill
from lisa.modeling import LisaModel, MaskOutput
from lisa.processing import Batch, LisaProcessor
from lisa.profiling import timed
from lisa.questions import LONGEST_ANSWER
from lisa.results import Answer, Scores, no_masks
from lisa.seg import gather_seg_states, image_of_seg, seg_positions
from sam_bridge import ImageSize, to_original_size


class Predictor:
    """A model with its processor, for use: questions in, answers with masks out."""

    def __init__(self, model: LisaModel, processor: LisaProcessor, name: str = "lisa") -> None:
        self.model = model.eval()
        self.processor = processor
        self.name = name

    @torch.inference_mode()
    def generate(
        self,
        images: Sequence[np.ndarray],
        conversations: Sequence[Sequence[Conversation]],
        max_new_tokens: int = LONGEST_ANSWER,
        on_token: Callable[[int, int], None] | None = None,
    ) -> list[list[Answer]]:
        """Greedy answers to conversations that end with the user's turn: per image, per conversation.

        images: (H, W, 3) uint8 RGB each. on_token(conversation, id) is called for every new token, with the
        conversation's index in reading order.
        """
        model = self.model
        batch = self.processor(images, conversations).to(model.device)
        decoding = prefill(model, batch.rows, model.image_tokens(batch))
        said = decode(model, decoding, self.processor.tokenizer.eos_token_id, max_new_tokens, on_token)
        states = [state for one in said for state in one.seg_states]
        image_of_conversation = torch.repeat_interleave(batch.offset.diff())
        image_of = torch.repeat_interleave(
            image_of_conversation, torch.tensor([len(one.seg_states) for one in said], device=batch.offset.device)
        )
        probabilities = [probability for one in said for probability in one.seg_probabilities]
        masks, scores = self._masks(torch.stack(states) if states else None, probabilities, image_of, batch)
        texts = [self.processor.text.decode(one.ids) for one in said]
        return _answers(texts, [len(one.seg_states) for one in said], masks, scores, batch)

    @torch.inference_mode()
    def teacher_forced(
        self, images: Sequence[np.ndarray], conversations: Sequence[Sequence[Conversation]]
    ) -> list[list[Answer]]:
        """Masks for answers that are given: the last turn of each conversation is the assistant's.

        [SEG] of earlier turns are history and get no mask.
        """
        batch = self.processor(images, conversations).to(self.model.device)
        model = self.model
        hidden = model.hidden_states(batch.rows, model.image_tokens(batch))
        positions = seg_positions(batch.rows, model.config.seg_token_id, model.config.seg_state)
        given = [conversation for group in conversations for conversation in group]
        texts = [conversation.turns[-1].text for conversation in given]
        counts = [text.count(SEG) for text in texts]
        wanted = torch.tensor(
            [
                index >= conversation.num_seg - count
                for conversation, count in zip(given, counts, strict=True)
                for index in range(conversation.num_seg)
            ],
            dtype=torch.bool,
            device=hidden.device,
        )
        states = gather_seg_states(hidden, positions)[wanted]
        predicting = states
        if model.config.seg_state != "before":
            before = seg_positions(batch.rows, model.config.seg_token_id, "before")
            predicting = gather_seg_states(hidden, before)[wanted]
        logits = model.backbone.logits(predicting)
        probabilities = list(logits.float().softmax(-1)[:, model.config.seg_token_id])
        masks, scores = self._masks(states, probabilities, image_of_seg(batch.rows, positions)[wanted], batch)
        return _answers(texts, counts, masks, scores, batch)

    def _masks(
        self, states: Tensor | None, probabilities: list[Tensor], image_of: Tensor, batch: Batch
    ) -> tuple[list[np.ndarray], Scores]:
        """A bool mask at its picture's own size and the scores for each state, in order."""
        if states is None or len(states) == 0:
            return [], no_masks((0, 0))[1]
        output = self.model.masks_from_states(states, image_of, batch.sam_pixels, batch.sam_keys)
        sizes = [batch.sizes[image] for image in image_of.tolist()]
        masks, expected_iou = masks_at_original_size(output, sizes, self.model.config.sam["image_size"])
        return masks, scores_of(expected_iou, probabilities)


@timed("masks to the picture's size")
def masks_at_original_size(
    output: MaskOutput, sizes: Sequence[ImageSize], image_size: int
) -> tuple[list[np.ndarray], list[float]]:
    """A bool mask (H, W) and a score in [0, 1] for each of S masks; `sizes` are those of their pictures.

    image_size is the side of SAM's square, pixels.
    """
    masks = [
        (to_original_size(low_res[None], size, image_size)[0] > 0).cpu().numpy()
        for low_res, size in zip(output.low_res, sizes, strict=True)
    ]
    return masks, output.scores.float().clamp(0, 1).tolist()


def scores_of(expected_iou: list[float], seg_probabilities: list[Tensor]) -> Scores:
    """The scores of N masks; the probabilities are scalars, on any device."""
    return Scores(
        expected_iou=np.array(expected_iou, np.float32),
        seg_probability=torch.stack(seg_probabilities).cpu().numpy(),
    )


def _answers(
    texts: list[str], counts: list[int], masks: list[np.ndarray], scores: Scores, batch: Batch
) -> list[list[Answer]]:
    """Group texts and masks, both in reading order, by conversation and by image."""
    groups: list[list[Answer]] = []
    conversation = mask = 0
    for size, number in zip(batch.sizes, batch.offset.diff().tolist(), strict=True):
        group = []
        for text, count in zip(texts[conversation:][:number], counts[conversation:][:number], strict=True):
            own = slice(mask, mask + count)
            group.append(
                Answer(
                    text=text,
                    masks=np.stack(masks[own]) if count else no_masks(size.original)[0],
                    scores=Scores(expected_iou=scores.expected_iou[own], seg_probability=scores.seg_probability[own]),
                )
            )
            mask += count
        conversation += number
        groups.append(group)
    return groups
