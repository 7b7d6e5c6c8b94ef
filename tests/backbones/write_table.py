"""Write docs/backbones.md: `python tests/backbones/write_table.py`, from the root of the checkout.

All of it but the last column is the same wherever it is written; a test holds the page to it.
"""

from __future__ import annotations

import math
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT), str(ROOT / "tests"), str(Path(__file__).parent)]

import torch
from contract import PICTURES, Subject, encoded, prefix_of
from families import FAMILIES, TEXT, Toy, ask, toy_lisa

from lisa.pictures import WHOLE, View
from lisa.seg import seg_positions

PAGE = ROOT / "docs" / "backbones.md"
TOP = """# Backbones

A LISA stands on a vision-language model of one of these families of transformers (`--version` takes a model's folder or
hub id, `--conv_type` the way its conversations are written); [add-a-backbone.md](add-a-backbone.md) shows how to add
one. Each keeps the same contract (`tests/backbones/contract.py`), for which a tiny random model of the family is built;
the table is about those models and was written by `python tests/backbones/write_table.py`.

"""
NOTES = """
- image tokens: of a picture of 60 x 30 pixels and of one of 40 x 70, where a tile or a tower's square is 32 x 32.
- tiles: of the same pictures; "whole" is a view of the whole picture.
- parameters: of the tiny vision-language model of the contract.
- [SEG] state: largest difference to the state that transformers' own forward of the whole conversation gives, in fp32,
  where channels are of size 1.
- tokens: what the language model reads for eight questions about a picture, packed, as a share of what it reads without
  packing. PaliGemma's picture sees the question, so its questions share image tokens, but no states.
- speed-up: of packing, in forward and backward of a language model of 4 layers of width 256, on that batch and one
  thread.
"""
COLUMNS = ("family", "image tokens", "tiles", "attention", "parameters", "[SEG] state", "tokens", "speed-up")
THINGS = ("red ball", "dog", "cat", "sky", "sand", "grass", "ball on the left", "red dog")
QUESTIONS = [ask(f"Where is the {thing}?", "Sure, [SEG].") for thing in THINGS]


def describe(name: str) -> dict[str, str]:
    """The columns that are the same on every machine, but for rounding in the [SEG] state."""
    subject = Subject(FAMILIES[name])
    reader = subject.processor.pictures
    texts = [reader.text(reader.pixels([image])[1][0]) for image in PICTURES]
    places = {1: "causal", 3: "causal, places in time, height and width"}[reader.rules.axes]
    packed, separate = (tokens(subject, packing) for packing in (True, False))
    return {
        "family": f"`{name}`",
        "image tokens": ", ".join(dict.fromkeys(str(text.num_tokens) for text in texts)),
        "tiles": "; ".join(dict.fromkeys(tiles(text.views) for text in texts)),
        "attention": "full over picture and question, then causal" if reader.rules.full_prefix else places,
        "parameters": f"{sum(p.numel() for p in subject.model.vlm.parameters()):,}",
        "[SEG] state": f"{seg_difference(subject):.0e}",
        "tokens": f"{packed / separate:.2f}",
    }


def tiles(views: tuple[View, ...]) -> str:
    cut = sum(view.box != WHOLE for view in views)
    if cut:
        return f"{cut} + whole"
    return "whole + joined tiles" if len(views) > 1 else "none"


def seg_difference(subject: Subject) -> float:
    batch, config = subject.batch(), subject.model.config
    with torch.no_grad():
        states = subject.model.hidden_states(batch.rows, subject.model.image_tokens(batch))
    ours = states[seg_positions(batch.rows, config.seg_token_id, config.seg_state)]
    plain = []
    for image, one in encoded(subject):
        before = (one.labels == config.seg_token_id).nonzero()[:, 0] - 1
        plain.append(subject.plain_states(subject.whole(image, one.input_ids, one.image_index, prefix_of(one)))[before])
    return (ours - torch.cat(plain)).abs().max().item()


def eight_questions(subject: Subject, packing: bool):
    model, processor = toy_lisa(subject.toy)
    processor.packing = packing
    return model, processor(PICTURES[:1], [QUESTIONS])


def tokens(subject: Subject, packing: bool) -> int:
    _, batch = eight_questions(subject, packing)
    return int((batch.rows.segments >= 0).sum())


LARGER = {
    "hidden_size": 256,
    "intermediate_size": 704,
    "num_hidden_layers": 4,
    "num_attention_heads": 4,
    "num_key_value_heads": 4,
    "head_dim": 64,
}
"""Of the language model whose time is measured."""


def speed_up(toy: Toy, repeats: int = 10) -> float:
    """Ratio of the shortest times, taken in turns."""
    subject, shortest = Subject(toy), [math.inf, math.inf]
    batches = [eight_questions(subject, packing) for packing in (False, True)]
    for _ in range(repeats):
        for turn, (model, batch) in enumerate(batches):
            image_tokens = model.image_tokens(batch).detach()
            start = time.process_time()
            model.hidden_states(batch.rows, image_tokens).sum().backward()
            shortest[turn] = min(shortest[turn], time.process_time() - start)
    return shortest[0] / shortest[1]


def table(rows: list[dict[str, str]]) -> str:
    lines = [COLUMNS, ("---",) * len(COLUMNS), *([row[column] for column in COLUMNS] for row in rows)]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


def main() -> None:
    torch.set_num_threads(1)
    rows = [describe(name) for name in FAMILIES]
    TEXT.update(LARGER)
    for row, toy in zip(rows, FAMILIES.values(), strict=True):
        row["speed-up"] = f"{speed_up(toy):.1f}"
    PAGE.write_text(TOP + table(rows) + NOTES, encoding="utf-8")
    print(PAGE.read_text(encoding="utf-8"))


if __name__ == "__main__":
    main()
