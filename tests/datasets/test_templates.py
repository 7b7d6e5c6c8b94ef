"""Question and answer sentences."""

import numpy as np
import pytest

from datasets.templates import (
    ANSWERS,
    NAMED_ANSWERS,
    answer,
    check_text,
    choose_some,
    long_question,
    short_question,
    validation_question,
)
from lisa.conversation import SEG


def rng(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


def test_every_answer_has_exactly_one_seg():
    assert all(text.count(SEG) == 1 for text in ANSWERS + NAMED_ANSWERS)


def test_a_phrase_is_lower_cased_and_a_sentence_is_not():
    assert "red car" in short_question(rng(), "Red CAR")
    assert "Red CAR" in long_question(rng(), "Red CAR")


def test_braces_in_a_phrase_are_kept():
    assert "the {x} in" in short_question(np.random.default_rng(1), "{x}")


def test_validation_questions_keep_the_blank_after_the_line_break():
    end = "Please output segmentation mask."
    assert validation_question("a dog", is_sentence=False) == f"<image>\n What is a dog in this image? {end}"
    assert validation_question("Who barks?", is_sentence=True) == f"<image>\n Who barks? {end}"


def test_naming_targets_never_always_and_half_the_time():
    assert all(answer(rng(i), "dog", 0.0) in ANSWERS for i in range(50))
    assert all("the dog [SEG]" in answer(rng(i), "dog", 1.0) for i in range(50))
    named = sum("the dog [SEG]" in answer(rng(i), "dog", 0.5) for i in range(2000))
    assert 900 < named < 1100


def test_a_target_without_a_name_gets_a_plain_answer():
    assert answer(rng(), "", 1.0) in ANSWERS


def test_some_items_are_chosen_without_repetition():
    assert sorted(choose_some(rng(), range(5), 9)) == [0, 1, 2, 3, 4]
    assert len(set(choose_some(rng(), range(5), 3))) == 3


@pytest.mark.parametrize("text", ["the [SEG] here", "an <image> of it"])
def test_control_words_in_data_are_refused(text):
    with pytest.raises(ValueError, match=r"refs\.p: ref 3: .* a control word; remove it"):
        check_text(text, "refs.p: ref 3")


def test_half_a_surrogate_pair_is_refused():
    with pytest.raises(ValueError, match="x: the text 'a\\\\ud800' holds half a character"):
        check_text("a\ud800", "x")


def test_an_empty_text_is_refused():
    with pytest.raises(ValueError, match="x: the text is empty"):
        check_text("  ", "x")
