"""Training forward and teacher-forced validation, tensor by tensor."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from lisa.conversation import TEMPLATES, write
from lisa.modeling import LisaModel
from lisa.packing import PADDING
from lisa.processing import Batch, LisaProcessor
from lisa.released.names import our_name
from lisa.seg import gather_seg_states, image_of_seg, seg_positions, split_by_image
from parity_checks.reading import conversation_of, processor_for, read_mask, read_picture, with_one_image_token
from parity_checks.report import ABSENT, Golden, Report, every, relative_difference
from sam_bridge import dense_positions, encode_images, to_original_size

LOSSES = {"loss": "loss", "ce_loss": "ce", "mask_bce_loss": "bce", "mask_dice_loss": "dice"}
LOSS_TOLERANCE, GRADIENT_TOLERANCE = 1e-5, 1e-3
ZERO_GRADIENT = 1e-6
"""Of the greatest norm: what is smaller is zero up to rounding."""


def check_forward(report: Report, golden: Golden, model: LisaModel, processor: LisaProcessor, images: Path) -> None:
    """A batch with its answers given: every tensor on its way; with "losses" in the case, also losses and gradients."""
    entries = golden.fact("images")
    conversations = [[conversation_of(turns) for turns in entry["turns"]] for entry in entries]
    pictures = [read_picture(images / entry["image"]) for entry in entries]
    masks = [_masks(entry, picture, images) for entry, picture in zip(entries, pictures, strict=True)]
    ignore = [np.zeros(picture.shape[:2], bool) for picture in pictures]
    template = golden.fact("conv_type")
    rows, packed = (
        processor_for(processor, template, packing)(pictures, conversations, masks, ignore) for packing in (False, True)
    )
    _check_texts(report, golden, entries, conversations, processor_for(processor, template))
    _check_inputs(report, golden, rows, processor.tokenizer.pad_token_id)
    training = "losses" in golden.facts
    model.train(training)
    with torch.no_grad():
        _check_road(report, golden, model, rows)
        _check_masks(report, golden, model, packed, " packed")
    if training:
        _check_losses(report, golden, model, rows, "")
        _check_gradients(report, golden, model)
        _check_losses(report, golden, model, packed, " packed")
        model.zero_grad(set_to_none=True)
    model.eval()
    golden.list_facts(report, ("kind", "tensors"), "a description")
    golden.close(report)


def _masks(entry: dict, picture: np.ndarray, images: Path) -> np.ndarray:
    masks = [read_mask(images / name) for name in entry["masks"]]
    return np.stack(masks) if masks else np.zeros((0, *picture.shape[:2]), bool)


def _check_texts(
    report: Report, golden: Golden, entries: list[dict], conversations: list[list], processor: LisaProcessor
) -> None:
    template = TEMPLATES[processor.config.template]
    written = [["".join(span.text for span in write(c, template)) for c in group] for group in conversations]
    wanted = [entry.get("conversations_before_im_tokens") for entry in entries]
    report.equal(golden.name, "conversations", written, ABSENT if None in wanted else wanted)
    image = "<im_start><image><im_end>" if processor.config.use_im_start_end else "<image>"
    marked = [text.replace("<image>", image) for group in written for text in group]
    report.equal(golden.name, "json conversation_list", marked, golden.optional("conversation_list"))


def _check_inputs(report: Report, golden: Golden, batch: Batch, pad_id: int) -> None:
    name = golden.name
    ids, labels, attention = with_one_image_token(batch.rows, pad_id)
    report.equal(name, "input_ids", ids, golden.tensor("input_ids"))
    report.equal(name, "labels", labels, golden.tensor("labels"))
    report.equal(name, "attention_masks", attention, golden.tensor("attention_masks"))
    report.equal(name, "offset", batch.offset, golden.tensor("offset"))
    report.equal(name, "json offset", batch.offset.tolist(), golden.optional("offset"))
    report.equal(name, "json resize_list", [list(size.resized) for size in batch.sizes], golden.optional("resize_list"))
    report.equal(
        name, "json label_shapes", [list(size.original) for size in batch.sizes], golden.optional("label_shapes")
    )
    report.equal(name, "exp_attention_mask", batch.rows.segments != PADDING, golden.tensor("exp_attention_mask"))
    if "exp_labels" in golden.tensors:
        report.equal(name, "exp_labels", batch.rows.labels, golden.tensor("exp_labels"))
    report.close(name, "images_clip", batch.pixel_values, golden.tensor("images_clip"))
    wanted = golden.tensor("images_sam_sub")
    report.close(name, "images_sam_sub", every(batch.sam_pixels, wanted), wanted)
    for index, ours in enumerate(batch.targets.masks):
        report.equal(name, f"gt_masks_{index}", ours, golden.tensor(f"gt_masks_{index}"))


def _check_road(report: Report, golden: Golden, model: LisaModel, batch: Batch) -> None:
    """Every tensor between the batch and the masks."""
    name, rows, vlm = golden.name, batch.rows, model.vlm.model
    report.equal(name, "json seg_token_idx", model.config.seg_token_id, golden.optional("seg_token_idx"))
    recorded: list[Tensor] = []
    hook = vlm.multi_modal_projector.register_forward_pre_hook(lambda _, inputs: recorded.append(inputs[0]))
    image_tokens = model.backbone.image_tokens(batch.pixel_values)
    hook.remove()
    report.close(name, "clip_features", recorded[0], golden.tensor("clip_features"))
    report.close(name, "mm_projected", image_tokens, golden.tensor("mm_projected"))
    report.close(name, "inputs_embeds", model.embed_rows(rows, image_tokens), golden.tensor("inputs_embeds"))
    hidden = model.hidden_states(rows, image_tokens)
    # What stands at padding means nothing, and the two attend to different things there.
    real = rows.segments != PADDING
    report.close(name, "last_hidden_state", hidden[real], _at(golden.tensor("last_hidden_state"), real))
    if "supervised_labels" in golden.tensors:
        learned = rows.labels[:, 1:] != -100
        report.equal(name, "supervised_labels", rows.labels[:, 1:][learned], golden.tensor("supervised_labels"))
        logits = model.backbone.logits(hidden[:, :-1][learned])
        report.close(name, "supervised_logits", logits, golden.tensor("supervised_logits"))
    wanted = golden.tensor("image_embeddings_sub")
    report.close(name, "image_embeddings_sub", every(encode_images(model.sam, batch.sam_pixels).image, wanted), wanted)
    wanted = golden.tensor("image_pe_sub")
    report.close(name, "image_pe_sub", every(dense_positions(model.sam.prompt_encoder), wanted), wanted)
    _check_masks(report, golden, model, batch, "")


def _at(tensor: Tensor | None, where: Tensor) -> Tensor | None:
    return None if tensor is None else tensor[where]


def _check_masks(report: Report, golden: Golden, model: LisaModel, batch: Batch, variant: str) -> None:
    """[SEG] embeddings, low-res logits, predicted IoU and masks; `variant` tells how the rows were made."""
    name, side = golden.name, model.config.sam_size.image_size
    hidden = model.hidden_states(batch.rows, model.backbone.image_tokens(batch.pixel_values))
    positions = seg_positions(batch.rows, model.config.seg_token_id, model.config.seg_state)
    image_of = image_of_seg(batch.rows, positions)
    masks = model.masks_from_states(gather_seg_states(hidden, positions), image_of, batch.sam_pixels)
    split = [split_by_image(t, image_of, len(batch.sizes)) for t in (masks.prompts, masks.low_res, masks.scores)]
    stems = ("pred_embeddings", "low_res_logits", "iou_predictions", "pred_masks")
    for index, (prompts, low_res, scores) in enumerate(zip(*split, strict=True)):
        wanted = [golden.tensor(f"{stem}_{index}") for stem in stems]
        report.close(name, f"pred_embeddings_{index}{variant}", prompts, wanted[0])
        report.close(name, f"low_res_logits_{index}{variant}", low_res[:, None], wanted[1])
        report.close(name, f"iou_predictions_{index}{variant}", scores[:, None], wanted[2])
        full = to_original_size(low_res, batch.sizes[index], side)
        report.masks(name, f"pred_masks_{index}{variant}", full, wanted[3])


def _check_losses(report: Report, golden: Golden, model: LisaModel, batch: Batch, variant: str) -> None:
    """The loss terms, weighted as the reference reports them; leaves gradients behind."""
    wanted = golden.fact("losses")
    trained = set(_trained_names(golden))
    for name, parameter in model.named_parameters():
        parameter.requires_grad_(name in trained)
    model.zero_grad(set_to_none=True)
    terms = model(batch)
    config = model.config
    weights = {"ce": config.ce_loss_weight, "bce": config.bce_loss_weight, "dice": config.dice_loss_weight, "loss": 1.0}
    ours = {name: (weights[term] * terms[term]).item() for name, term in LOSSES.items()}
    ours["mask_loss"] = ours["mask_bce_loss"] + ours["mask_dice_loss"]
    for name in sorted(wanted.keys() | ours.keys()):
        if name not in wanted or name not in ours:
            report.fail(golden.name, f"{name}{variant}", "is a loss of one side only")
            continue
        report.relative(golden.name, f"{name}{variant}", ours[name], wanted[name], LOSS_TOLERANCE)
    if not variant:
        terms["loss"].backward()


def _trained_names(golden: Golden) -> Sequence[str]:
    """Our names of the parameters that the reference has a gradient norm for."""
    return [str(our_name(name)) for name in golden.fact("grad_norms")]


def _check_gradients(report: Report, golden: Golden, model: LisaModel) -> None:
    """Norms of all, and whole gradients of some; those that are zero but for rounding need only be as small."""
    norms = golden.fact("grad_norms")
    floor = ZERO_GRADIENT * max(norm for norm in norms.values() if norm is not None)
    parameters = dict(model.named_parameters())
    for name, wanted in norms.items():
        parameter = parameters.get(str(our_name(name)))
        if parameter is None:
            report.fail(golden.name, f"grad norm {name}", "is no parameter of ours")
            continue
        ours = 0.0 if parameter.grad is None else parameter.grad.double().norm().item()
        if wanted is None or wanted <= floor:
            report.line(golden.name, f"grad norm {name}", ours <= floor, f"{ours:.2e}, zero but for rounding")
        else:
            report.relative(golden.name, f"grad norm {name}", ours, wanted, GRADIENT_TOLERANCE)
    for name in [name for name in golden.tensors if name.startswith("grad.")]:
        wanted = golden.tensor(name)
        ours = parameters[str(our_name(name.removeprefix("grad.")))].grad
        if wanted.norm() <= floor:
            report.line(golden.name, name, bool(ours.norm() <= floor), "zero but for rounding")
        else:
            difference = relative_difference(ours, wanted)
            text = f"{difference:.2e} of the maximum (allowed {GRADIENT_TOLERANCE:g})"
            report.line(golden.name, name, difference <= GRADIENT_TOLERANCE, text)
