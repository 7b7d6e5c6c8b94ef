import copy
import math

import numpy as np
import pytest
import torch
from small_model import PATCHES, ask, picture, plain_hidden_states, small_lisa, unpacked
from torch import nn

from lisa.config import LisaConfig
from lisa.conversation import Conversation
from lisa.objective import dense_logits
from lisa.processing import LisaProcessor
from lisa.seg import gather_seg_states, seg_positions

IMAGES = [picture(30, 40, seed=1), picture(50, 20, seed=2), picture(16, 16, seed=3)]
TALK = [
    [ask("Where is it?", "[SEG]."), ask("What is the red ball?", "Sure, it is [SEG] and [SEG].")],
    [ask("Is there a cat?", "There is no cat.")],
    [ask("Show both of them, please.", "Sure, [SEG].")],
]
COUNTS = (3, 0, 1)


def masks_for(counts=COUNTS):
    rng = np.random.default_rng(0)
    return [rng.random((n, *image.shape[:2])) > 0.5 for n, image in zip(counts, IMAGES, strict=True)]


def batch_of(processor, talk=TALK, counts=COUNTS, ignore=None, names=None):
    ignore = ignore or [np.zeros(image.shape[:2], bool) for image in IMAGES]
    return processor(IMAGES, talk, masks=masks_for(counts), ignore=ignore, names=names)


def recorded(module: nn.Module):
    """What the module is given, call by call; append-only list and the hook's handle."""
    seen = []
    return seen, module.register_forward_hook(lambda _, inputs, __: seen.append(inputs[0].detach().clone()))


def test_text_hidden_fcs_is_given_the_state_that_predicts_each_seg(small):
    """Against Hugging Face's own LLaVA forward, one conversation at a time, the picture's tokens inside."""
    model, processor = small
    seen, hook = recorded(model.text_hidden_fcs[0])
    with torch.no_grad():
        model(batch_of(processor))
    hook.remove()
    expected = []
    for image, group in zip(IMAGES, TALK, strict=True):
        for conversation in group:
            encoded = processor.text.encode(conversation)
            with torch.no_grad():
                hidden = plain_hidden_states(model, processor, image, encoded.input_ids.tolist())
            for position in (encoded.labels == model.config.seg_token_id).nonzero()[:, 0].tolist():
                expected.append(hidden[position - 1])
    assert len(expected) == 4
    torch.testing.assert_close(seen[0], torch.stack(expected), rtol=1e-4, atol=1e-5)


def test_image_tokens_are_the_towers_patches_without_the_class_token(small):
    model, processor = small
    tokens = model.backbone.image_tokens(processor.tower_pixels(IMAGES))
    assert tokens.shape == (3, PATCHES, 32)
    tower = model.vlm.model.vision_tower(processor.tower_pixels(IMAGES), output_hidden_states=True)
    projected = model.vlm.model.multi_modal_projector(tower.hidden_states[-1][:, 1:])
    torch.testing.assert_close(tokens, projected)


def test_each_conversation_reads_the_picture_of_its_own_row(small):
    model, processor = small
    batch = processor(IMAGES, TALK)
    tokens = torch.arange(3.0)[:, None, None].expand(3, PATCHES, 32)
    embeds = model.embed_rows(batch.rows, tokens)
    for row, image in enumerate(batch.rows.image_of_row.tolist()):
        at = batch.rows.image_index[row] >= 0
        assert (embeds[row][at] == image).all()
        assert at.sum() == PATCHES


def test_loss_is_the_weighted_sum_of_its_terms(small):
    model, processor = small
    terms = model(batch_of(processor))
    assert terms.keys() == {"loss", "ce", "bce", "dice"}
    expected = 1.0 * terms["ce"] + 2.0 * terms["bce"] + 0.5 * terms["dice"]
    assert terms["loss"].item() == pytest.approx(expected.item())


