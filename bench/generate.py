"""What a KV cache and a shared picture are worth: `python bench/generate.py [--config medium] [--out generate.json]`.

generate_32: an answer of 32 tokens, a: recomputed from scratch for every token, vision tower and all logits included,
b: with the cache, both without SAM. first_answer_32: the same with SAM's encoder (a: the package's) and the mask.
batch8_one_image, batch8_eight_images: 8 questions, a: one by one, b: in one call, without SAM.
"""

from __future__ import annotations

import statistics
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # our `datasets` comes before Hugging Face's

import numpy as np
import torch
import tyro
from torch import Tensor

from bench.models import pictures, questions
from bench.pairs import (
    PairFlags,
    finish,
    make_row,
    measure_pairs,
    predictor_for,
    relative_difference,
    require_same,
    seconds_of,
)
from lisa.allocator import keep_freed_memory
from lisa.conversation import Conversation
from lisa.decoding import decode, prefill
from lisa.generation import Predictor, masks_at_original_size
from sam_bridge.attention import use_fast_attention, use_package_attention

TOKENS = 32
"""Length of every answer."""

ROWS = ("generate_32", "first_answer_32", "batch8_one_image", "batch8_eight_images")


@dataclass(frozen=True, kw_only=True)
class GenerateFlags(PairFlags):
    """Measure two ways to answer."""

    rows: tuple[str, ...] = ROWS
    """Which rows of the table to measure."""


Asked = list[tuple[list[np.ndarray], list[list[Conversation]]]]
"""Calls, each with pictures and the questions about each of them."""


def main(argv: Sequence[str] | None = None) -> dict:
    """Measure, print a table, write JSON."""
    flags = tyro.cli(GenerateFlags, args=argv, prog="bench/generate.py", description=__doc__)
    if unknown := set(flags.rows) - set(ROWS):
        raise ValueError(f"--rows: there is no {', '.join(unknown)}; choose from {', '.join(ROWS)}")
    keep_freed_memory()
    predictor = predictor_for(flags)
    never_end(predictor)
    measure = {"generate_32": _generate_row, "first_answer_32": _first_answer_row}
    rows = []
    for name in flags.rows:
        if name in measure:
            rows.append(measure[name](predictor, flags))
        else:
            rows.append(_batch_row(name, predictor, *_batch_calls(name), flags))
    return finish("answers of 32 tokens", rows, flags)


def _batch_calls(name: str) -> tuple[Asked, Asked]:
    """The calls of a row about 8 questions, one by one and together."""
    images, asked = pictures(8), questions(8, answered=False)
    if name == "batch8_one_image":
        return [(images[:1], [[question]]) for question in asked], [(images[:1], [asked])]
    one_by_one = [([image], [[question]]) for image, question in zip(images, asked, strict=True)]
    return one_by_one, [(images, [[question] for question in asked])]


@torch.no_grad()
def never_end(predictor: Predictor) -> None:
    """Make the end of an answer and [SEG] the least of what the model would say, so that all answers are as long."""
    text = predictor.processor.text
    head = predictor.model.vlm.lm_head.weight
    head[[predictor.processor.tokenizer.eos_token_id, text.seg_token_id]] = 0


@torch.inference_mode()
def with_cache(
    predictor: Predictor, images: list[np.ndarray], asked: list[list[Conversation]], tokens: int = TOKENS
) -> tuple[list[list[int]], Tensor]:
    """Ids of the answers, and the state after the last token of each (Q, D)."""
    model = predictor.model
    batch = predictor.processor(images, asked).to(model.device)
    decoding = prefill(model, batch.rows, model.backbone.image_tokens(batch.pixel_values))
    said = decode(model, decoding, predictor.processor.tokenizer.eos_token_id, tokens)
    return [one.ids for one in said], decoding.state[decoding.slots >= 0]


@torch.inference_mode()
def from_scratch(
    predictor: Predictor, image: np.ndarray, question: Conversation, tokens: int = TOKENS
) -> tuple[list[int], Tensor]:
    """As `with_cache` for one question, by transformers' forward over the whole sequence for every token."""
    model, processor = predictor.model, predictor.processor
    pixels = processor.tower_pixels([image]).to(model.device, model.dtype)
    ids = processor.text.encode(question).input_ids[None].to(model.device)
    start = ids.shape[1]
    for _ in range(tokens):
        output = _plain_forward(model, ids, pixels)
        ids = torch.cat([ids, output.logits[:, -1:].argmax(-1)], dim=1)
    return ids[0, start:].tolist(), ids


