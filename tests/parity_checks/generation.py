"""Greedy answers with a KV cache, and the masks of every [SEG] in them."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor

from lisa.conversation import TEMPLATES, write
from lisa.generation import Predictor
from lisa.modeling import LisaModel
from lisa.processing import LisaProcessor
from parity_checks.reading import IMAGE, conversation_of, processor_for, read_picture
from parity_checks.report import Golden, Report
from sam_bridge import to_original_size


def check_generation(report: Report, golden: Golden, model: LisaModel, processor: LisaProcessor, images: Path) -> None:
    """One question: ids, logits and states step by step, then embeddings and masks."""
    name = golden.name
    processor = processor_for(processor, golden.fact("conv_type"))
    conversation = conversation_of(golden.facts.get("history", []), golden.fact("question"))
    picture = read_picture(images / golden.fact("image"))
    text = "".join(span.text for span in write(conversation, TEMPLATES[processor.config.template]))
    marks = ("<im_start>", "<im_end>") if processor.config.use_im_start_end else ("", "")
    golden.read.add("json history")
    report.equal(name, "json prompt", text.replace("<image>", "<image>".join(marks)), golden.optional("prompt"))

    limit = golden.fact("max_new_tokens")
    predictor = Predictor(model, processor)
    logits: list[Tensor] = []
    states: list[Tensor] = []
    said: list[int] = []
    hooks = [
        model.vlm.lm_head.register_forward_hook(lambda *call: logits.append(call[2].flatten(0, -2))),
        model.vlm.model.language_model.norm.register_forward_hook(lambda *call: states.append(call[2][0])),
    ]
    [[answer]] = predictor.generate([picture], [[conversation]], limit, lambda _, token: said.append(token))
    for hook in hooks:
        hook.remove()
    if len(said) < limit:
        said.append(processor.tokenizer.eos_token_id)
    report.equal(name, "json new_token_ids", said, golden.fact("new_token_ids"))
    if golden.optional("expected") is not None:
        report.equal(name, "json expected", said, golden.optional("expected"))

    batch = processor([picture], [[conversation]])
    prompt = batch.rows.input_ids[0][batch.rows.image_index[0] <= 0].clone()
    prompt[batch.rows.image_index[0][batch.rows.image_index[0] <= 0] == 0] = IMAGE
    output_ids = torch.cat([prompt, torch.tensor(said)])
    report.equal(name, "input_ids", prompt[None], golden.tensor("input_ids"))
    report.equal(name, "output_ids", output_ids[None], golden.tensor("output_ids"))
    report.close(name, "images_clip", batch.pixel_values, golden.tensor("images_clip"))
    report.equal(name, "json resize", list(batch.sizes[0].resized), golden.optional("resize"))
    report.equal(name, "json original_size", list(batch.sizes[0].original), golden.optional("original_size"))
    report.equal(name, "json seg_token_idx", model.config.seg_token_id, golden.optional("seg_token_idx"))
    report.equal(name, "json error", None, golden.optional("error"))
    _check_steps(report, golden, torch.cat(logits), torch.cat(states))
    _check_masks(report, golden, model, batch, torch.cat(states), output_ids, answer)
    plain = processor.tokenizer.decode([token for token in output_ids.tolist() if token != IMAGE])
    report.equal(
        name, "json text_output, but for blanks", "".join(plain.split()), "".join(golden.fact("text_output").split())
    )
    golden.list_facts(report, ("kind", "tensors"), "a description")
    golden.list_facts(
        report, ("n_clip_calls", "n_llm_forwards", "llm_forward_lengths"), "how often the reference ran a part"
    )
    golden.close(report)


def _check_steps(report: Report, golden: Golden, logits: Tensor, states: Tensor) -> None:
    """Logits (n, V) of the steps, and the states (T, D) that the cache grew by."""
    wanted = golden.tensor("step_logits")
    report.close(golden.name, "step_logits", logits, wanted)
    best = logits.topk(2, dim=-1).values
    margins = torch.tensor(golden.fact("step_top1_minus_top2"))
    report.close(golden.name, "json step_top1_minus_top2", best[:, 0] - best[:, 1], margins)
    wanted = golden.tensor("last_hidden_state")
    # Ours has read the last token as well where the limit cut the answer off.
    length = states.shape[0] if wanted is None else wanted.shape[1]
    report.close(golden.name, "last_hidden_state", states[None, :length], wanted)


@torch.inference_mode()
def _check_masks(
    report: Report, golden: Golden, model: LisaModel, batch, states: Tensor, output_ids: Tensor, answer
) -> None:
    """Masks of every [SEG], earlier turns included, from the cached states; and those of our answer."""
    name, size = golden.name, batch.sizes[0]
    seg = (output_ids == model.config.seg_token_id).nonzero()[:, 0]
    # One id stands for all of the picture's tokens.
    shift = int((batch.rows.image_index[0] >= 0).sum()) - 1
    masks = model.masks_from_states(states[seg - 1 + shift], torch.zeros_like(seg), batch.sam_pixels)
    full = to_original_size(masks.low_res, size, model.config.sam_size.image_size)
    report.equal(name, "json n_masks", [len(full)], golden.optional("n_masks"))
    report.close(name, "pred_embeddings_0", masks.prompts, golden.tensor("pred_embeddings_0"))
    report.close(name, "low_res_logits_0", masks.low_res[:, None], golden.tensor("low_res_logits_0"))
    wanted = golden.tensor("pred_masks_0")
    report.masks(name, "pred_masks_0", full, wanted)
    if wanted is None:
        return
    # Predictor leaves the [SEG] of earlier turns out.
    new = wanted[len(wanted) - len(answer.masks) :] > 0
    flips = (torch.from_numpy(answer.masks) != new).flatten(1).sum(1).tolist() if len(new) else []
    count = int((output_ids[len(golden.tensor("input_ids")[0]) :] == model.config.seg_token_id).sum())
    ok = len(answer.masks) == count and max(flips, default=0) <= 5
    report.line(name, "masks of the answer", ok, f"{len(answer.masks)} of {count}, sign flips {flips} (allowed 5)")
