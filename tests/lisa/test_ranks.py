"""A step is the same however it is shared out: over micro-batches, processes and stages of ZeRO."""

from __future__ import annotations

import json
import math
from pathlib import Path

import pytest
import torch
import torch.distributed as dist
from mixed_batches import run, trainer_of
from safetensors.torch import load_file, save_file

from lisa.processes import together

STAGES = (0, 1, 2)


def train_all(argv: list[str]) -> None:
    """A run for every stage of ZeRO, by `argv[1]` processes; the first writes down what came out."""
    folder, count, micro_batches = Path(argv[0]), int(argv[1]), int(argv[2])
    with together(count, train_all, argv):
        for stage in STAGES:
            own = folder / f"{stage}_{dist.get_rank()}"
            own.mkdir()
            samples = 2 // count // micro_batches
            trainer = run(
                folder / str(stage), zero_stage=stage, batch_size=samples, grad_accumulation_steps=micro_batches
            )
            trainer.engine.destroy()
            state = {name: tensor.clone() for name, tensor in trainer.model.state_dict().items()}
            save_file(state, own / "weights.safetensors")
            if count > 1:
                (own / "skipped.json").write_text(json.dumps(skip_one(folder / f"broken_{stage}", stage)))


def skip_one(folder: Path, stage: int) -> dict:
    """A run in which the last rank alone has a gradient that is not finite, once; what this rank knows of it."""
    trainer = trainer_of(folder, zero_stage=stage)
    last, passes = dist.get_rank() == trainer.world - 1, iter(range(9))

    def spoil(gradient):
        return gradient * float("nan") if next(passes) == 2 and last else gradient

    trainer.model.text_hidden_fcs[0][0].bias.register_hook(spoil)
    trainer.run_until(4, trainer.args.stages[0])
    trainer.engine.destroy()
    weights = [parameter.detach().double().sum().item() for parameter in trainer.model.parameters()]
    return {"skipped": trainer.skipped.total, "in_a_row": trainer.skipped.in_a_row, "weights": weights}


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """Weights and log of runs over the same samples, by (processes, micro-batches, stage)."""
    found = {}
    for count, micro_batches in ((1, 1), (1, 2), (2, 1)):
        folder = tmp_path_factory.mktemp("runs")
        train_all([str(folder), str(count), str(micro_batches)])
        for stage in STAGES:
            own = folder / f"{stage}_0"
            lines = (folder / str(stage) / "run" / "metrics.jsonl").read_text().splitlines()
            key = count, micro_batches, stage
            found[key] = load_file(own / "weights.safetensors"), list(map(json.loads, lines))
            for other in range(1, count):
                weights = load_file(folder / f"{stage}_{other}" / "weights.safetensors")
                assert all(torch.equal(weights[name], tensor) for name, tensor in found[key][0].items())
                assert_both_skipped_one(folder, stage)
    return found


def assert_both_skipped_one(folder: Path, stage: int) -> None:
    seen = [json.loads((folder / f"{stage}_{rank}" / "skipped.json").read_text()) for rank in (0, 1)]
    assert seen[0] == seen[1]
    assert (seen[0]["skipped"], seen[0]["in_a_row"]) == (1, [])
    assert all(map(math.isfinite, seen[0]["weights"]))


@pytest.mark.parametrize("stage", STAGES)
@pytest.mark.parametrize(("count", "micro_batches"), [(1, 1), (1, 2), (2, 1)])
def test_processes_micro_batches_and_zero_change_neither_losses_nor_weights(runs, count, micro_batches, stage):
    (weights, log), (expected, expected_log) = runs[count, micro_batches, stage], runs[1, 1, 0]
    for line, wanted in zip(log, expected_log, strict=True):
        terms = wanted.keys() - {"step", "stage", "lr", "images_per_second"}
        assert terms == {"loss", "ce", "bce", "dice", "dense", "iou", "ground", "ground_sam", "look"}
        assert {name: line[name] for name in terms} == pytest.approx({name: wanted[name] for name in terms}, abs=2e-5)
    differences = torch.cat([(weights[name] - tensor).abs().flatten() for name, tensor in expected.items()])
    # Where a gradient is next to nothing, Adam makes a step of its rounding.
    assert (differences > 1e-5).float().mean() < 2e-3
