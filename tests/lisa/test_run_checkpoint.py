"""Checkpoints of a training run, of a small network in DeepSpeed's own engine."""

import json
import os
import shutil
from pathlib import Path

import pytest
import torch
from torch import nn

from lisa.arguments import TrainArgs
from lisa.engine import start_engine
from lisa.processes import join_processes
from lisa.run_checkpoint import (
    DamagedCheckpointError,
    RunState,
    checkpoints_in,
    load_checkpoint,
    newest_whole,
    read_state,
    save_checkpoint,
    verify,
)

FLAGS = {"batch_size": "2", "grad_accumulation_steps": "3"}


def engine(lr: float = 1e-2, **flags):
    """A linear layer, with a schedule of 100 steps."""
    join_processes()
    torch.manual_seed(0)
    args = TrainArgs(precision="fp32", batch_size=1, grad_accumulation_steps=1, warmup_steps=2, lr=lr, **flags)
    return start_engine(nn.Linear(4, 2), args, 100)


def steps(engine, number: int) -> None:
    for _ in range(number):
        engine.backward(engine(torch.ones(1, 4)).square().sum())
        engine.step()


def state(step: int, world: int = 1) -> RunState:
    return RunState(step=step, world=world, flags=FLAGS)


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


@pytest.fixture(scope="module")
def three(tmp_path_factory):
    """A folder in which checkpoints of steps 1, 2 and 3 were saved, and what was there after each."""
    folder, trained, seen = tmp_path_factory.mktemp("checkpoints"), engine(zero_stage=0), []
    (folder / "notes.txt").write_text("mine")
    (folder / "step_x").mkdir()
    (folder / "step_0000009.partial").mkdir()
    for step in (1, 2, 3):
        steps(trained, 1)
        save_checkpoint(trained, folder, state(step))
        seen.append(names(folder))
    return folder, seen


@pytest.fixture
def copy(three, tmp_path):
    return shutil.copytree(three[0], tmp_path / "copy")


def test_the_last_two_are_there_and_nothing_that_is_not_ours_is_removed(three):
    others = ["notes.txt", "step_x"]
    assert three[1] == [
        sorted([*others, "step_0000001"]),
        sorted([*others, "step_0000001", "step_0000002"]),
        sorted([*others, "step_0000002", "step_0000003"]),
    ]


def test_a_checkpoint_says_what_run_it_is_of(three):
    newest, problems = newest_whole(three[0])
    assert (newest.name, problems) == ("step_0000003", [])
    assert verify(newest) == read_state(newest) == state(3)
    assert state(3, world=4).images_per_step == 24


def test_without_checkpoints_there_is_none(tmp_path):
    assert newest_whole(tmp_path / "nowhere") == (None, [])


def damage_one(checkpoint: Path, how: str) -> None:
    path = checkpoint / "state" / "mp_rank_00_model_states.pt"
    data, record = bytearray(path.read_bytes()), checkpoint / "checkpoint.json"
    if how == "flipped":
        data[len(data) // 2] ^= 1
        path.write_bytes(data)
    elif how == "truncated":
        path.write_bytes(data[:-1])
    elif how == "empty":
        path.write_bytes(b"")
    elif how == "missing":
        path.unlink()
    elif how == "no record":
        record.unlink()
    elif how == "empty record":
        record.write_bytes(b"")
    elif how == "changed record":
        record.write_text(record.read_text().replace('"step": 3', '"step": 8'))
    elif how == "record is a list":
        record.write_text("[]")
    elif how == "record is not text":
        record.write_bytes(b"\xff\xfe\x00")
    elif how == "renamed":
        checkpoint.rename(checkpoint.with_name("step_0000007"))


DAMAGES = {
    "flipped": "mp_rank_00_model_states.pt was changed after it was saved",
    "truncated": "bytes instead of",
    "empty": "has 0 bytes instead of",
    "missing": "mp_rank_00_model_states.pt is missing",
    "no record": "checkpoint.json cannot be read",
    "empty record": "checkpoint.json is no record of a checkpoint",
    "changed record": "checkpoint.json was changed after it was saved",
    "record is a list": "checkpoint.json is no record of a checkpoint",
    "record is not text": "checkpoint.json is no record of a checkpoint",
    "renamed": "checkpoint.json is of another checkpoint, step 3",
}


@pytest.mark.parametrize("how", DAMAGES)
def test_a_damaged_checkpoint_is_told_and_the_one_before_it_is_taken(copy, how):
    damage_one(copy / "step_0000003", how)
    newest, problems = newest_whole(copy)
    assert newest.name == "step_0000002"
    assert len(problems) == 1
    assert DAMAGES[how] in problems[0]


def test_when_all_are_damaged_all_are_named(copy):
    damage_one(copy / "step_0000003", "flipped")
    damage_one(copy / "step_0000002", "missing")
    with pytest.raises(ValueError, match=r"(?s)no checkpoint in .*step_0000003.*step_0000002.*--overwrite"):
        newest_whole(copy)


def test_a_record_that_points_out_of_its_folder_is_damaged(copy):
    from lisa.run_checkpoint import _digest_of_record

    path = copy / "step_0000003" / "checkpoint.json"
    record = json.loads(path.read_text())
    del record["sha256"]
    record["files"] = {"../../notes.txt": [4, "0"]}
    path.write_text(json.dumps(record | {"sha256": _digest_of_record(record)}))
    with pytest.raises(DamagedCheckpointError):
        verify(copy / "step_0000003")


@pytest.mark.parametrize(("zero_stage", "optimizer"), [(0, "adamw"), (1, "adamw"), (2, "adamw"), (0, "muon")])
def test_training_goes_on_bit_for_bit_and_a_changed_rate_holds_from_the_next_step(tmp_path, zero_stage, optimizer):
    flags = {"zero_stage": zero_stage, "optimizer": optimizer}
    whole = engine(**flags)
    steps(whole, 3)
    save_checkpoint(whole, tmp_path, state(3))
    again = engine(**flags)
    load_checkpoint(again, tmp_path / "step_0000003")
    assert again.get_lr() == whole.get_lr()
    steps(again, 1)
    steps(whole, 1)
    assert torch.equal(again.module.weight, whole.module.weight)

    slower = engine(lr=1e-4, **flags)
    load_checkpoint(slower, tmp_path / "step_0000003")
    before, rate = slower.module.weight.clone(), 1e-2 * slower.get_lr()[-1] / again.get_lr()[-1]
    steps(slower, 1)
    if optimizer == "adamw":  # its steps are as large as the rate
        assert (slower.module.weight - before).abs().max() < 1.5e-4
    assert rate < 1.1e-4
    assert "TORCH_FORCE_WEIGHTS_ONLY_LOAD" not in os.environ


def test_a_checkpoint_that_would_run_code_is_not_loaded(copy):
    class Hostile:
        def __reduce__(self):
            return (os.mkdir, (str(copy / "hacked"),))

    torch.save({"module": Hostile()}, copy / "step_0000003" / "state" / "mp_rank_00_model_states.pt")
    with pytest.raises(Exception, match=r"(?i)weights.only"):
        load_checkpoint(engine(zero_stage=0), copy / "step_0000003")
    assert not (copy / "hacked").exists()


def test_one_of_the_same_step_is_replaced_and_the_old_one_put_aside(copy):
    trained = engine(zero_stage=0)
    steps(trained, 3)
    save_checkpoint(trained, copy, state(3))
    assert [path.name for path in checkpoints_in(copy)] == ["step_0000002", "step_0000003"]
    assert (copy / "step_0000003.damaged").is_dir()
    verify(copy / "step_0000003")
