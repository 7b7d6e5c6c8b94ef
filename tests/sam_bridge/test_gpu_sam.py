"""Every kind of mask model gives on a GPU what it gives on the CPU."""

import copy

import pytest
import torch

from sam_bridge import Clicks, correct_masks, decode_masks, encode_images

pytestmark = pytest.mark.gpu

IMAGE_OF = torch.tensor([2, 0, 1, 0, 0])
TOLERANCE = {torch.float32: 1e-4, torch.bfloat16: 0.1, torch.float16: 2e-2}
"""Relative difference to the CPU in fp32."""


def relative(one, other):
    return ((one.float().cpu() - other).norm() / other.norm()).item()


@pytest.mark.parametrize("dtype", TOLERANCE, ids=str)
@torch.no_grad()
def test_embeddings_masks_and_corrections(device, decoder, dtype):
    generator = torch.Generator().manual_seed(1)
    side = decoder.size.image_size
    pixels = torch.randn(3, 3, side, side, generator=generator)
    prompts = torch.randn(5, decoder.size.prompt_width, generator=generator)
    clicks = Clicks(points=torch.rand(5, 2, 2, generator=generator) * side, inside=torch.tensor([[True, False]] * 5))
    on_device = copy.deepcopy(decoder).to(device, dtype)
    matrix = "prompt_encoder.pe_layer.positional_encoding_gaussian_matrix"
    on_device.get_submodule("prompt_encoder.pe_layer").to(torch.float32)  # as models keep it
    assert on_device.get_buffer(matrix).dtype == torch.float32
    wanted, given = encode_images(decoder, pixels), encode_images(on_device, pixels.to(device))
    for one, another in zip(given.tensors, wanted.tensors, strict=True):
        assert relative(one, another) < TOLERANCE[dtype]
    low_res, scores = decode_masks(decoder, wanted, prompts, IMAGE_OF)
    low_res_given, scores_given = decode_masks(on_device, given, prompts.to(device, dtype), IMAGE_OF.to(device))
    assert relative(low_res_given, low_res) < 3 * TOLERANCE[dtype]
    assert relative(scores_given, scores) < 3 * TOLERANCE[dtype]
    corrected, _ = correct_masks(decoder, wanted.index_select(IMAGE_OF), prompts, clicks, low_res)
    on_device_clicks = Clicks(points=clicks.points.to(device), inside=clicks.inside.to(device))
    own = given.index_select(IMAGE_OF.to(device))
    corrected_given, _ = correct_masks(on_device, own, prompts.to(device, dtype), on_device_clicks, low_res_given)
    assert relative(corrected_given, corrected) < 5 * TOLERANCE[dtype]
