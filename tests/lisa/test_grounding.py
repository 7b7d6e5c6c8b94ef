import math

import pytest
import torch

from lisa.grounding import (
    looking_loss,
    naming_loss,
    states_on_the_way,
    token_of_thing,
    word_rarity,
)
from lisa.packing import Rows
from lisa.pointing_game import pointing_accuracy, word_scores


def test_the_score_of_a_place_is_the_mean_over_the_words_of_the_name():
    log_probabilities = torch.tensor([[[-1.0, -2.0, -3.0], [-4.0, -5.0, -6.0]]])  # one name, two places, three words
    words, real = torch.tensor([[0, 2, 1]]), torch.tensor([[True, True, False]])  # the last is padding
    assert word_scores(log_probabilities, words, real).tolist() == [[-2.0, -5.0]]


def test_the_token_of_a_thing_is_the_mean_of_the_tokens_on_it():
    tokens = torch.tensor([[[1.0, 0.0], [3.0, 4.0], [100.0, 100.0]]])
    assert token_of_thing(tokens, torch.tensor([[0.5, 0.5, 0.0]])).tolist() == [[2.0, 2.0]]
    assert token_of_thing(tokens, torch.tensor([[0.75, 0.25, 0.0]])).tolist() == [[1.5, 1.0]]
    assert token_of_thing(tokens, torch.zeros(1, 3)).tolist() == [[0.0, 0.0]]


def test_a_word_of_few_names_weighs_more_than_a_word_of_all():
    words = torch.tensor([[5, 1], [5, 2], [5, 5]])  # 5 is in three names of three, 1 and 2 in one
    real = torch.tensor([[True, True], [True, True], [True, False]])
    common, rare = math.log(4 / 3), math.log(4)
    expected = torch.tensor([[common, rare], [common, rare], [common, 0.0]])
    torch.testing.assert_close(word_rarity(words, real), expected)


def test_the_loss_is_the_weighted_cross_entropy_of_the_words():
    log_probabilities = torch.tensor([[-1.0, -2.0, -4.0]])
    assert naming_loss(log_probabilities, torch.tensor([[0, 2]]), torch.tensor([[1.0, 3.0]])).item() == 13 / 4
    assert naming_loss(log_probabilities, torch.tensor([[0, 2]]), torch.zeros(1, 2)).item() == 0


def test_pointing_is_right_when_the_best_place_lies_on_the_mask():
    logits = torch.tensor([[0.0, 3.0, 1.0], [0.0, 3.0, 1.0]])
    coverage = torch.tensor([[0.0, 0.8, 1.0], [1.0, 0.2, 0.0]])
    assert pointing_accuracy(logits, coverage).tolist() == [True, False]


def test_every_state_up_to_a_seg_leads_to_its_mask():
    seg, learned, no = 9, 5, -100
    labels = torch.tensor(
        [[no, no, learned, seg, learned, seg, learned, no, seg], [no, learned, no, no, learned, seg, no, no, no]]
    )
    segments = torch.tensor([[0, 1, 1, 1, 1, 1, 1, 2, 2], [0, 1, 1, 2, 2, 2, 2, -1, -1]])
    nothing = torch.zeros_like(labels)
    rows = Rows(
        input_ids=labels,
        labels=labels,
        image_index=nothing,
        positions=nothing,
        segments=segments,
        image_of_row=torch.tensor([0, 1]),
    )
    row, column, mask = states_on_the_way(rows, seg)
    # Row 0: two masks of conversation 1, whose last word leads nowhere, then the mask of conversation 2.
    # Row 1: conversation 1 has words only.
    assert list(zip(row.tolist(), column.tolist(), mask.tolist(), strict=True)) == [
        (0, 1, 0),
        (0, 2, 0),
        (0, 3, 1),
        (0, 4, 1),
        (0, 7, 2),
        (1, 3, 3),
        (1, 4, 3),
    ]


def test_answers_without_a_seg_have_no_state_that_leads_to_a_mask():
    labels = torch.tensor([[-100, 5, 5]])
    rows = Rows(
        input_ids=labels,
        labels=labels,
        image_index=labels,
        positions=labels,
        segments=torch.tensor([[0, 1, 1]]),
        image_of_row=torch.tensor([0]),
    )
    assert [len(part) for part in states_on_the_way(rows, 9)] == [0, 0, 0]


def test_looking_where_the_target_is_costs_nothing_and_elsewhere_much():
    coverage = torch.tensor([[1.0, 1.0, 0.0, 0.0]])
    assert looking_loss(torch.tensor([[50.0, 50.0, 0.0, 0.0]]), coverage).item() == pytest.approx(0, abs=1e-6)
    assert looking_loss(torch.zeros(1, 4), coverage).item() == pytest.approx(math.log(2))
    assert looking_loss(torch.tensor([[0.0, 0.0, 50.0, 50.0]]), coverage).item() == pytest.approx(50, rel=0.01)
    assert looking_loss(torch.zeros(1, 4), torch.zeros(1, 4)).item() == 0
