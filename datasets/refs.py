"""refs(<split by>).p and grefs(<split by>).p or .json: who refers to what, in which split."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from datasets.collected import Collected
from datasets.files import field, note, open_json
from datasets.plain_pickle import read_plain_pickle
from datasets.templates import check_text

NO_TARGET = -1
"""Stands in gRefCOCO where an annotation would, when the picture holds no such thing."""


class UnknownSplitError(ValueError):
    """A dataset has no split of this name."""


def load_refs(path: Path, split: str) -> list[dict]:
    """The refs of a split, each {"ref_id", "image_id", "ann_ids": list, "sentences": [[text, kind], ...]}.

    ann_ids is empty where nothing is referred to. Refs without a sentence, which the val split of gRefCOCO has, are
    left out, and the user is told how many.
    """
    chosen = select_split(_with_split(read_refs(path), path), split, path)
    problems, refs = Collected(), []
    for ref in chosen:
        with problems.guard():
            refs.append(_checked(ref, path))
    problems.refuse(path)
    asked = [ref for ref in refs if ref["sentences"]]
    if not asked:
        raise ValueError(f"{path}: no ref of split {split!r} has a sentence; restore the file from its source")
    if len(asked) < len(refs):
        left_out = next(ref["ref_id"] for ref in refs if not ref["sentences"])
        note(
            f"{path}: {len(refs) - len(asked)} of the {len(refs)} refs of split {split!r} have no sentence and are "
            f"left out (the first is ref {left_out})"
        )
    return asked


def read_refs(path: Path) -> list[dict]:
    """The list of dicts in a refs file, a pickle or JSON."""
    refs = open_json(path) if path.suffix == ".json" else read_plain_pickle(path)
    if not isinstance(refs, list) or not refs:
        raise ValueError(f"{path}: a refs file holds a list of refs, at least one, not {refs!r:.60}")
    return refs


def select_split(refs: list[dict], split: str, source: Path) -> list[dict]:
    """The refs of a split, at least one.

    testA, testB and testC match a test split that has their letter ("testAB" counts for both), test matches
    every test split, any other name matches itself.
    """
    chosen = [ref for ref in refs if _in_split(ref["split"], split)]
    if not chosen:
        known = ", ".join(sorted({ref["split"] for ref in refs}))
        raise UnknownSplitError(f"{source}: no split {split!r}; it has {known}")
    return chosen


def _in_split(split_of_ref: str, split: str) -> bool:
    if split == "test":
        return "test" in split_of_ref
    if split in ("testA", "testB", "testC"):
        return split_of_ref.startswith("test") and split[-1] in split_of_ref
    return split_of_ref == split


def _with_split(refs: list[Any], path: Path) -> list[dict]:
    for index, ref in enumerate(refs):
        number = field(ref, "ref_id", (int, str), f"{path}: record {index}")
        field(ref, "split", str, f"{path}: ref {number}")
    return refs


def _checked(ref: dict, path: Path) -> dict:
    """A ref with every field that is used there and of its type."""
    where = f"{path}: ref {ref['ref_id']}"
    sentences = [_sentence(s, where) for s in field(ref, "sentences", list, where) if not is_blank(s)]
    return {
        "ref_id": ref["ref_id"],
        "image_id": field(ref, "image_id", (int, str), where),
        "ann_ids": _annotations(field(ref, "ann_id", (int, list), where), where),
        "sentences": sentences,
    }


def _annotations(ann_id: int | list, where: str) -> list[int]:
    """One annotation in refCOCO; several, or NO_TARGET alone, in gRefCOCO."""
    ann_ids = ann_id if isinstance(ann_id, list) else [ann_id]
    if not ann_ids or not all(isinstance(number, int) for number in ann_ids):
        raise ValueError(f"{where}: field 'ann_id' is {ann_id!r:.60}, not an annotation or a list of them")
    if ann_ids == [NO_TARGET]:
        return []
    if NO_TARGET in ann_ids:
        raise ValueError(
            f"{where}: {NO_TARGET} (no target) beside other annotations in {ann_ids}; keep one or the other"
        )
    return ann_ids


def is_blank(sentence: Any) -> bool:
    """Whether a sentence's text is empty."""
    return isinstance(sentence, dict) and isinstance(sentence.get("sent"), str) and not sentence["sent"].strip()


def _sentence(record: Any, where: str) -> list[str]:
    text = check_text(field(record, "sent", str, where), where).lower()
    return [text, field(record, "type", str, where) if "type" in record else ""]
