import pytest
import torch

from sam_bridge.stem import ConvStem, ResidualConv


def test_the_stem_gives_one_state_for_each_patch():
    stem = ConvStem([8, 16, 16], width=32, patch_size=8)
    assert stem(torch.zeros(2, 3, 32, 64)).shape == (2, 32, 4, 8)
    assert stem.weight is stem[-1].weight


def test_the_residual_block_begins_as_the_identity():
    x = torch.randn(1, 16, 5, 5)
    block = ResidualConv(16)
    block.conv_2.bias.data.zero_()
    torch.testing.assert_close(block(x), x)


def test_widths_that_do_not_make_the_patch_are_refused():
    with pytest.raises(ValueError, match="2 stem_widths halve a picture to patches of 4 pixels, but patch_size is 8"):
        ConvStem([8, 16], width=32, patch_size=8)
