"""A model on a GPU gives what it gives on the CPU: losses, gradients, answers, masks."""

import copy
from dataclasses import replace
from itertools import chain

import numpy as np
import pytest
import torch
from small_model import ask, picture, small_lisa, unpacked
from torch import Tensor

from lisa import Lisa
from lisa.generation import Predictor
from lisa.pointing import Click
from lisa.session import ChatSession
from sam_bridge import EmbeddingCache, encode_images

pytestmark = pytest.mark.gpu

TOLERANCE = {torch.float32: 1e-4, torch.bfloat16: 5e-2, torch.float16: 1e-2}
"""Relative difference to the CPU in fp32."""
ALL_LOSSES = dict.fromkeys([f"{term}_loss_weight" for term in ("dense", "iou", "ground", "look")], 1.0)
ATTENTION = ("eager", "sdpa")
IMAGES = [picture(24, 32, seed=1), picture(40, 30, seed=2)]
CONVERSATIONS = [
    [ask("Where is the red ball?", "Sure, [SEG]."), ask("Is there a cat?", "There is no dog.")],
    [ask("Show both of them, please.", "Sure, [SEG] and [SEG].")],
]


def learning_batch(processor, *, words_only: bool = False):
    """Two images with masks to learn from, or only words."""
    conversations = [[ask("Is there a cat?", "There is no dog.")]] * 2 if words_only else CONVERSATIONS
    rng = np.random.default_rng(0)
    counts = [sum(one.num_seg for one in group) for group in conversations]
    masks = [rng.random((n, *image.shape[:2])) > 0.5 for n, image in zip(counts, IMAGES, strict=True)]
    ignore = [rng.random(image.shape[:2]) > 0.9 for image in IMAGES]
    names = [["red ball"] * n for n in counts]
    return processor(IMAGES, conversations, masks=masks, ignore=ignore, names=names)


def losses_and_gradients(model, batch) -> tuple[dict[str, float], Tensor]:
    """The terms, and the gradients of all parameters in one vector on the CPU."""
    terms = model(batch.to(model.device))
    terms["loss"].backward()
    gradients = [p.grad.float().flatten().cpu() for p in model.parameters() if p.grad is not None]
    return {name: term.item() for name, term in terms.items()}, torch.cat(gradients)


def relative(one: Tensor, other: Tensor) -> float:
    return ((one - other).norm() / other.norm()).item()


@pytest.mark.parametrize("words_only", [False, True], ids=["masks", "words_only"])
@pytest.mark.parametrize("size", ["original", "low_res"])
@pytest.mark.parametrize("dtype", TOLERANCE, ids=str)
def test_losses_and_gradients_are_those_of_the_cpu(device, dtype, size, words_only):
    model, processor = small_lisa(mask_loss_size=size, **ALL_LOSSES)
    batch = learning_batch(processor, words_only=words_only)
    other = copy.deepcopy(model).to(device, dtype)
    wanted, wanted_gradients = losses_and_gradients(model, batch)
    given, gradients = losses_and_gradients(other, batch)
    assert given == pytest.approx(wanted, rel=10 * TOLERANCE[dtype], abs=TOLERANCE[dtype])
    assert gradients.shape == wanted_gradients.shape
    # In 16 bits gradients of single weights are noise; together they must point the same way.
    assert relative(gradients, wanted_gradients) < (1e-3 if dtype == torch.float32 else 0.5)


@pytest.mark.parametrize("attention", ATTENTION)
@pytest.mark.parametrize("dtype", TOLERANCE, ids=str)
@torch.no_grad()
def test_packed_is_unpacked(device, dtype, attention):
    model, processor = small_lisa()
    model = copy.deepcopy(model).to(device, dtype)
    model.vlm.set_attn_implementation(attention)
    packed = model(learning_batch(processor).to(device))
    apart = model(learning_batch(unpacked(processor)).to(device))
    for name, term in packed.items():
        assert term.item() == pytest.approx(apart[name].item(), rel=TOLERANCE[dtype], abs=TOLERANCE[dtype]), name


@pytest.mark.parametrize("dtype", TOLERANCE, ids=str)
def test_answers_and_masks_are_those_of_the_cpu(device, dtype, taught, lessons):
    images, conversations = lessons
    other = Predictor(copy.deepcopy(taught.model).to(device, dtype), taught.processor)
    for how in ("generate", "teacher_forced"):
        asked = conversations
        if how == "generate":
            asked = [[replace(one, turns=one.turns[:1]) for one in group] for group in conversations]
        wanted, given = (getattr(predictor, how)(images, asked) for predictor in (taught, other))
        for one, another in zip(chain(*wanted), chain(*given), strict=True):
            assert another.text == one.text
            assert another.masks.shape == one.masks.shape
            if one.masks.size:
                # Logits near 0 may change sign by rounding.
                assert (one.masks == another.masks).mean() > (0.999 if dtype == torch.float32 else 0.9)
            np.testing.assert_allclose(another.scores.seg_probability, one.scores.seg_probability, atol=0.05)


@pytest.mark.parametrize("dtype", TOLERANCE, ids=str)
def test_a_chat_session_goes_on_and_takes_clicks(device, dtype, taught, lessons):
    images, conversations = lessons
    predictor = Predictor(copy.deepcopy(taught.model).to(device, dtype), taught.processor)
    session = ChatSession(predictor, images[0])
    question = conversations[0][0].turns[0].text.removeprefix("<image>\n")
    first = session.listen(question)
    assert len(first.pointed) == 1
    corrected = session.correct(first.pointed[0], [Click(5, 5), Click(20, 20, inside=False)])
    assert session.mask(corrected).shape == images[0].shape[:2]
    assert 0 <= corrected.expected_iou <= 1
    session.ask("Is there a cat?")
    assert (session.work.tower_images, session.work.sam_images) == (1, 1)


def test_embeddings_come_back_from_the_cache(device, small, tmp_path):
    model, processor = small
    sam, pixels = copy.deepcopy(model.sam).to(device), processor(IMAGES, CONVERSATIONS).sam_pixels.to(device)
    cache = EmbeddingCache(tmp_path)
    with torch.no_grad():
        first, again = cache.encode(sam, pixels), cache.encode(sam, pixels)
        plain = encode_images(sam, pixels)
    assert (cache.misses, cache.hits) == (2, 2)
    assert again.image.device == plain.image.device
    assert torch.equal(first.image, again.image)
    torch.testing.assert_close(again.image, plain.image, rtol=1e-2, atol=1e-2)


@pytest.mark.parametrize("dtype", ["auto", "fp32", "bf16", "fp16"])
def test_the_bundled_model_answers_as_on_the_cpu(device, dtype, kept_lisa, example):
    question = "Please segment the boats in this image."
    wanted = kept_lisa.ask(example, question)
    given = Lisa.load("tiny", device=str(device), dtype=dtype).ask(example, question)
    assert given.text == wanted.text
    overlap, union = (given.masks & wanted.masks).sum(), (given.masks | wanted.masks).sum()
    assert overlap / union > (0.99 if dtype == "fp32" else 0.95)
