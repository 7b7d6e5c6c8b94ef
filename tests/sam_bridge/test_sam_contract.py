"""What every kind of mask model must do, whatever it is made of."""

import copy
from dataclasses import replace

import numpy as np
import pytest
import torch

from sam_bridge import (
    EmbeddingCache,
    build_sam,
    decode_masks,
    encode_images,
    load_sam_weights,
    masks_to_low_res,
    prepare_pixels,
    to_original_size,
)
from sam_bridge.decode import dense_positions

IMAGE_OF = [2, 0, 1, 0, 0]
CLOSE = {"rtol": 1e-5, "atol": 1e-5}


def some(sam, number=3):
    """Pixels of pictures, and five prompts about them."""
    generator = torch.Generator().manual_seed(1)
    side = sam.size.image_size
    pixels = torch.randn(number, 3, side, side, generator=generator)
    return pixels, torch.randn(5, sam.size.prompt_width, generator=generator), torch.tensor(IMAGE_OF)


def masks_of(sam, pixels, prompts, image_of):
    return decode_masks(sam, encode_images(sam, pixels), prompts, image_of)


@torch.no_grad()
def test_shapes_are_those_that_the_size_tells(decoder):
    pixels, prompts, image_of = some(decoder)
    embeddings = encode_images(decoder, pixels)
    assert tuple(tuple(tensor.shape[1:]) for tensor in embeddings.tensors) == decoder.size.embedding_shapes
    assert embeddings.image.shape == (3, 32, 4, 4)
    assert len(embeddings) == 3
    low_res, scores = decode_masks(decoder, embeddings, prompts, image_of)
    assert (low_res.shape, scores.shape) == ((5, 16, 16), (5,))
    assert low_res.std(dim=0).min() > 1e-3  # every prompt has a mask of its own


@torch.no_grad()
def test_many_pictures_in_one_call_are_the_pictures_one_by_one(decoder):
    pixels, prompts, image_of = some(decoder)
    low_res, scores = masks_of(decoder, pixels, prompts, image_of)
    for k, image in enumerate(IMAGE_OF):
        one = masks_of(decoder, pixels[image : image + 1], prompts[k : k + 1], torch.tensor([0]))
        torch.testing.assert_close(low_res[k : k + 1], one[0], rtol=1e-4, atol=1e-4)
        torch.testing.assert_close(scores[k : k + 1], one[1], rtol=1e-4, atol=1e-4)


@torch.no_grad()
def test_masks_are_those_of_what_it_wraps_called_by_hand(decoder, tmp_path):
    by_hand = {"sam": package_sam, "sam_hq": transformers_hq, "sam2": transformers_sam2}[decoder.size.family]
    pixels, prompts, image_of = some(decoder)
    ours, run = by_hand(decoder, tmp_path)
    low_res, scores = masks_of(ours, pixels, prompts, image_of)
    for k, image in enumerate(IMAGE_OF):
        wanted, score = run(pixels[image : image + 1], prompts[k])
        if wanted is not None:
            torch.testing.assert_close(low_res[k], wanted, **CLOSE)
        torch.testing.assert_close(scores[k], score, **CLOSE)


def package_sam(sam, folder):
    """`segment_anything`, unmodified, picture by picture."""

    def run(pixels, prompt):
        sparse, dense = sam.prompt_encoder(points=None, boxes=None, masks=None)
        low_res, iou = sam.mask_decoder(
            image_embeddings=sam.image_encoder(pixels),
            image_pe=sam.prompt_encoder.get_dense_pe(),
            sparse_prompt_embeddings=torch.cat([sparse, prompt[None, None]], dim=1),
            dense_prompt_embeddings=dense,
            multimask_output=False,
        )
        return low_res[0, 0], iou[0, 0]

    return sam, run