def test_mask_losses_are_those_of_each_mask_at_its_pictures_own_size(small):
    """By hand from the low-res masks: up to the square, padding off, to (H, W), mean over the 4 masks."""
    model, processor = small
    batch = batch_of(processor)
    with torch.no_grad():
        terms = model(batch)
        hidden = model.hidden_states(batch.rows, model.backbone.image_tokens(batch.pixel_values))
        states = gather_seg_states(hidden, seg_positions(batch.rows, model.config.seg_token_id, "before"))
        low_res = model.masks_from_states(states, torch.tensor([0, 0, 0, 2]), batch.sam_pixels).low_res
    resized = {0: (48, 64), 2: (64, 64)}
    total = 0.0
    targets = [(0, mask) for mask in masks_for()[0]] + [(2, mask) for mask in masks_for()[2]]
    for logits, (image, target) in zip(low_res, targets, strict=True):
        square = nn.functional.interpolate(logits[None, None], (64, 64), mode="bilinear")
        height, width = resized[image]
        full = nn.functional.interpolate(square[:, :, :height, :width], target.shape, mode="bilinear")[0, 0]
        total += nn.functional.binary_cross_entropy_with_logits(full, torch.from_numpy(target).float()).item()
    assert terms["bce"].item() == pytest.approx(total / 4, rel=1e-5)


def test_pixels_of_the_ignore_region_do_not_count(small):
    model, processor = small
    ignore = [np.zeros(image.shape[:2], bool) for image in IMAGES]
    ignore[0][:, 20:] = True
    flipped = batch_of(processor, ignore=ignore)
    masks = masks_for()
    masks[0][:, :, 20:] ^= True
    other = processor(IMAGES, TALK, masks=masks, ignore=ignore)
    with torch.no_grad():
        terms, terms_of_other = model(flipped), model(other)
        unignored = model(processor(IMAGES, TALK, masks=masks, ignore=[np.zeros_like(i) for i in ignore]))
    assert terms["bce"].item() == pytest.approx(terms_of_other["bce"].item(), rel=1e-6)
    assert terms["dice"].item() == pytest.approx(terms_of_other["dice"].item(), rel=1e-6)
    assert terms["dice"].item() != pytest.approx(unignored["dice"].item(), rel=1e-3)


@pytest.mark.parametrize("mask_loss_size", ["original", "low_res"])
def test_a_batch_without_any_seg_trains_the_language_model_alone(mask_loss_size):
    model, processor = small_lisa(mask_loss_size=mask_loss_size, dense_loss_weight=1.0, iou_loss_weight=1.0)
    talk = [[ask("Where?", "Nowhere."), ask("Is there a dog?", "No.")], [ask("A?", "B.")], [ask("C?", "D.")]]
    terms = model(batch_of(processor, talk, counts=(0, 0, 0)))
    assert [terms[name].item() for name in ("bce", "dice", "dense", "iou")] == [0, 0, 0, 0]
    assert terms["loss"].item() == pytest.approx(terms["ce"].item())
    terms["loss"].backward()
    assert model.vlm.get_input_embeddings().weight.grad.abs().max() > 0


def test_a_batch_without_any_seg_uses_the_same_parameters_as_one_with():
    """Otherwise ZeRO stages 1 to 3 break off when one rank has a [SEG] and another has none."""
    model, processor = small_lisa(mask_loss_size="low_res", dense_loss_weight=1.0, iou_loss_weight=1.0)
    model.sam.prompt_encoder.requires_grad_(False)
    silent = [[ask("Where?", "Nowhere.")]] * 3
    used = []
    for talk, counts in ((TALK, COUNTS), (silent, (0, 0, 0))):
        model.zero_grad()
        model(batch_of(processor, talk, counts))["loss"].backward()
        used.append({name for name, p in model.named_parameters() if p.grad is not None})
    assert sorted(used[0] - used[1]) == []


def test_only_pictures_with_a_seg_are_encoded_by_sam(small):
    model, processor = small
    seen, hook = recorded(model.sam.image_encoder)
    batch = batch_of(processor)
    with torch.no_grad():
        model(batch)
        hook.remove()
    assert len(seen) == 1
    torch.testing.assert_close(seen[0], batch.sam_pixels[[0, 2]])