@torch.inference_mode()
def _state_after(predictor: Predictor, image: np.ndarray, ids: Tensor) -> Tensor:
    """(1, D): the state of the last of all ids, recomputed."""
    pixels = predictor.processor.tower_pixels([image]).to(predictor.model.device, predictor.model.dtype)
    return _plain_forward(predictor.model, ids, pixels, output_hidden_states=True).hidden_states[-1][:, -1]


def _plain_forward(model, ids: Tensor, pixels: Tensor, **options):
    return model.vlm(
        input_ids=ids, attention_mask=torch.ones_like(ids), pixel_values=pixels, use_cache=False, **options
    )


def _generate_row(predictor: Predictor, flags: PairFlags) -> dict:
    (image,), (question,) = pictures(1), questions(1, answered=False)
    asked = [image], [[question]]
    ids, all_ids = from_scratch(predictor, image, question)
    cached, states = with_cache(predictor, *asked)
    difference = relative_difference(states, _state_after(predictor, image, all_ids))
    _require_same_ids("generate_32", [ids], cached, flags)
    require_same("generate_32", difference, flags)
    seconds = measure_pairs(
        lambda: from_scratch(predictor, image, question), lambda: with_cache(predictor, *asked), flags.pairs
    )
    masks = [seconds_of(lambda: _mask(predictor, image, states)) for _ in range(flags.pairs)]
    first = [seconds_of(lambda: with_cache(predictor, *asked, 1)) for _ in range(flags.pairs)]
    a, b, mask = (statistics.median(side) for side in (*seconds, masks))
    return make_row(
        "generate_32",
        seconds,
        difference,
        a_tokens_per_second=TOKENS / a,
        b_tokens_per_second=TOKENS / b,
        b_seconds_to_first_token=statistics.median(first),
        a_seconds_to_mask=a + mask,
        b_seconds_to_mask=b + mask,
    )


def _first_answer_row(predictor: Predictor, flags: PairFlags) -> dict:
    """From a picture and a question to 32 tokens and a mask, nothing kept from before."""
    (image,), (question,) = pictures(1), questions(1, answered=False)
    encoder = predictor.model.sam.image_encoder
    states = _state_after(predictor, image, from_scratch(predictor, image, question)[1])

    def reference() -> Tensor:
        use_package_attention(encoder)
        try:
            from_scratch(predictor, image, question)
            return _mask(predictor, image, states)
        finally:
            use_fast_attention(encoder)

    def ours() -> Tensor:
        return _mask(predictor, image, with_cache(predictor, [image], [[question]])[1])

    difference = relative_difference(ours(), reference())
    require_same("first_answer_32", difference, flags)
    return make_row("first_answer_32", measure_pairs(reference, ours, flags.pairs), difference)


@torch.inference_mode()
def _mask(predictor: Predictor, image: np.ndarray, states: Tensor) -> Tensor:
    """From a [SEG] state to its mask: SAM's image encoder, the decoder, the picture's own size."""
    model = predictor.model
    batch = predictor.processor([image], [[]]).to(model.device)
    output = model.masks_from_states(states, torch.zeros(1, dtype=torch.int64, device=model.device), batch.sam_pixels)
    masks_at_original_size(output, batch.sizes, model.config.sam["image_size"])
    return output.low_res


def _batch_row(name: str, predictor: Predictor, one_by_one: Asked, together: Asked, flags: PairFlags) -> dict:
    def run(calls: Asked) -> tuple[list[list[int]], Tensor]:
        answers = [with_cache(predictor, *call) for call in calls]
        return [ids for said, _ in answers for ids in said], torch.cat([states for _, states in answers])

    (ids, states), (batched, batched_states) = run(one_by_one), run(together)
    difference = relative_difference(batched_states, states)
    _require_same_ids(name, ids, batched, flags)
    require_same(name, difference, flags)
    seconds = measure_pairs(lambda: run(one_by_one), lambda: run(together), flags.pairs)
    a, b = (len(ids) * TOKENS / statistics.median(side) for side in seconds)
    return make_row(name, seconds, difference, a_tokens_per_second=a, b_tokens_per_second=b)


def _require_same_ids(name: str, one: list[list[int]], other: list[list[int]], flags: PairFlags) -> None:
    if flags.precision == "fp32" and one != other:
        raise ValueError(f"{name}: the two sides say different things, {one} and {other}; mend the path first")


if __name__ == "__main__":
    main()