def transformers_sam2(sam, folder):
    """transformers' Sam2Model, from whose folder ours is loaded."""
    from transformers import Sam2Config, Sam2MaskDecoderConfig, Sam2Model, Sam2PromptEncoderConfig

    from sam_bridge.sam2 import _vision_config

    size = sam.size
    config = Sam2Config(
        vision_config=_vision_config(size),
        prompt_encoder_config=Sam2PromptEncoderConfig(hidden_size=32, image_size=64),
        mask_decoder_config=Sam2MaskDecoderConfig(
            hidden_size=32,
            mlp_dim=size.decoder_mlp,
            num_attention_heads=size.decoder_heads,
            iou_head_hidden_dim=size.iou_width,
            dynamic_multimask_via_stability=False,
        ),
    )
    theirs = randomly(Sam2Model(config))
    theirs.save_pretrained(folder)

    def run(pixels, prompt):
        features = theirs.get_image_features(pixels).fpn_hidden_states
        features[-1] = features[-1] + theirs.no_memory_embedding
        shapes = theirs.backbone_feature_sizes
        *fine, image = (f.permute(1, 2, 0).view(1, -1, *shape) for f, shape in zip(features, shapes, strict=True))
        low_res, scores, _, _ = theirs.mask_decoder(
            image_embeddings=image,
            image_positional_embeddings=theirs.get_image_wide_positional_embeddings(),
            sparse_prompt_embeddings=prompt.view(1, 1, 1, -1),
            dense_prompt_embeddings=theirs.prompt_encoder.no_mask_embed.weight.view(1, -1, 1, 1).expand_as(image),
            multimask_output=False,
            high_resolution_features=fine,
        )
        return low_res[0, 0, 0], scores[0, 0, 0]

    return loaded(size, folder), run


def transformers_hq(sam, folder):
    """transformers' SamHQModel, from whose folder ours is loaded.

    Its scores only: its masks are wrong (sam_bridge/sam_hq.py), those of the authors are in test_names.py.
    """
    from transformers import (
        SamHQConfig,
        SamHQMaskDecoderConfig,
        SamHQModel,
        SamHQPromptEncoderConfig,
        SamHQVisionConfig,
    )

    size = sam.size
    config = SamHQConfig(
        vision_config=SamHQVisionConfig(
            hidden_size=size.width,
            output_channels=32,
            num_hidden_layers=size.depth,
            num_attention_heads=size.heads,
            image_size=64,
            window_size=size.window,
            global_attn_indexes=list(size.global_blocks),
            num_pos_feats=16,
        ),
        prompt_encoder_config=SamHQPromptEncoderConfig(hidden_size=32, image_size=64),
        mask_decoder_config=SamHQMaskDecoderConfig(
            hidden_size=32,
            mlp_dim=size.decoder_mlp,
            num_attention_heads=size.decoder_heads,
            iou_head_hidden_dim=size.iou_width,
            vit_dim=size.width,
            layer_norm_eps=1e-5,
        ),
    )
    theirs = randomly(SamHQModel(config))
    theirs.save_pretrained(folder)

    def run(pixels, prompt):
        seen = theirs.vision_encoder(pixels)
        _, scores = theirs.mask_decoder(
            image_embeddings=seen.last_hidden_state,
            image_positional_embeddings=theirs.get_image_wide_positional_embeddings(),
            sparse_prompt_embeddings=prompt.view(1, 1, 1, -1),
            dense_prompt_embeddings=theirs.prompt_encoder.no_mask_embed.weight.view(1, -1, 1, 1).expand(-1, -1, 4, 4),
            multimask_output=False,
            hq_token_only=False,
            intermediate_embeddings=seen.intermediate_embeddings,
        )
        return None, scores[0, 0, 0]

    return loaded(size, folder), run


def randomly(model):
    """Positions are a buffer or a parameter; every weight is drawn."""
    generator = torch.Generator().manual_seed(2)
    for name, tensor in model.state_dict().items():
        if tensor.ndim == 1:
            tensor.add_(0.1 * torch.randn(tensor.shape, generator=generator))
        elif "positional_embedding" not in name:
            tensor.copy_(torch.randn(tensor.shape, generator=generator) * max(1, tensor[0].numel()) ** -0.5)
    return model.eval()


def loaded(size, folder):
    sam = build_sam(size)
    load_sam_weights(sam, folder)
    return sam.eval()


