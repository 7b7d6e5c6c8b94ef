"""Every record of flags, of scripts and commands: numbers have ranges, and all that is wrong is told at once."""

from __future__ import annotations

from dataclasses import fields, is_dataclass
from typing import get_type_hints

import pytest

import app
import chat
import train_clicks
from datasets.check.__main__ import Flags as DoctorFlags
from datasets.synthetic.__main__ import Flags as WorldFlags
from eval.cli import EvalFlags
from lisa.arguments import TrainArgs
from lisa.cli.annotate import Annotate
from lisa.cli.ask import Ask
from lisa.cli.chat import ChatArgs
from lisa.cli.doctor import Doctor
from lisa.cli.info import Info
from lisa.cli.main import main
from lisa.convert import ConvertArgs
from lisa.flag_ranges import RANGES, Range
from lisa.serve import ServeArgs

RECORDS = [TrainArgs, EvalFlags, train_clicks.ClickArgs, ChatArgs, Ask, Annotate, ServeArgs, ConvertArgs, Info, Doctor,
           DoctorFlags, WorldFlags]  # fmt: skip


def number_fields(record: type) -> set[str]:
    """Names of the fields that take a number, also of the records within."""
    names = set()
    for name, kind in get_type_hints(record).items():
        if name not in {field.name for field in fields(record)}:
            continue
        if is_dataclass(kind):
            names |= number_fields(kind)
        elif {kind, *getattr(kind, "__args__", ())} & {int, float}:
            names.add(name)
    return names


@pytest.mark.parametrize("record", RECORDS, ids=lambda record: f"{record.__module__}.{record.__name__}")
def test_every_number_that_a_flag_takes_has_a_range(record):
    assert number_fields(record) <= RANGES.keys()


def test_no_range_is_of_a_flag_that_is_gone():
    assert set.union(*map(number_fields, RECORDS)) | {"zero_stage"} == RANGES.keys()


@pytest.mark.parametrize(
    ("allowed", "inside", "outside"),
    [
        (Range(low=1), [1, 10**9], [0, -1, float("inf"), float("nan")]),
        (Range(low=0, high=1), [0, 0.5, 1], [-0.1, 1.1]),
        (Range(low=0, above=True), [1e-9], [0, -1]),
        (Range(low=0, high=1, also=(-1,)), [-1, 0], [-0.5, -2]),
    ],
)
def test_a_range_holds_its_ends(allowed, inside, outside):
    assert all(value in allowed for value in inside)
    assert not any(value in allowed for value in outside)


@pytest.mark.parametrize(
    ("run", "parts"),
    [
        (lambda: main(["ask", "gone.jpg", "Where?", "--model", "gone/from/here", "--max-new-tokens", "0"]),
         ["gone.jpg: no such picture", "no model folder at gone/from/here", "--max-new-tokens 0"]),
        (lambda: chat.main(["--image", "gone.jpg", "--model", "gone/from/here", "--max-new-tokens", "-1"]),
         ["gone.jpg: no such picture", "no model folder at gone/from/here", "--max-new-tokens -1"]),
        (lambda: main(["annotate", "gone", "--prompts", "gone.txt", "--out", __file__, "--batch-size", "0"]),
         ["gone: there is no such folder", "--prompts gone.txt", "is a file; name a folder", "--batch-size 0"]),
        (lambda: main(["serve", "--model", "gone/from/here", "--port", "70000", "--limits.sessions", "0"]),
         ["no model folder at gone/from/here", "--port 70000", "--limits.sessions 0"]),
        (lambda: app.main(["--model", "gone/from/here", "--port=-1", "--device", "abacus"]),
         ["no model folder at gone/from/here", "--port -1", "--device 'abacus'"]),
        (lambda: main(["convert", "gone", "out", "--lora-alpha", "nan", "--model-max-length", "0"]),
         ["--lora-alpha nan", "--model-max-length 0"]),
        (lambda: train_clicks.main(["--model", "gone/from/here", "--dataset_dir", "gone", "--lr", "0", "--steps", "0",
                                    "--other_targets", "2", "--val_data", "refcok|unc|val"]),
         ["no model folder at gone/from/here", "--dataset_dir gone", "--lr 0", "--steps 0", "--other_targets 2",
          "'refcok'"]),
    ],
    ids=["ask", "chat", "annotate", "serve", "app", "convert", "train_clicks"],
)  # fmt: skip
def test_a_command_tells_all_that_is_wrong_with_its_flags(run, parts):
    with pytest.raises(ValueError, match="problems") as refusal:
        run()
    assert [part for part in parts if part not in str(refusal.value)] == []
