import pytest
import torch

from sam_bridge import Embeddings, build_sam, decode_masks, encode_images


def loop_of_the_package(sam, embeddings, prompts, image_of):
    """One image after the other through the stock prompt encoder and mask decoder; prompts grouped by image."""
    masks, scores = torch.zeros(len(prompts), 16, 16), torch.zeros(len(prompts))
    for image in range(len(embeddings)):
        own = image_of == image
        if not own.any():
            continue
        sparse, dense = sam.prompt_encoder(points=None, boxes=None, masks=None)
        low_res, iou = sam.mask_decoder(
            image_embeddings=embeddings[image][None],
            image_pe=sam.prompt_encoder.get_dense_pe(),
            sparse_prompt_embeddings=torch.cat([sparse.expand(int(own.sum()), -1, -1), prompts[own][:, None]], dim=1),
            dense_prompt_embeddings=dense.expand(int(own.sum()), -1, -1, -1),
            multimask_output=False,
        )
        masks[own], scores[own] = low_res[:, 0], iou[:, 0]
    return masks, scores


@pytest.mark.parametrize("image_of", [[0, 0, 2, 1, 1, 1], [2, 0, 1, 0, 2, 2], [1], [0, 2]])
def test_all_images_in_one_call_are_the_images_one_by_one(sam, image_of):
    generator = torch.Generator().manual_seed(len(image_of))
    embeddings = torch.randn(3, 32, 4, 4, generator=generator)
    prompts = torch.randn(len(image_of), 32, generator=generator)
    image_of = torch.tensor(image_of)
    with torch.no_grad():
        masks, scores = decode_masks(sam, Embeddings(embeddings), prompts, image_of)
        expected_masks, expected_scores = loop_of_the_package(sam, embeddings, prompts, image_of)
    assert masks.shape == (len(prompts), 16, 16)
    torch.testing.assert_close(masks, expected_masks, rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(scores, expected_scores, rtol=1e-5, atol=1e-5)


def in_one_call(sam, embeddings, prompts, image_of):
    return decode_masks(sam, Embeddings(embeddings), prompts, image_of)


def test_gradients_reach_prompts_and_embeddings_as_in_the_loop(sam):
    embeddings, prompts = torch.randn(2, 32, 4, 4), torch.randn(3, 32)
    gradients = []
    for decode in (in_one_call, loop_of_the_package):
        own = embeddings.clone().requires_grad_(True), prompts.clone().requires_grad_(True)
        masks, _ = decode(sam, *own, torch.tensor([0, 1, 1]))
        masks.square().sum().backward()
        gradients.append([tensor.grad for tensor in own])
    for one, other in zip(*gradients, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-3, atol=1e-5)
        assert one.abs().max() > 0
    sam.zero_grad()


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_no_prompts_give_no_masks(sam, dtype):
    masks, scores = decode_masks(
        sam,
        Embeddings(torch.randn(2, 32, 4, 4, dtype=dtype)),
        torch.zeros(0, 32, dtype=dtype),
        torch.zeros(0, dtype=torch.long),
    )
    assert (masks.shape, scores.shape) == ((0, 16, 16), (0,))
    assert masks.dtype == scores.dtype == dtype


def test_no_prompts_and_no_images_give_no_masks(sam):
    embeddings = encode_images(sam, torch.zeros(0, 3, 64, 64))
    assert embeddings.image.shape == (0, 32, 4, 4)
    masks, _ = decode_masks(sam, embeddings, torch.zeros(0, 32), torch.zeros(0, dtype=torch.long))
    assert masks.shape == (0, 16, 16)


def test_positions_are_those_of_the_package(sam):
    from sam_bridge.decode import dense_positions

    torch.testing.assert_close(dense_positions(sam.prompt_encoder), sam.prompt_encoder.get_dense_pe())


def test_positions_of_a_picture_that_is_not_square_are_those_of_the_package():
    from segment_anything.modeling import PromptEncoder

    from sam_bridge.decode import dense_positions

    encoder = PromptEncoder(embed_dim=8, image_embedding_size=(3, 5), input_image_size=(48, 80), mask_in_chans=4)
    torch.testing.assert_close(dense_positions(encoder), encoder.get_dense_pe())


def test_embeddings_are_those_of_the_package(sam):
    pixels = torch.randn(3, 3, 64, 64)
    with torch.no_grad():
        expected = torch.cat([sam.image_encoder(one[None]) for one in pixels])
        torch.testing.assert_close(encode_images(sam, pixels).image, expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_a_sam_of_half_precision_takes_pixels_of_fp32_and_comes_close(sam, size, dtype):
    half = build_sam(size)
    half.load_state_dict(sam.state_dict())
    half.to(dtype)
    pixels, prompts = torch.randn(2, 3, 64, 64), torch.randn(3, 32)
    image_of = torch.tensor([0, 1, 1])
    with torch.no_grad():
        exact, _ = decode_masks(sam, encode_images(sam, pixels), prompts, image_of)
        masks, scores = decode_masks(half, encode_images(half, pixels), prompts.to(dtype), image_of)
    assert masks.dtype == scores.dtype == dtype
    assert (masks.float() - exact).abs().max() < 0.1 * exact.abs().max()


def test_more_masks_than_there_is_room_for_are_decoded_in_several_calls(sam, monkeypatch):
    from sam_bridge import decode

    embeddings, prompts = Embeddings(torch.randn(2, 32, 4, 4)), torch.randn(7, 32)
    image_of = torch.tensor([0, 1, 1, 0, 1, 0, 0])
    calls = []
    whole = type(sam).decode

    def counted(self, embeddings, prompts, *rest):
        calls.append(len(prompts))
        return whole(self, embeddings, prompts, *rest)

    monkeypatch.setattr(type(sam), "decode", counted)
    with torch.no_grad():
        expected = decode_masks(sam, embeddings, prompts, image_of)
        monkeypatch.setattr(decode, "CALL_BYTES", 3 * decode.DECODER_COPIES * 32 * 4 * 4 * 4)
        found = decode_masks(sam, embeddings, prompts, image_of)
    assert calls == [7, 3, 3, 1]
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-5)