def test_no_prompts_and_no_pictures_give_nothing(decoder):
    pixels, prompts, image_of = some(decoder)
    embeddings = encode_images(decoder, pixels[:0])
    assert tuple(tuple(tensor.shape) for tensor in embeddings.tensors) == tuple(
        (0, *shape) for shape in decoder.size.embedding_shapes
    )
    for seen in (embeddings, encode_images(decoder, pixels)):
        low_res, scores = decode_masks(decoder, seen, prompts[:0], image_of[:0])
        assert (low_res.shape, scores.shape) == ((0, 16, 16), (0,))


@torch.no_grad()
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_weights_of_half_precision_take_pixels_of_fp32_and_come_close(decoder, dtype):
    half = copy.deepcopy(decoder).to(dtype)
    pixels, prompts, image_of = some(decoder)
    exact, _ = masks_of(decoder, pixels, prompts, image_of)
    low_res, scores = masks_of(half, pixels, prompts.to(dtype), image_of)
    assert low_res.dtype == scores.dtype == half.dtype == dtype
    assert (low_res.float() - exact).abs().max() < 0.1 * exact.abs().max()


def test_gradients_reach_prompts_and_all_that_learns(decoder):
    sam = copy.deepcopy(decoder).train()
    pixels, prompts, image_of = some(sam)
    prompts.requires_grad_(True)
    low_res, scores = masks_of(sam, pixels, prompts, image_of)
    (low_res.square().mean() + scores.square().mean()).backward()
    assert (prompts.grad.abs().amax(1) > 0).all()
    # Whether there is anything, and other masks than the one: neither is asked for.
    unused = ("pred_obj_score_head", *(f"output_hypernetworks_mlps.{k}." for k in (1, 2, 3)))
    for part in (sam.image_encoder, sam.mask_decoder):
        silent = [name for name, p in part.named_parameters() if p.grad is None]
        assert [name for name in silent if not name.startswith(unused)] == []
    assert sam.prompt_encoder.no_mask_embed.weight.grad.abs().max() > 0


def test_a_frozen_image_encoder_keeps_no_graph_and_the_decoder_learns(decoder):
    sam = copy.deepcopy(decoder)
    sam.image_encoder.requires_grad_(False)
    pixels, prompts, image_of = some(sam)
    embeddings = encode_images(sam, pixels)
    assert not any(tensor.requires_grad for tensor in embeddings.tensors)
    low_res, _ = decode_masks(sam, embeddings, prompts, image_of)
    low_res.sum().backward()
    assert sam.mask_decoder.mask_tokens.weight.grad.abs().max() > 0
    assert all(parameter.grad is None for parameter in sam.image_encoder.parameters())


@torch.no_grad()
def test_all_that_is_between_pixels_and_embeddings_is_the_image_encoder(decoder):
    other = randomly_changed(decoder, "mask_decoder")
    pixels = some(decoder)[0]
    for one, same in zip(encode_images(decoder, pixels).tensors, encode_images(other, pixels).tensors, strict=True):
        assert torch.equal(one, same)


def randomly_changed(sam, part):
    other = copy.deepcopy(sam)
    for parameter in getattr(other, part).parameters():
        parameter.add_(torch.randn_like(parameter))
    return other


@torch.no_grad()
def test_every_embedding_is_used_in_the_masks(decoder):
    pixels, prompts, image_of = some(decoder)
    embeddings = encode_images(decoder, pixels)
    exact, _ = decode_masks(decoder, embeddings, prompts, image_of)
    for k in range(len(embeddings.tensors)):
        numbers = iter(range(len(embeddings.tensors)))
        changed = embeddings.map(lambda tensor, k=k, numbers=numbers: tensor + (next(numbers) == k) * tensor.flip(1))
        assert (decode_masks(decoder, changed, prompts, image_of)[0] - exact).abs().max() > 1e-3


