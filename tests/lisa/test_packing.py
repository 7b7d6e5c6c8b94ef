from dataclasses import replace

import pytest
import torch
from small_model import ask, picture, unpacked

from lisa.conversation import Conversation
from lisa.packing import common_prefix_length, pack_rows
from lisa.tokenization import EncodedConversation

N = -100


def encoded(ids, labels=None, image_index=None) -> EncodedConversation:
    return EncodedConversation(
        input_ids=torch.tensor(ids),
        labels=torch.tensor(labels if labels is not None else [N] * len(ids)),
        image_index=torch.tensor(image_index if image_index is not None else [-1] * len(ids)),
    )


def test_the_prefix_is_what_all_conversations_begin_with():
    assert common_prefix_length([encoded([1, 7, 7, 4, 5]), encoded([1, 7, 7, 6, 5]), encoded([1, 7, 7, 4, 6])]) == 3


def test_the_prefix_ends_one_token_before_the_first_learned_one():
    # Both read 1 7 8 9 before they differ, but 9 is learned (it is predicted at 8), so 8 is not shared.
    one, two = encoded([1, 7, 8, 9, 2], [N, N, N, 9, 2]), encoded([1, 7, 8, 9, 3], [N, N, N, 9, 3])
    assert common_prefix_length([one, two]) == 2


def test_identical_questions_to_generate_for_leave_each_a_token_of_its_own():
    assert common_prefix_length([encoded([1, 7, 8]), encoded([1, 7, 8])]) == 2
    assert common_prefix_length([encoded([1, 7]), encoded([1, 7, 8])]) == 1


def test_the_same_ids_at_different_image_tokens_are_no_common_prefix():
    one = encoded([1, 0, 0, 4], image_index=[-1, 0, 1, -1])
    two = encoded([1, 0, 0, 4], image_index=[-1, -1, 0, 1])
    assert common_prefix_length([one, two]) == 1


def test_conversations_with_nothing_in_common_have_no_prefix():
    assert common_prefix_length([encoded([4, 5]), encoded([5, 4])]) == 0


@pytest.fixture
def rows():
    """Image 0: 1 7 | 4 5 | 6, learned 5 and 6 (not where the row continues); image 1: a single conversation."""
    first = [encoded([1, 7, 4, 5], [N, N, N, 5]), encoded([1, 7, 6, 3], [N, N, N, 3])]
    return pack_rows([first, [encoded([1, 7, 9])]], packing=True, pad_id=0)


def test_a_packed_row_holds_the_prefix_once_and_positions_restart_after_it(rows):
    assert rows.input_ids.tolist() == [[1, 7, 4, 5, 6, 3], [1, 7, 9, 0, 0, 0]]
    assert rows.labels.tolist() == [[N, N, N, 5, N, 3], [N] * 6]
    assert rows.positions.tolist() == [[0, 1, 2, 3, 2, 3], [0, 1, 2, 0, 0, 0]]
    assert rows.segments.tolist() == [[0, 0, 1, 1, 2, 2], [1, 1, 1, -1, -1, -1]]
    assert rows.image_index.tolist() == [[-1] * 6, [-1] * 6]
    assert rows.image_of_row.tolist() == [0, 1]


def test_a_token_sees_the_prefix_and_what_its_own_conversation_said_before(rows):
    seen = (rows.attention_bias(torch.float32) == 0)[:, 0].int().tolist()
    assert seen[0] == [
        [1, 0, 0, 0, 0, 0],
        [1, 1, 0, 0, 0, 0],
        [1, 1, 1, 0, 0, 0],
        [1, 1, 1, 1, 0, 0],
        [1, 1, 0, 0, 1, 0],
        [1, 1, 0, 0, 1, 1],
    ]


def test_padding_is_seen_by_nothing_else_and_every_token_sees_something(rows):
    bias = rows.attention_bias(torch.bfloat16)
    assert bias.shape == (2, 1, 6, 6)
    assert bias.dtype == torch.bfloat16
    seen = bias[1, 0] == 0
    assert not seen[:3, 3:].any()
    assert seen.any(dim=-1).all()
    assert bias.softmax(-1).isfinite().all()


def test_without_packing_every_conversation_has_a_row_in_reading_order():
    groups = [[encoded([1, 4]), encoded([1, 5, 6])], [], [encoded([1, 7])]]
    rows = pack_rows(groups, packing=False, pad_id=0)
    assert rows.input_ids.tolist() == [[1, 4, 0], [1, 5, 6], [1, 7, 0]]
    assert rows.image_of_row.tolist() == [0, 0, 2]
    assert rows.segments.tolist() == [[1, 1, -1], [1, 1, 1], [1, 1, -1]]


