"""Clicks on a mask: what goes into SAM is what the package itself makes of points and a mask."""

import pytest
import torch

from sam_bridge import ImageSize, build_sam
from sam_bridge.correct import Clicks, correct_mask, embed_points, to_square

SQUARE = ImageSize(original=(64, 64), resized=(64, 64))


def clicks(*points: tuple[float, float, bool]) -> Clicks:
    return Clicks(
        points=torch.tensor([point[:2] for point in points]).view(-1, 2),
        inside=torch.tensor([point[2] for point in points], dtype=torch.bool),
    )


def inputs(seed: int) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Image embedding (1, E, g, g), prompt (E,), low-res logits (4g, 4g)."""
    generator = torch.Generator().manual_seed(seed)
    return tuple(torch.randn(*shape, generator=generator) for shape in ((1, 32, 4, 4), (32,), (16, 16)))


def by_the_package(sam, embedding, prompt, before, points, labels):
    """points are given in whole pixels, as the package counts them."""
    sparse, dense = sam.prompt_encoder(
        points=(torch.tensor([points]).float().view(1, -1, 2), torch.tensor([labels]).float().view(1, -1)),
        boxes=None,
        masks=before[None, None],
    )
    low_res, scores = sam.mask_decoder(
        image_embeddings=embedding,
        image_pe=sam.prompt_encoder.get_dense_pe(),
        sparse_prompt_embeddings=torch.cat([prompt[None, None], sparse], dim=1),
        dense_prompt_embeddings=dense,
        multimask_output=False,
    )
    return low_res[0, 0], scores[0, 0]


@pytest.mark.parametrize("points", [[(5, 60)], [(0, 0), (63, 31), (20, 40)]])
def test_points_and_mask_are_encoded_as_by_the_package(sam, points):
    embedding, prompt, before = inputs(len(points))
    labels = [index % 2 for index in range(len(points))]
    given = clicks(*((x + 0.5, y + 0.5, bool(label)) for (x, y), label in zip(points, labels, strict=True)))
    with torch.no_grad():
        low_res, score = correct_mask(sam, embedding, prompt, given, before, SQUARE)
        expected, expected_score = by_the_package(sam, embedding, prompt, before, points, labels)
    assert low_res.shape == (16, 16)
    torch.testing.assert_close(low_res, expected, rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(score, expected_score, rtol=1e-5, atol=1e-5)


def test_every_part_of_the_prompt_counts(sam):
    embedding, prompt, before = inputs(0)
    other = inputs(1)
    with torch.no_grad():
        low_res, _ = correct_mask(sam, embedding, prompt, clicks((9.0, 9.0, True)), before, SQUARE)
        for changed in (
            (embedding, prompt, clicks((40.0, 9.0, True)), before),
            (embedding, prompt, clicks((9.0, 9.0, False)), before),
            (embedding, prompt, clicks(), before),
            (embedding, prompt, clicks((9.0, 9.0, True)), other[2]),
            (embedding, other[1], clicks((9.0, 9.0, True)), before),
            (other[0], prompt, clicks((9.0, 9.0, True)), before),
        ):
            assert not torch.allclose(correct_mask(sam, *changed, SQUARE)[0], low_res, atol=1e-4)


def test_a_click_lands_where_the_resized_picture_lies_in_the_square():
    size = ImageSize.of((100, 200), 64)  # resized to 32 x 64, the lower half is padding
    points = torch.tensor([[0.0, 0.0], [200.0, 100.0], [50.0, 75.0]])
    assert to_square(points, size).tolist() == [[0, 0], [64, 32], [16, 24]]


def test_no_click_still_fills_up_the_prompt(sam):
    sparse = embed_points(sam.prompt_encoder, torch.zeros(0, 2), torch.zeros(0, dtype=torch.bool))
    assert torch.equal(sparse, sam.prompt_encoder.not_a_point_embed.weight)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_a_sam_of_half_precision_comes_close(sam, size, dtype):
    half = build_sam(size)
    half.load_state_dict(sam.state_dict())
    half.to(dtype)
    embedding, prompt, before = inputs(2)
    given = clicks((9.0, 9.0, True), (50.0, 20.0, False))
    with torch.no_grad():
        exact, _ = correct_mask(sam, embedding, prompt, given, before, SQUARE)
        low_res, score = correct_mask(half, embedding.to(dtype), prompt, given, before.to(dtype), SQUARE)
    assert low_res.dtype == score.dtype == dtype
    assert (low_res.float() - exact).abs().max() < 0.1 * exact.abs().max()