@pytest.mark.parametrize("shape", [(64, 64), (48, 64), (37, 101), (101, 37), (1, 9), (200, 3)])
def test_pictures_of_any_shape_go_in_and_masks_come_back_to_it(decoder, shape):
    image = np.random.default_rng(0).integers(0, 256, (*shape, 3), dtype=np.uint8)
    pixels, size = prepare_pixels(image, decoder.size)
    assert pixels.shape == (3, 64, 64)
    assert pixels.dtype == torch.float32
    mask = np.zeros((1, *shape), bool)
    mask[:, : (shape[0] + 1) // 2, : (shape[1] + 1) // 2] = True
    low_res = masks_to_low_res(mask, size, 64, decoder.size.low_res)
    assert low_res.shape == (1, 16, 16)
    back = to_original_size(low_res - 0.5, size, 64)[0].numpy() > 0
    assert back.shape == shape
    if min(shape) > 8:
        assert (back & mask[0]).sum() / (back | mask[0]).sum() > 0.8


@torch.no_grad()
def test_embeddings_that_were_kept_are_those_that_were_computed(decoder, tmp_path):
    pixels, prompts, image_of = some(decoder)
    computed = EmbeddingCache(tmp_path).encode(decoder, pixels)
    again = EmbeddingCache(tmp_path)
    read = again.encode(decoder, pixels)
    assert (again.hits, again.misses) == (3, 0)
    for one, same, exact in zip(computed.tensors, read.tensors, encode_images(decoder, pixels).tensors, strict=True):
        assert torch.equal(one, same)
        torch.testing.assert_close(one, exact, rtol=1e-3, atol=1e-3)
    torch.testing.assert_close(
        decode_masks(decoder, read, prompts, image_of)[0],
        masks_of(decoder, pixels, prompts, image_of)[0],
        rtol=0.02,
        atol=0.02,
    )


@torch.no_grad()
def test_a_damaged_fine_feature_is_made_anew(decoder, tmp_path, capsys):
    if len(decoder.size.embedding_shapes) == 1:
        pytest.skip("SAM 1 has none")
    pixels = some(decoder)[0][:1]
    first = EmbeddingCache(tmp_path).encode(decoder, pixels)
    (path,) = tmp_path.rglob("*.safetensors")
    content = bytearray(path.read_bytes())
    content[-3] ^= 0x55
    path.write_bytes(content)
    again = EmbeddingCache(tmp_path).encode(decoder, pixels)
    assert "damaged" in capsys.readouterr().err
    assert all(torch.equal(one, other) for one, other in zip(first.tensors, again.tensors, strict=True))


@torch.no_grad()
def test_weights_that_were_saved_give_the_same_masks(decoder, tmp_path):
    torch.save(decoder.state_dict(), tmp_path / "sam.pt")
    other = build_sam(decoder.size)
    load_sam_weights(other, tmp_path / "sam.pt")
    given = some(decoder)
    for one, same in zip(masks_of(decoder, *given), masks_of(other.eval(), *given), strict=True):
        assert torch.equal(one, same)


def test_a_weight_that_is_missing_or_too_many_is_refused_by_name(decoder, tmp_path):
    weights = dict(decoder.state_dict())
    name = "mask_decoder.iou_token.weight"
    del weights[name]
    torch.save(weights | {"extra": torch.ones(1)}, tmp_path / "sam.pt")
    with pytest.raises(ValueError, match=rf"1 keys missing \['{name}'\], 1 unexpected \['extra'\]"):
        load_sam_weights(copy.deepcopy(decoder), tmp_path / "sam.pt")


def test_positions_are_those_of_the_prompt_encoder(decoder):
    torch.testing.assert_close(dense_positions(decoder.prompt_encoder), decoder.prompt_encoder.get_dense_pe())


@torch.no_grad()
def test_sam_2_takes_another_mask_only_in_evaluation_and_only_when_asked(decoder):
    if decoder.size.family != "sam2":
        pytest.skip("only SAM 2 has dynamic masks")
    plain, dynamic = (build_sam(replace(decoder.size, dynamic_masks=asked)).eval() for asked in (False, True))
    weights = copy.deepcopy(decoder.state_dict())
    # Token 0's masks hang on the threshold: their logits are all near it.
    weights["mask_decoder.output_hypernetworks_mlps.0.proj_out.weight"] *= 1e-3
    weights["mask_decoder.output_hypernetworks_mlps.0.proj_out.bias"] *= 1e-3
    for model in (plain, dynamic):
        model.load_state_dict(weights)
    given = some(decoder)
    dynamic.train()
    torch.testing.assert_close(masks_of(dynamic, *given)[0], masks_of(plain, *given)[0])
    dynamic.eval()
    assert (masks_of(dynamic, *given)[0] - masks_of(plain, *given)[0]).abs().max() > 1e-3
