"""SAM's image encoder attends as the package does, only in another order."""

import copy

import pytest
import torch

from sam_bridge import SAM_PRESETS, attention, build_sam, encode_images
from sam_bridge.attention import FastAttention, _fused, use_package_attention


def as_the_package(sam):
    """The same SAM with the package's own attention."""
    other = copy.deepcopy(sam)
    use_package_attention(other.image_encoder)
    return other


@pytest.fixture
def restless(sam):
    """A SAM whose relative positions matter: at the start they are all zero."""
    return copy.deepcopy(sam)


@pytest.mark.parametrize("piece", [1, 3000, 9000, 4 << 20])
def test_embeddings_are_the_packages_whatever_the_size_of_the_pieces(restless, piece, monkeypatch):
    monkeypatch.setattr(attention, "PIECE", piece)
    side = restless.image_encoder.img_size
    pixels = torch.randn(3, 3, side, side)
    with torch.no_grad():
        ours, theirs = encode_images(restless, pixels).image, encode_images(as_the_package(restless), pixels).image
    torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-4)


def test_the_fused_attention_of_a_gpu_gives_the_same(restless, monkeypatch):
    monkeypatch.setattr(attention, "_in_pieces", _fused)
    side = restless.image_encoder.img_size
    pixels = torch.randn(2, 3, side, side)
    with torch.no_grad():
        ours, theirs = encode_images(restless, pixels).image, encode_images(as_the_package(restless), pixels).image
    torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-4)


def test_gradients_are_the_packages(restless):
    side = restless.image_encoder.img_size
    pixels = torch.randn(2, 3, side, side)
    other = as_the_package(restless)
    for sam in (restless, other):
        encode_images(sam, pixels).image.square().mean().backward()
    expected = dict(other.image_encoder.named_parameters())
    for name, one in restless.image_encoder.named_parameters():
        torch.testing.assert_close(one.grad, expected[name].grad, rtol=1e-3, atol=1e-5)


def test_the_parameters_keep_their_names():
    tiny = build_sam(SAM_PRESETS["tiny"])
    assert all(isinstance(block.attn, FastAttention) for block in tiny.image_encoder.blocks)
    assert tiny.state_dict().keys() == as_the_package(tiny).state_dict().keys()
