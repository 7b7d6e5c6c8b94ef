import torch

from lisa.packing import Rows
from lisa.seg import build_text_hidden_fcs, gather_seg_states, image_of_seg, seg_positions, split_by_image

N, SEG = -100, 9


def rows_of(labels, image_of_row) -> Rows:
    labels = torch.tensor(labels)
    empty = torch.zeros_like(labels)
    return Rows(
        input_ids=labels.clamp_min(0),
        labels=labels,
        image_index=empty - 1,
        positions=empty,
        segments=empty,
        image_of_row=torch.tensor(image_of_row),
    )


# Image 0 says [SEG] once, image 1 never, image 2 three times over two rows.
ROWS = rows_of(
    [[N, N, 4, SEG, 2], [N, N, 4, 5, 2], [N, SEG, 4, SEG, 2], [N, N, N, SEG, 2]],
    image_of_row=[0, 1, 2, 2],
)


def test_before_reads_one_step_before_each_seg():
    positions = seg_positions(ROWS, SEG, "before")
    assert positions.nonzero().tolist() == [[0, 2], [2, 0], [2, 2], [3, 2]]


def test_at_reads_at_each_seg():
    assert seg_positions(ROWS, SEG, "at").nonzero().tolist() == [[0, 3], [2, 1], [2, 3], [3, 3]]


def test_a_seg_that_is_not_learned_is_not_read():
    rows = rows_of([[N, N, N, 2]], image_of_row=[0])
    rows.input_ids[0, 1] = SEG
    assert not seg_positions(rows, SEG, "before").any()


def test_states_come_in_reading_order():
    hidden = torch.arange(4 * 5 * 2).view(4, 5, 2)  # hidden[r, t] = (10 r + 2 t, 10 r + 2 t + 1)
    states = gather_seg_states(hidden, seg_positions(ROWS, SEG, "before"))
    assert states.tolist() == [[4, 5], [20, 21], [24, 25], [34, 35]]


def test_each_seg_belongs_to_the_image_of_its_row():
    assert image_of_seg(ROWS, seg_positions(ROWS, SEG, "before")).tolist() == [0, 2, 2, 2]


def test_split_gives_every_image_its_own_and_empty_ones_nothing():
    groups = split_by_image(torch.tensor([10, 20, 21, 22]), torch.tensor([0, 2, 2, 2]), num_images=4)
    assert [group.tolist() for group in groups] == [[10], [], [20, 21, 22], []]


def test_without_any_seg_everything_is_empty():
    rows = rows_of([[N, 4, 2]], image_of_row=[0])
    positions = seg_positions(rows, SEG, "before")
    assert gather_seg_states(torch.ones(1, 3, 2), positions).shape == (0, 2)
    image_of = image_of_seg(rows, positions)
    assert image_of.shape == (0,)
    assert [g.shape for g in split_by_image(torch.ones(0, 6), image_of, 2)] == [(0, 6), (0, 6)]


def test_text_hidden_fcs_is_linear_relu_linear_under_the_released_names():
    fcs = build_text_hidden_fcs(width=3, prompt_width=2)
    shapes = {name: tuple(p.shape) for name, p in fcs.named_parameters()}
    assert shapes == {"0.0.weight": (3, 3), "0.0.bias": (3,), "0.2.weight": (2, 3), "0.2.bias": (2,)}
    state = torch.tensor([[1.0, -2.0, 0.5]])
    first, second = fcs[0][0], fcs[0][2]
    expected = (state @ first.weight.T + first.bias).clamp_min(0) @ second.weight.T + second.bias
    torch.testing.assert_close(fcs[0](state), expected)
    assert fcs[0](torch.ones(0, 3)).shape == (0, 2)
