"""A LISA with any mask decoder: training, saving, talking and keeping embeddings know no difference."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from small_model import WORDS, ask, picture, small_lisa
from small_sams import SIZES

from lisa.arguments import TINY, parse
from lisa.checkpoint import load, save
from lisa.generation import Predictor
from lisa.session import ChatSession
from lisa.start import start_model
from lisa.trainable import choose_trainable, train_mode
from sam_bridge import SAM_PRESETS, EmbeddingCache, build_sam

DECODERS = SIZES | {"sam2": replace(SIZES["sam2"], stem_widths=(8, 16), conv_stages=(2,))}
LOSSES = {f"{term}_loss_weight": 1.0 for term in ("dense", "iou", "ground", "look")}
IMAGES = [picture(30, 40, seed=1), picture(64, 20, seed=2)]
TALKS = [
    [ask("Where is the red ball?", "Sure, it is the red ball [SEG].")],
    [ask("Show both of them, please.", "Sure, [SEG] and [SEG].")],
]


@pytest.fixture(params=DECODERS)
def lisa(request):
    """A model of its own, and its processor."""
    return small_lisa(sam=DECODERS[request.param], mask_loss_size="low_res", **LOSSES)


def batch_of(processor):
    masks = [np.zeros((n, *image.shape[:2]), bool) for n, image in zip((1, 2), IMAGES, strict=True)]
    for group in masks:
        group[:, 5:20, 3:15] = True
    ignore = [np.zeros(image.shape[:2], bool) for image in IMAGES]
    return processor(IMAGES, TALKS, masks=masks, ignore=ignore, names=[["red ball"], ["dog", "cat"]])


@pytest.mark.parametrize("stage", ["vision", "grounding", "answers"])
def test_every_loss_falls_in_every_stage(lisa, stage):
    model, processor = lisa
    batch = batch_of(processor)
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3)
    losses = []
    for _ in range(8):
        terms = model.train()(batch, stage)
        optimizer.zero_grad()
        terms["loss"].backward()
        optimizer.step()
        losses.append({name: term.item() for name, term in terms.items()})
    assert losses[-1]["loss"] < 0.95 * losses[0]["loss"]
    assert losses[-1]["ground_sam"] < losses[0]["ground_sam"]


def test_losses_at_the_pictures_own_size_are_computed_too(lisa):
    model, processor = lisa
    processor.config.mask_loss_size = "original"
    terms = model(batch_of(processor))
    terms["loss"].backward()
    assert model.sam.mask_decoder.mask_tokens.weight.grad.abs().max() > 0


def test_what_is_saved_answers_the_same(lisa, tmp_path):
    model, processor = lisa
    save(model, processor, tmp_path / "model")
    again = load(tmp_path / "model", device="cpu")
    assert again.model.config.sam_size == model.config.sam_size
    assert all(torch.equal(tensor, again.model.state_dict()[name]) for name, tensor in model.state_dict().items())
    one, other = (p.teacher_forced(IMAGES, TALKS) for p in (Predictor(model, processor), again))
    for mine, yours in zip(one, other, strict=True):
        for before, after in zip(mine, yours, strict=True):
            np.testing.assert_array_equal(before.masks, after.masks)
            np.testing.assert_array_equal(before.scores.expected_iou, after.scores.expected_iou)


def test_masks_have_the_pictures_own_size(lisa):
    model, processor = lisa
    for image, [answer] in zip(IMAGES, Predictor(model, processor).teacher_forced(IMAGES, TALKS), strict=True):
        assert answer.masks.shape[1:] == image.shape[:2]
        assert ((answer.scores.expected_iou >= 0) & (answer.scores.expected_iou <= 1)).all()


@torch.inference_mode()
def test_a_talk_gives_the_masks_of_a_fresh_call_and_encodes_once(lisa):
    model, processor = lisa
    session = ChatSession(Predictor(model, processor), IMAGES[0])
    states = torch.randn(2, model.backbone.width)
    for _ in range(2):
        masks = model.masks_from_embeddings(states, torch.zeros(2, dtype=torch.int64), session._embedding())
    assert session.work.sam_images == 1
    fresh = model.masks_from_states(states, torch.zeros(2, dtype=torch.int64), processor(IMAGES[:1], [[]]).sam_pixels)
    assert torch.equal(masks.low_res, fresh.low_res)


def test_a_frozen_image_encoder_is_kept_on_disk_and_gets_no_gradient(lisa, tmp_path, monkeypatch):
    model, processor = lisa
    args = replace(TINY, trainable="text_hidden_fcs,mask_decoder")
    choose_trainable(model, processor, args)
    train_mode(model)
    assert not any(module.training for module in model.sam.image_encoder.modules())
    assert model.sam.mask_decoder.training
    batch = batch_of(processor)
    exact = model(batch)
    model.embedding_cache = EmbeddingCache(tmp_path)
    for _ in range(2):
        kept = model(batch)
    assert (model.embedding_cache.hits, model.embedding_cache.misses) == (2, 2)
    assert kept["loss"].item() == pytest.approx(exact["loss"].item(), rel=1e-2)
    processor.makes_sam_keys = True
    named = batch_of(processor)
    # Pictures that are named are found by their names: nobody waits for their pixels.
    unseen = replace(named, sam_pixels=torch.zeros_like(named.sam_pixels))
    assert model(unseen)["loss"].item() == kept["loss"].item()
    monkeypatch.setattr("sam_bridge.cache.picture_key", lambda _: pytest.fail("a picture was hashed again"))
    Predictor(model, processor).teacher_forced(IMAGES, TALKS)
    train_mode(model)
    kept["loss"].backward()
    assert all(parameter.grad is None for parameter in model.sam.image_encoder.parameters())
    assert model.sam.mask_decoder.mask_tokens.weight.grad.abs().max() > 0


@pytest.mark.parametrize("sam", ["tiny", "tiny-hq", "tiny-sam2"])
def test_the_main_job_takes_any_tiny_decoder(sam):
    args = parse(["--sam", sam])
    model, processor = start_model(args, lambda: WORDS)
    assert model.config.sam_size == SAM_PRESETS[sam]
    assert processor([picture(30, 40)], [[]]).sam_pixels.shape == (1, 3, 256, 256)
    assert model.sam.size == SAM_PRESETS[sam]


def test_a_new_decoder_starts_as_its_package_starts_it():
    # transformers would begin with a deviation of .02, whatever the width.
    model, _ = small_lisa(sam=DECODERS["sam2"])
    weight = model.sam.image_encoder.vision.backbone.blocks[0].mlp.proj_in.weight
    assert weight.std().item() == pytest.approx((3 * weight.shape[1]) ** -0.5, rel=0.2)


def test_a_tiny_model_takes_weights_for_its_sam(tmp_path):
    sam = build_sam(SAM_PRESETS["tiny-sam2"])
    torch.save({"model": sam.state_dict()}, tmp_path / "sam.pt")
    args = parse(["--sam", "tiny-sam2", "--vision_pretrained", str(tmp_path / "sam.pt")])
    model, _ = start_model(args, lambda: WORDS)
    assert all(torch.equal(model.sam.state_dict()[name], tensor) for name, tensor in sam.state_dict().items())
