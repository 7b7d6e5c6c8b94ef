"""Ids and labels of texts."""

from __future__ import annotations

from dataclasses import replace

import torch
from torch.nn.utils.rnn import pad_sequence

from lisa.conversation import TEMPLATES, write
from lisa.processing import LisaProcessor
from lisa.tokenization import IM_END, IM_START, ConversationTokenizer
from parity_checks.reading import IMAGE, conversation_of, processor_for
from parity_checks.report import Golden, Report


def check_texts(report: Report, golden: Golden, processor: LisaProcessor) -> None:
    """tokenization.json: conversations in each template, batches of them, raw strings, prompts."""
    name, tokenizer = golden.name, processor.tokenizer
    meta = golden.fact("meta")
    _check_meta(report, name, meta, processor)
    for template in [key for key in golden.facts if key in TEMPLATES]:
        # Long conversations are cut as the reference cuts them; ours would refuse to lose a [SEG].
        text = replace(processor_for(processor, template).text, model_max_length=10**6, tokens_per_image=1)
        encoded = [_check_conversation(report, name, case, template, text, meta) for case in golden.fact(template)]
        for kind in ("train", "infer"):
            if f"batch_{kind}_{template}" in golden.facts:
                cut = meta["truncate_len"] if kind == "train" else None
                batch = golden.fact(f"batch_{kind}_{template}")
                _check_batch(report, f"{name} batch_{kind}_{template}", encoded, batch, tokenizer.pad_token_id, cut)
    text = processor.text
    bos = tokenizer.bos_token_id
    for case in golden.fact("raw"):
        ids = text.text_ids(case["text"])
        report.equal(name, f"raw {case['text']!r}", ([bos, *ids], ids), (case["ids"], case["ids_no_special"]))
        ours = (
            "".join(tokenizer.decode(case["ids"]).split()),
            "".join(tokenizer.decode(case["ids"], skip_special_tokens=True).split()),
        )
        wanted = "".join(case["decode"].split()), "".join(case["decode_skip"].split())
        report.equal(name, f"raw {case['text']!r} decoded, but for blanks", ours, wanted)
    for case in golden.fact("chat_prompts"):
        conversation = conversation_of(case["history"], case["question"])
        one = replace(processor_for(processor, case["conv_type"]).text, tokens_per_image=1)
        label = f"chat prompt {case['conv_type']} {case['question']!r}"
        report.equal(name, label, _ids(one, conversation)[0], case["ids"])
        report.equal(name, f"{label} text", _marked(conversation, one), case["prompt"])
    golden.close(report)


def _check_meta(report: Report, name: str, meta: dict, processor: LisaProcessor) -> None:
    tokenizer, vocabulary = processor.tokenizer, processor.text.vocabulary
    ours = {
        "model_max_length": processor.config.model_max_length,
        "seg": processor.text.seg_token_id,
        "im_start": vocabulary.get(IM_START),
        "im_end": vocabulary.get(IM_END),
        "pad": tokenizer.pad_token_id,
        "unk": tokenizer.unk_token_id,
        "bos": tokenizer.bos_token_id,
        "eos": tokenizer.eos_token_id,
        "ignore_index": -100,
        "image_token_index": IMAGE,
        # The reference cuts ids so, which leaves model_max_length once the 256 image tokens are in.
        "truncate_len": processor.config.model_max_length - 255,
        "legacy": processor.config.leading_blank == "every",
        "len_tokenizer": len(tokenizer),
    }
    for key in sorted(meta.keys() | ours.keys()):
        if key == "tokenizer":
            report.listed(name, f"meta {key}", "a description")
        elif key not in ours or key not in meta:
            report.fail(name, f"meta {key}", "is known to one side only")
        else:
            report.equal(name, f"meta {key}", ours[key], meta[key])


def _marked(conversation, text: ConversationTokenizer) -> str:
    written = "".join(span.text for span in write(conversation, TEMPLATES[text.template]))
    return written.replace("<image>", f"{IM_START}<image>{IM_END}") if text.use_im_start_end else written


def _ids(text: ConversationTokenizer, conversation) -> tuple[list[int], list[int]]:
    """Ids with -200 at the picture, and labels."""
    encoded = text.encode(conversation)
    return torch.where(encoded.image_index >= 0, IMAGE, encoded.input_ids).tolist(), encoded.labels.tolist()


def _check_conversation(
    report: Report, name: str, case: dict, template: str, text: ConversationTokenizer, meta: dict
) -> tuple[list[int], list[int]]:
    conversation = conversation_of(case["turns"])
    ids, labels = _ids(text, conversation)
    label, cut = f"{template} {case['name']}", meta["truncate_len"]
    plain = "".join(span.text for span in write(conversation, TEMPLATES[template]))
    report.equal(name, f"{label} conversation", plain, case["conversation"])
    report.equal(
        name, f"{label} conversation_with_im_tokens", _marked(conversation, text), case["conversation_with_im_tokens"]
    )
    report.equal(name, f"{label} untruncated_len", len(ids), case["untruncated_len"])
    report.equal(name, f"{label} input_ids", ids[:cut], case["input_ids"])
    report.equal(name, f"{label} labels", labels[:cut], case["labels"])
    mask = [int(token != meta["pad"]) for token in ids[:cut]]
    report.equal(name, f"{label} attention_mask", mask, case["attention_mask"])
    known = [
        "name",
        "turns",
        "conversation",
        "conversation_with_im_tokens",
        "untruncated_len",
        "input_ids",
        "labels",
        "attention_mask",
    ]
    for key in sorted(case.keys() - set(known)):
        report.fail(name, f"{label} {key}", "unknown to this script, and so not compared")
    return ids, labels


def _check_batch(
    report: Report, name: str, encoded: list[tuple[list[int], list[int]]], batch: dict, pad_id: int, cut: int | None
) -> None:
    ids = pad_sequence([torch.tensor(ids) for ids, _ in encoded], batch_first=True, padding_value=pad_id)[:, :cut]
    labels = pad_sequence([torch.tensor(labels) for _, labels in encoded], batch_first=True, padding_value=-100)[
        :, :cut
    ]
    report.equal(name, "input_ids", ids, torch.tensor(batch["input_ids"]))
    report.equal(name, "labels", labels, torch.tensor(batch["labels"]))
    report.equal(name, "attention_mask", ids != pad_id, torch.tensor(batch["attention_mask"]))
    report.equal(name, "conversations", len(encoded), len(batch["conversations"]))