def test_each_prompt_meets_the_embedding_of_its_own_picture(small):
    """All pictures at once, or each on its own: the same masks."""
    model, processor = small
    with torch.no_grad():
        batch = batch_of(processor)
        states = torch.randn(4, 32, generator=torch.Generator().manual_seed(0))
        together = model.masks_from_states(states, torch.tensor([0, 0, 2, 2]), batch.sam_pixels)
        first = model.masks_from_states(states[:2], torch.tensor([0, 0]), batch.sam_pixels)
        last = model.masks_from_states(states[2:], torch.tensor([0, 0]), batch.sam_pixels[2:])
    torch.testing.assert_close(together.low_res, torch.cat([first.low_res, last.low_res]), rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(together.scores, torch.cat([first.scores, last.scores]), rtol=1e-4, atol=1e-5)
    assert not torch.allclose(first.low_res, last.low_res)


def test_more_seg_than_masks_is_refused_with_both_numbers(small):
    model, processor = small
    with pytest.raises(ValueError, match=r"4 \[SEG\] in the answers but 3 target masks"):
        model(batch_of(processor, counts=(2, 0, 1)))


def test_masks_that_moved_to_another_picture_are_refused(small):
    model, processor = small
    with pytest.raises(ValueError):  # noqa: PT011 - in which words is not settled
        model(batch_of(processor, counts=(1, 0, 3)))


def test_a_masks_gradient_reaches_language_model_projection_decoder_and_encoder():
    model, processor = small_lisa(ce_loss_weight=0.0)
    model(batch_of(processor))["loss"].backward()
    for name in (
        "vlm.model.language_model.layers.0.self_attn.q_proj.weight",
        "vlm.model.vision_tower.embeddings.patch_embedding.weight",
        "text_hidden_fcs.0.0.weight",
        "text_hidden_fcs.0.2.weight",
        "sam.mask_decoder.mask_tokens.weight",
        "sam.image_encoder.patch_embed.proj.weight",
    ):
        assert model.get_parameter(name).grad.abs().max() > 0, name


def test_seg_state_at_reads_the_state_of_the_token_itself(small):
    model, processor = small_lisa(seg_state="at")
    seen, hook = recorded(model.text_hidden_fcs[0])
    conversation = TALK[0][0]
    batch = processor(IMAGES[:1], [[conversation]], masks=[masks_for()[0][:1]], ignore=[np.zeros((30, 40), bool)])
    with torch.no_grad():
        model(batch)
        hook.remove()
        encoded = processor.text.encode(conversation)
        hidden = plain_hidden_states(model, processor, IMAGES[0], encoded.input_ids.tolist())
    (position,) = (encoded.labels == model.config.seg_token_id).nonzero()[:, 0].tolist()
    torch.testing.assert_close(seen[0][0], hidden[position], rtol=1e-4, atol=1e-5)


def test_auxiliary_terms_are_there_only_when_they_are_switched_on():
    model, processor = small_lisa(mask_loss_size="low_res", dense_loss_weight=3.0, iou_loss_weight=0.25)
    terms = model(batch_of(processor))
    expected = terms["ce"] + 2 * terms["bce"] + 0.5 * terms["dice"] + 3 * terms["dense"] + 0.25 * terms["iou"]
    assert terms["loss"].item() == pytest.approx(expected.item(), rel=1e-5)
    assert all(math.isfinite(value.item()) for value in terms.values())


def test_dense_logits_are_the_prompt_times_the_embedding_at_each_place():
    model, processor = small_lisa(dense_loss_weight=1.0)
    batch = batch_of(processor)
    masks = model.masks_from_states(torch.randn(2, 32), torch.tensor([0, 2]), batch.sam_pixels)
    logits = dense_logits(model, masks)
    query = model.dense_prompt(masks.prompts)[1]
    place = model.dense_image(masks.embeddings.image)[1, :, 2, 3]
    assert logits.shape == (2, 4, 4)
    assert logits[1, 2, 3].item() == pytest.approx((query @ place).item() / 32**0.5, rel=1e-4)


def test_grounding_learns_every_part_from_names_alone():
    model, processor = small_lisa(mask_loss_size="low_res", ground_loss_weight=3.0)
    batch = batch_of(processor, names=[["red ball", "", "dog"], [], ["cat"]])
    terms = model(batch, "grounding")
    assert terms.keys() == {"loss", "ce", "ground_sam", "bce", "dice"}
    expected = terms["ce"] + 3 * terms["ground_sam"] + 2 * terms["bce"] + 0.5 * terms["dice"]
    assert terms["loss"].item() == pytest.approx(expected.item(), rel=1e-5)
    terms["loss"].backward()
    trained = {name for name, p in model.named_parameters() if p.grad is not None and p.grad.abs().max() > 0}
    assert any(name.startswith("sam.image_encoder") for name in trained)
    assert any("language_model.layers" in name for name in trained)
    assert not any(name.startswith("vlm.model.vision_tower") for name in trained)


@pytest.mark.parametrize("stage", ["vision", "grounding", "answers"])
def test_what_gets_a_gradient_in_a_stage_is_what_learns_in_it(stage):
    model, processor = small_lisa(mask_loss_size="low_res", ground_loss_weight=1.0, look_loss_weight=1.0)
    model(batch_of(processor, names=[["red ball", "", "dog"], [], ["cat"]]), stage)["loss"].backward()
    learning = {id(parameter) for module in model.learns_in(stage) for parameter in module.parameters()}
    reached = {name for name, p in model.named_parameters() if p.grad is not None and p.grad.abs().max() > 0}
    waits = {name for name, p in model.named_parameters() if name in reached and id(p) not in learning}
    # The head reads image tokens through the last norm, which is left to the language model.
    assert waits == ({"vlm.model.language_model.norm.weight"} if stage == "vision" else set())


def test_grounding_reads_the_words_of_the_questions_at_their_places_and_not_the_picture():
    model, processor = small_lisa(mask_loss_size="low_res", ground_loss_weight=3.0)
    batch = batch_of(processor, names=[["red ball", "", "dog"], [], ["cat"]])
    handed = []
    model.text_hidden_fcs[0].register_forward_pre_hook(lambda _, inputs: handed.append(inputs[0]))
    model(batch, "grounding")
    rows = batch_of(unpacked(processor)).rows
    expected = []
    for ids, labels, image_index, positions, segments in zip(
        rows.input_ids, rows.labels, rows.image_index, rows.positions, rows.segments, strict=True
    ):
        words = (image_index < 0) & (segments >= 0)
        states = model.vlm.model.language_model(input_ids=ids[words][None], position_ids=positions[words][None])
        is_next_seg = labels[words].roll(-1) == model.config.seg_token_id
        expected.append(states.last_hidden_state[0][is_next_seg])
    torch.testing.assert_close(handed[-1], torch.cat(expected), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("stage", ["grounding", "answers"])
def test_a_batch_without_any_name_has_a_finite_loss(stage):
    model, processor = small_lisa(mask_loss_size="low_res", dense_loss_weight=1.0, ground_loss_weight=1.0)
    talk = [[ask("Where?", "Nowhere.")]] * 3
    terms = model(batch_of(processor, talk, counts=(0, 0, 0), names=[[], [], []]), stage)
    assert terms["loss"].item() == pytest.approx(terms.get("ce", torch.zeros(())).item())
    assert math.isfinite(terms["loss"].item())
    terms["loss"].backward()


def test_names_are_grounded_beside_the_answers_when_that_has_a_weight():
    model, processor = small_lisa(ground_loss_weight=3.0)
    terms = model(batch_of(processor, names=[["red ball", "", "dog"], [], ["cat"]]))
    expected = terms["ce"] + 2 * terms["bce"] + 0.5 * terms["dice"]
    expected = expected + 3 * (terms["ground"] + terms["ground_sam"])
    assert terms["loss"].item() == pytest.approx(expected.item(), rel=1e-5)
    assert terms["ground"].item() > 0


def test_a_model_in_bf16_runs_and_its_losses_are_close(small):
    model, processor = small
    half = copy.deepcopy(model).to(torch.bfloat16)
    batch = batch_of(processor)
    with torch.no_grad():
        exact, rounded = model(batch), half(batch)
    assert rounded["loss"].item() == pytest.approx(exact["loss"].item(), rel=0.05)


@pytest.mark.parametrize("option", ["seg_state", "template", "mask_loss_size"])
def test_a_config_with_an_unknown_choice_is_refused(option):
    with pytest.raises(ValueError, match=f"{option} is 'sideways'; it must be one of"):
        LisaConfig(**{option: "sideways"})


def test_a_config_survives_its_dict(small):
    config = small[0].config
    again = LisaConfig.from_dict(config.to_dict())
    assert again.sam_size == config.sam_size
    assert again.to_dict() == config.to_dict()
    assert (again.seg_state, again.template, again.vlm_config.text_config.hidden_size) == ("before", "plain", 32)


def test_a_backbone_of_an_unknown_family_is_refused(small):
    config = LisaConfig(vlm_config={"model_type": "bert"}, sam="tiny")
    with pytest.raises(ValueError, match="no backbone for models of type 'bert'; there is one for llava"):
        LisaProcessor(config, small[1].tokenizer, small[1].image_processor)


def test_a_conversation_whose_picture_stands_last_is_read_too(small):
    model, processor = small
    conversation = Conversation.of("Where is it?\n<image>", "[SEG].")
    with torch.no_grad():
        batch = processor(IMAGES[:1], [[conversation]])
        ours = model.hidden_states(batch.rows, model.backbone.image_tokens(batch.pixel_values))[0]
        plain = plain_hidden_states(model, processor, IMAGES[0], batch.rows.input_ids[0].tolist())
    torch.testing.assert_close(ours, plain, rtol=1e-4, atol=1e-5)
