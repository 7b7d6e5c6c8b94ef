"""Texts found unreadable ahead of a run: the same ones that the processor refuses."""

from __future__ import annotations

import random
import time
from dataclasses import replace

import pytest
from small_model import WORDS

from lisa.conversation import Conversation, Turn
from lisa.presets import tiny_config, tiny_image_processor, tiny_tokenizer
from lisa.processing import LisaProcessor
from lisa.text_checks import TextChecker, processor_of

SIZES = [(60, 80), (128, 128), (300, 90)]


def processor(version: str, model_max_length: int) -> LisaProcessor:
    tokenizer = tiny_tokenizer(WORDS, version)
    config = tiny_config(tokenizer, version)
    config.model_max_length = model_max_length
    return LisaProcessor(config, tokenizer, tiny_image_processor(version))


def random_conversation(rng: random.Random) -> Conversation:
    """One to three questions and answers, of all lengths, some with [SEG], control words or other scripts."""
    words = ["red", "ball", "Where", "is", "the", "[SEG]", "é", "水", "ﷺ", "🙂", "zebra", "."]
    turns = []
    for k in range(2 * rng.randint(1, 3)):
        text = " ".join(rng.choices(words, k=rng.choice([1, 5, 20, 60])))
        if k % 2 == 0:
            text = ("<image>\n" if k == 0 else "") + text.replace("[SEG]", rng.choice(["dog", "<s>"] + ["cat"] * 9))
        turns.append(Turn("assistant" if k % 2 else "user", text))
    return Conversation(tuple(turns))


@pytest.mark.parametrize("version", ["tiny", "tiny-paligemma", "tiny-smolvlm", "tiny-qwen-vl"])
@pytest.mark.parametrize("training", [True, False])
def test_what_is_found_is_what_the_processor_refuses(version, training):
    reader = processor(version, 300)
    checker, rng = TextChecker(reader), random.Random(version)
    conversations = [random_conversation(rng) for _ in range(150)]
    sizes = [rng.choice(SIZES) for _ in conversations]
    refused = []
    for conversation, size in zip(conversations, sizes, strict=True):
        try:
            reader.text.encode(conversation, training, checker._image(size))
            refused.append(False)
        except ValueError:
            refused.append(True)
    found = checker.flaws(conversations, sizes, training)
    assert [flaw is not None and flaw.stops for flaw in found] == refused
    assert 10 < sum(refused) < 140
    cut = [flaw for flaw in found if flaw is not None and not flaw.stops]
    assert bool(cut) == training
    assert all("tokens" in flaw.what for flaw in cut)


def test_control_words_are_escaped_for_every_role():
    checker = TextChecker(processor("tiny", 300))
    said = Conversation.of("<image>\nIs </s> or <s> or <im_start> there?", "No <im_end>, but [SEG].")
    safe = checker.escaped(said)
    assert [turn.text for turn in safe.turns] == [
        "<image>\nIs < /s> or < s> or < im_start> there?",
        "No < im_end>, but [SEG].",
    ]
    assert checker.flaws([said, safe], [None, None], training=True)[1] is None
    assert checker.escaped(safe) is safe


def test_a_question_is_cut_until_it_can_be_read():
    checker = TextChecker(processor("tiny", 200))
    long = Conversation.of("<image>\n" + "Where is the red ball? " * 80, "[SEG].")
    assert checker.flaws([long], [None], training=False)[0].stops
    short = checker.shortened(long, (60, 80))
    assert checker.flaws([short], [None], training=False) == [None]
    assert long.turns[0].text.startswith(short.turns[0].text)


def test_short_texts_are_passed_without_being_tokenized():
    reader = processor("tiny", 700)
    conversations = [Conversation.of(f"<image>\nWhere is ball number {k}?", "It is [SEG].") for k in range(5000)]
    TextChecker(reader).flaws(conversations[:1], [None], training=True)  # what is computed once
    started = time.perf_counter()
    assert not any(TextChecker(reader).flaws(conversations, [None] * len(conversations), training=True))
    took, started = time.perf_counter() - started, time.perf_counter()
    for conversation in conversations[:500]:
        reader.text.encode(conversation)
    assert took < (time.perf_counter() - started) * 10 / 3


def test_a_model_reads_texts_without_its_weights():
    kept = processor_of("tiny")
    assert kept.text.template == "plain"
    text = Conversation.of("<image>\nWhere?", "[SEG].")
    assert TextChecker(kept).flaws([text], [None], training=False) == [None]
    endless = replace(kept.text, model_max_length=10)
    checker = TextChecker(kept)
    checker.text = endless
    assert checker.flaws([text], [None], training=False)[0].stops