def test_an_image_without_conversations_has_no_row():
    rows = pack_rows([[], [encoded([1, 4]), encoded([1, 5])]], packing=True, pad_id=0)
    assert rows.image_of_row.tolist() == [1]


TALK = [
    # the same question with different answers; a [SEG] first; none; of different lengths; the picture at the end
    [
        ask("Where is it?", "It is [SEG]."),
        ask("Where is it?", "[SEG]."),
        ask("Where is it?", "It is nowhere to be seen."),
        ask("What is the red ball?", "Sure, [SEG] and [SEG]."),
        Conversation.of("Where is the dog?\n<image>", "Sure, [SEG]."),
    ],
    [ask("Where?", "Sure, [SEG].")],
]


def losses_and_gradients(model, processor):
    images = [picture(30, 40, seed=1), picture(50, 20, seed=2)]
    masks = [torch.rand(5, 30, 40).gt(0.5).numpy(), torch.rand(1, 50, 20).gt(0.5).numpy()]
    ignore = [torch.zeros(30, 40).bool().numpy(), torch.zeros(50, 20).bool().numpy()]
    batch = processor(images, TALK, masks=masks, ignore=ignore)
    model.zero_grad()
    terms = model(batch)
    terms["loss"].backward()
    gradients = {name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None}
    return batch, {name: value.item() for name, value in terms.items()}, gradients


def test_packed_losses_and_gradients_are_those_of_separate_rows(small):
    model, processor = small
    torch.manual_seed(0)
    packed_batch, packed, packed_gradients = losses_and_gradients(model, processor)
    torch.manual_seed(0)
    batch, separate, gradients = losses_and_gradients(model, unpacked(processor))
    model.zero_grad()
    assert len(packed_batch.rows.input_ids) == 2
    assert len(batch.rows.input_ids) == 6
    assert packed.keys() == separate.keys() == {"loss", "ce", "bce", "dice"}
    assert packed == pytest.approx(separate, rel=1e-5)
    assert packed_gradients.keys() == gradients.keys()
    for name, gradient in gradients.items():
        torch.testing.assert_close(packed_gradients[name], gradient, rtol=1e-4, atol=1e-5, msg=name)
    assert gradients["vlm.model.multi_modal_projector.linear_1.weight"].abs().max() > 1e-4


def full(ids, count) -> EncodedConversation:
    return replace(encoded(ids), full=count)


def test_where_the_picture_sees_the_question_nothing_is_shared():
    rows = pack_rows([[full([1, 7, 4, 5], 3), full([1, 7, 6], 2)]], packing=True, pad_id=0)
    assert rows.segments.tolist() == [[1, 1, 1, 1, 2, 2, 2]]
    assert rows.full.int().tolist() == [[1, 1, 1, 0, 1, 1, 0]]
    seen = (rows.attention_bias(torch.float32) == 0)[0, 0].int().tolist()
    assert seen == [
        [1, 1, 1, 0, 0, 0, 0],
        [1, 1, 1, 0, 0, 0, 0],
        [1, 1, 1, 0, 0, 0, 0],
        [1, 1, 1, 1, 0, 0, 0],
        [0, 0, 0, 0, 1, 1, 0],
        [0, 0, 0, 0, 1, 1, 0],
        [0, 0, 0, 0, 1, 1, 1],
    ]


def test_rows_without_full_attention_carry_none_of_it(rows):
    assert rows.full is None


def test_positions_of_several_axes_are_those_of_the_conversations():
    places = torch.tensor([[0, 0], [1, 1], [1, 2], [3, 3]])
    one, two = (replace(encoded(ids), positions=places) for ids in ([1, 7, 7, 4], [1, 7, 7, 5]))
    rows = pack_rows([[one, two], [one]], packing=True, pad_id=0)
    assert rows.positions.tolist() == [
        [[0, 0], [1, 1], [1, 2], [3, 3], [3, 3]],
        [[0, 0], [1, 1], [1, 2], [3, 3], [0, 0]],
    ]


def test_packing_makes_the_row_as_short_as_the_prefix_allows(small):
    _, processor = small
    group = [ask("Where is it?", "[SEG]."), ask("Where is the dog?", "[SEG].")]
    one, two = (len(processor.text.encode(conversation)) for conversation in group)
    prefix = common_prefix_length([processor.text.encode(conversation) for conversation in group])
    assert prefix >= 16 + 3  # the picture, its two marks and the beginning of the text
    row = processor([picture(8, 8)], [group]).rows.input_ids
    assert row.shape == (1, one + two - prefix)
