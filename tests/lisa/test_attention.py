"""Attention in blocks against one full matrix of scores, which the bias of the rows describes."""

from dataclasses import replace

import pytest
import torch
from transformers import LlamaConfig, LlamaModel

from lisa.attention import Layout, attend, knows_layouts, read_fused, read_plainly
from lisa.packing import Rows, pack_rows
from lisa.tokenization import EncodedConversation

WIDTH, HEADS = 32, 4


def conversation(*ids: int) -> EncodedConversation:
    length = len(ids)
    nothing = torch.full((length,), -100)
    return EncodedConversation(input_ids=torch.tensor(ids), labels=nothing, image_index=torch.full((length,), -1))


IMAGES = [
    [conversation(1, 2, 3, 4, 5), conversation(1, 2, 3, 6), conversation(1, 2, 3, 7, 8, 9, 10)],  # prefix 1 2 3
    [conversation(9, 8, 7)],  # on its own
    [conversation(4, 5), conversation(6, 5, 4)],  # no prefix
]


@pytest.fixture(params=[(True, 0), (False, 0), (True, 2)], ids=["packed", "unpacked", "full attention at first"])
def rows(request) -> Rows:
    packing, full = request.param
    return pack_rows([[replace(one, full=full) for one in group] for group in IMAGES], packing=packing, pad_id=0)


def full(query, key, value, rows: Rows) -> torch.Tensor:
    """(R, H, L, d) each -> (R, H, L, d)."""
    scores = query @ key.transpose(2, 3) * 0.5 + rows.attention_bias(query.dtype)
    return scores.softmax(-1) @ value


@pytest.mark.parametrize("read", [read_fused, read_plainly])
def test_blocks_give_what_a_full_matrix_gives_and_the_same_gradients(rows, read):
    torch.manual_seed(0)
    shape = (*rows.input_ids.shape, HEADS, 8)
    tensors = [torch.randn(shape, dtype=torch.float64, requires_grad=True) for _ in range(3)]
    layout = Layout.of(rows)
    expected = full(*(x.transpose(1, 2) for x in tensors), rows).transpose(1, 2).flatten(0, 1)[layout.places]
    line = [x.flatten(0, 1)[layout.places].transpose(0, 1) for x in tensors]
    given = attend(*line, layout, scaling=0.5, read=read)
    torch.testing.assert_close(given, expected, rtol=0, atol=1e-6)  # its softmax is in fp32
    weights = torch.randn_like(expected)
    ours = torch.autograd.grad((given * weights).sum(), tensors)
    theirs = torch.autograd.grad((expected * weights).sum(), tensors)
    for one, other in zip(ours, theirs, strict=True):
        torch.testing.assert_close(one, other, rtol=0, atol=1e-6)


def test_every_token_stands_in_the_line_once_and_no_padding(rows):
    layout = Layout.of(rows)
    assert sorted(layout.places.tolist()) == (rows.segments.flatten() >= 0).nonzero()[:, 0].tolist()
    in_rows = sum(row.allowed.shape[1] for row in layout.shared)
    alone = layout.alone.own.flatten()[layout.alone.kept]
    assert alone.tolist() == list(range(len(layout.places) - in_rows))


def test_what_shares_a_prefix_stands_before_what_does_not():
    layout = Layout.of(pack_rows([IMAGES[1], IMAGES[0]], packing=True, pad_id=0))
    assert [(row.prefix, row.allowed.shape) for row in layout.shared] == [(3, (7, 10))]
    assert layout.places.tolist() == [*range(10, 20), 0, 1, 2]  # rows are 10 long


def test_a_token_sees_the_prefix_and_what_came_before_in_its_own_conversation():
    (row,) = Layout.of(pack_rows([IMAGES[0]], packing=True, pad_id=0)).shared
    seen = ["".join("x" if allowed else "." for allowed in query) for query in row.allowed]
    assert seen == [
        "xxxx......",
        "xxxxx.....",
        "xxx..x....",
        "xxx...x...",
        "xxx...xx..",
        "xxx...xxx.",
        "xxx...xxxx",
    ]


@pytest.fixture(params=[("eager", 4), ("sdpa", 4), ("sdpa", 2)], ids=["eager", "sdpa", "grouped heads"])
def llama(request) -> LlamaModel:
    name, key_heads = request.param
    config = LlamaConfig(
        vocab_size=16,
        hidden_size=WIDTH,
        intermediate_size=48,
        num_hidden_layers=2,
        num_attention_heads=HEADS,
        num_key_value_heads=key_heads,
        attn_implementation=name,
    )
    torch.manual_seed(1)
    return LlamaModel(config).eval()


def line_of(model: LlamaModel, rows: Rows) -> torch.Tensor:
    layout = Layout.of(rows)
    ids, positions = (x.flatten()[layout.places][None] for x in (rows.input_ids, rows.positions))
    model.config._attn_implementation = knows_layouts(model.config._attn_implementation)
    return model(input_ids=ids, position_ids=positions, use_cache=False, layout=layout).last_hidden_state[0]


def rows_of(model: LlamaModel, rows: Rows) -> torch.Tensor:
    bias = rows.attention_bias(torch.float32)
    hidden = model(
        input_ids=rows.input_ids, attention_mask=bias, position_ids=rows.positions, use_cache=False
    ).last_hidden_state
    return hidden.flatten(0, 1)[Layout.of(rows).places]


@torch.no_grad()
def test_a_model_of_transformers_gives_the_same_states_with_a_line_and_with_rows(llama, rows):
    expected = rows_of(llama, rows)
    torch.testing.assert_close(line_of(llama, rows), expected, rtol=0, atol=1e-5)
    torch.testing.assert_close(rows_of(llama, rows), expected, rtol=0, atol=1e-6)  # as before, without a layout


def test_layers_that_are_computed_again_in_the_backward_pass_find_the_same_attention(llama, rows):
    plain = line_of(llama, rows).square().sum()
    wanted = torch.autograd.grad(plain, list(llama.parameters()))
    llama.train()
    llama.gradient_checkpointing_enable({"use_reentrant": False})
    again = torch.autograd.grad(line_of(llama, rows).square().sum(), list(llama.parameters()))
    for one, other in zip(wanted, again, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-5, atol=1e-6)


def test_blocks_are_computed_in_bf16_under_autocast(llama, rows):
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
        expected, given = rows_of(llama, rows), line_of(llama, rows)
    torch.testing.assert_close(given, expected, rtol=0.05, atol=0.05)


def test_a_name_is_made_to_know_layouts_once():
    assert knows_layouts(knows_layouts("sdpa")) == knows_layouts("sdpa") == "packed_sdpa"
