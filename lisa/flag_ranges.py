"""The range of every number that a flag takes, by the flag's name, and how what is wrong with flags is told.

A name means the same in every command and script, so the table is one; a test holds every record of flags against it.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, fields, is_dataclass
from pathlib import Path
from typing import Any

from lisa.kept import KEPT_MODELS


@dataclass(frozen=True, kw_only=True)
class Range:
    """The numbers from `low` to `high`, both included unless `above` says that `low` is not; and those of `also`."""

    low: float
    high: float = math.inf
    above: bool = False
    also: tuple[float, ...] = ()

    def __contains__(self, value: float) -> bool:
        if value in self.also:
            return True
        return math.isfinite(value) and self.low <= value <= self.high and not (self.above and value == self.low)

    def __str__(self) -> str:
        if self.high == math.inf:
            words = f"{'greater than' if self.above else 'at least'} {self.low:g}"
        else:
            words = f"{'greater than' if self.above else 'from'} {self.low:g} {'and at most' if self.above else 'to'} "
            words += f"{self.high:g}"
        return ", or ".join([words, *(f"{value:g}" for value in self.also)])


COUNT = Range(low=1)
NUMBER = Range(low=0)
SHARE = Range(low=0, high=1)
WEIGHT = Range(low=0, high=1e6)
RATE = Range(low=0, high=10, above=True)
SEED = Range(low=0, high=2**63 - 1)

RANGES: dict[str, Range] = {
    # Training
    "model_max_length": Range(low=16, high=1e7),
    "lora_r": Range(low=1, high=65536),
    "lora_alpha": Range(low=0, high=1e6, above=True),
    "lora_dropout": Range(low=0, high=0.99),
    "num_classes_per_sample": COUNT,
    "explanatory": Range(low=0, high=1, also=(-1,)),
    "name_targets": SHARE,
    "workers": Range(low=0, high=1024),
    "ce_loss_weight": WEIGHT,
    "bce_loss_weight": WEIGHT,
    "dice_loss_weight": WEIGHT,
    "dense_loss_weight": WEIGHT,
    "iou_loss_weight": WEIGHT,
    "ground_loss_weight": WEIGHT,
    "look_loss_weight": WEIGHT,
    "epochs": COUNT,
    "steps_per_epoch": COUNT,
    "vision_steps": NUMBER,
    "grounding_steps": NUMBER,
    "processes": Range(low=1, high=1024),
    "batch_size": COUNT,
    "grad_accumulation_steps": COUNT,
    "lr": RATE,
    "muon_lr": RATE,
    "warmup_steps": NUMBER,
    "beta1": Range(low=0, high=0.99999),
    "beta2": Range(low=0, high=0.9999999),
    "weight_decay": SHARE,
    "clip": Range(low=0, above=True),
    "zero_stage": Range(low=0, high=2),
    "seed": SEED,
    "save_every": COUNT,
    "max_skipped_steps": COUNT,
    "eval_every": NUMBER,
    "val_batch_size": COUNT,
    "val_limit": NUMBER,
    "print_freq": COUNT,
    "profile": NUMBER,
    "local_rank": Range(low=-1),
    # Evaluation
    "limit": COUNT,
    # train_clicks.py
    "pictures": COUNT,
    "other_targets": SHARE,
    "steps": COUNT,
    # `clicks` of train_clicks.py and of the server
    "clicks": COUNT,
    # Commands
    "max_new_tokens": COUNT,
    # The server
    "port": Range(low=0, high=65535),
    "upload_megabytes": COUNT,
    "full_megapixels": COUNT,
    "decode_megabytes": COUNT,
    "receiving_megabytes": COUNT,
    "waiting": NUMBER,
    "requests_per_client": COUNT,
    "connections_per_client": COUNT,
    "header_seconds": Range(low=0, above=True),
    "body_seconds": Range(low=0, above=True),
    "slowest_kilobytes": COUNT,
    "shutdown_seconds": Range(low=0, above=True),
    "sessions": COUNT,
    "cached_sessions": COUNT,
    "idle_minutes": Range(low=0, above=True),
    "answer_tokens": COUNT,
    "masks": COUNT,
    "preview": Range(low=16),
    # python -m datasets.synthetic
    "images": Range(low=5),
}


def number_problems(flags: Any, hyphens: bool = False) -> list[str]:
    """A sentence for each number in a record of flags (and in the records it holds) that is outside its range.

    hyphens: the command spells its flags so, as in --batch-size.
    """
    return [
        f"--{name.replace('_', '-') if hyphens else name} {value}: it must be {RANGES[name.rpartition('.')[2]]}"
        for name, value in _numbers(flags)
        if value not in RANGES[name.rpartition(".")[2]]
    ]


def _numbers(flags: Any, prefix: str = "") -> Iterator[tuple[str, float]]:
    for field in fields(flags):
        value = getattr(flags, field.name)
        if is_dataclass(value):
            yield from _numbers(value, f"{prefix}{field.name}.")
        elif isinstance(value, (int, float)) and not isinstance(value, bool):
            yield prefix + field.name, value


def device_problems(device: str) -> list[str]:
    """What is wrong with --device."""
    if device in ("auto", "cpu"):
        return []
    import torch

    try:
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError) as error:
        reason = str(error).splitlines()[0]
        return [f"--device {device!r}: device {device!r} cannot be used here ({reason}); use auto or cpu"]
    return []


def model_name_problems(model: str) -> list[str]:
    """What is wrong with --model, by its name alone: no such folder, and no name of the hub's or of ours."""
    hub = model.count("/") == 1 and not model.startswith((".", "/", "~"))
    if hub or Path(model).is_dir() or (KEPT_MODELS / model).is_dir():
        return []
    kept = ", ".join(sorted(path.name for path in KEPT_MODELS.glob("*"))) or "none yet"
    return [f"no model folder at {model}; give the folder of a model, or one that comes with the library ({kept})"]


def check_command(flags: Any, problems: Iterable[str] = ()) -> None:
    """Refuse a command's flags whose numbers are out of range or whose model or device is not there, all at once."""
    found = [*number_problems(flags, hyphens=True), *problems]
    if hasattr(flags, "device"):
        found += model_name_problems(flags.model) + device_problems(flags.device)
    refuse(found)


def refuse(problems: Sequence[str]) -> None:
    """A ValueError that tells all problems at once, where there are any."""
    problems = list(dict.fromkeys(problems))
    if len(problems) == 1:
        raise ValueError(problems[0])
    if problems:
        raise ValueError(f"{len(problems)} problems, none of which was acted on:\n- " + "\n- ".join(problems))
