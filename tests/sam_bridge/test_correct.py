"""Clicks on masks: what goes into SAM is what the package itself makes of points and a mask."""

import pytest
import torch

from sam_bridge import Embeddings, ImageSize, build_sam
from sam_bridge.correct import Clicks, correct_masks, embed_points, to_square


def clicks(*points: tuple[float, float, bool]) -> Clicks:
    """On one mask."""
    return Clicks(
        points=torch.tensor([point[:2] for point in points]).view(1, -1, 2),
        inside=torch.tensor([[point[2] for point in points]], dtype=torch.bool).view(1, -1),
    )


def inputs(seed: int, number: int = 1) -> tuple[Embeddings, torch.Tensor, torch.Tensor]:
    """Image embeddings (S, E, g, g), prompts (S, E), low-res logits (S, 4g, 4g)."""
    generator = torch.Generator().manual_seed(seed)
    image, *rest = (torch.randn(number, *shape, generator=generator) for shape in ((32, 4, 4), (32,), (16, 16)))
    return Embeddings(image), *rest


def by_the_package(sam, embedding, prompt, before, points, labels):
    """One mask; points are given in whole pixels, as the package counts them."""
    sparse, dense = sam.prompt_encoder(
        points=(points.float()[None], labels.float()[None]), boxes=None, masks=before[None, None]
    )
    low_res, scores = sam.mask_decoder(
        image_embeddings=embedding[None],
        image_pe=sam.prompt_encoder.get_dense_pe(),
        sparse_prompt_embeddings=torch.cat([prompt[None, None], sparse], dim=1),
        dense_prompt_embeddings=dense,
        multimask_output=False,
    )
    return low_res[0, 0], scores[0, 0]


@pytest.mark.parametrize(("masks", "points"), [(1, 1), (1, 3), (3, 2), (2, 0)])
def test_points_and_masks_are_encoded_as_by_the_package(sam, masks, points):
    embeddings, prompts, before = inputs(points, masks)
    generator = torch.Generator().manual_seed(masks)
    pixels = torch.randint(0, 64, (masks, points, 2), generator=generator)
    labels = torch.randint(0, 2, (masks, points), generator=generator)
    with torch.no_grad():
        given = Clicks(points=pixels + 0.5, inside=labels.bool())
        low_res, scores = correct_masks(sam, embeddings, prompts, given, before)
        for index in range(masks):
            one = (embeddings.image[index], prompts[index], before[index], pixels[index], labels[index])
            expected, expected_score = by_the_package(sam, *one)
            torch.testing.assert_close(low_res[index], expected, rtol=1e-5, atol=1e-5)
            torch.testing.assert_close(scores[index], expected_score, rtol=1e-5, atol=1e-5)


def test_every_part_of_the_prompt_counts(sam):
    embeddings, prompts, before = inputs(0)
    others = inputs(1)
    with torch.no_grad():
        low_res, _ = correct_masks(sam, embeddings, prompts, clicks((9.0, 9.0, True)), before)
        for changed in (
            (embeddings, prompts, clicks((40.0, 9.0, True)), before),
            (embeddings, prompts, clicks((9.0, 9.0, False)), before),
            (embeddings, prompts, clicks(), before),
            (embeddings, prompts, clicks((9.0, 9.0, True)), others[2]),
            (embeddings, others[1], clicks((9.0, 9.0, True)), before),
            (others[0], prompts, clicks((9.0, 9.0, True)), before),
        ):
            assert not torch.allclose(correct_masks(sam, *changed)[0], low_res, atol=1e-4)


def test_a_click_lands_where_the_resized_picture_lies_in_the_square():
    size = ImageSize.of((100, 200), 64)  # resized to 32 x 64, the lower half is padding
    points = torch.tensor([[0.0, 0.0], [200.0, 100.0], [50.0, 75.0]])
    assert to_square(points, size).tolist() == [[0, 0], [64, 32], [16, 24]]


def test_no_click_still_fills_up_the_prompt(sam):
    assert torch.equal(embed_points(sam.prompt_encoder, clicks())[0], sam.prompt_encoder.not_a_point_embed.weight)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_a_sam_of_half_precision_comes_close(sam, size, dtype):
    half = build_sam(size)
    half.load_state_dict(sam.state_dict())
    half.to(dtype)
    embeddings, prompts, before = inputs(2)
    given = clicks((9.0, 9.0, True), (50.0, 20.0, False))
    with torch.no_grad():
        exact, _ = correct_masks(sam, embeddings, prompts, given, before)
        low_res, scores = correct_masks(
            half, Embeddings(embeddings.image.to(dtype)), prompts.to(dtype), given, before.to(dtype)
        )
    assert low_res.dtype == scores.dtype == dtype
    assert (low_res.float() - exact).abs().max() < 0.1 * exact.abs().max()
