from pathlib import Path

import pytest
import torch

from lisa.arguments import TrainArgs
from lisa.engine import (
    SampleStream,
    deepspeed_config,
    load_checkpoint,
    micro_batches,
    newest_checkpoint,
    save_checkpoint,
    steps_done,
)

ARGS = TrainArgs(epochs=3, steps_per_epoch=4, batch_size=2, grad_accumulation_steps=2)


def draw(epoch: int, i: int) -> tuple[int, int]:
    return epoch, i


def stream(rank=0, world=1, first_step=0, batch_size=2) -> list[list[tuple[int, int]]]:
    args = TrainArgs(epochs=3, steps_per_epoch=4, batch_size=batch_size, grad_accumulation_steps=2)
    samples = SampleStream(draw, list, args, rank, world, first_step)
    return [samples[n] for n in range(len(samples))]


def test_every_sample_of_every_epoch_comes_once_and_in_order():
    # 4 steps of 2 micro-batches of 2 pictures: 16 samples an epoch, 3 epochs, 24 micro-batches
    batches = stream()
    assert len(batches) == 24
    assert [sample for batch in batches for sample in batch] == [(epoch, i) for epoch in range(3) for i in range(16)]


def test_two_ranks_share_what_one_rank_would_read():
    alone = stream(batch_size=4)
    first, second = stream(rank=0, world=2), stream(rank=1, world=2)
    assert [one + other for one, other in zip(first, second, strict=True)] == alone


def test_grounding_steps_come_before_the_epochs_and_count_as_steps():
    args = TrainArgs(epochs=1, steps_per_epoch=4, grounding_steps=2, batch_size=1, grad_accumulation_steps=1)
    samples = SampleStream(draw, list, args, 0, 1, 0)
    assert [samples[n] for n in range(len(samples))] == [[(n // 4, n % 4)] for n in range(6)]


@pytest.mark.parametrize("step", [1, 5, 12])
def test_a_resumed_run_reads_on_at_the_very_sample(step):
    assert stream(first_step=step) == stream()[2 * step :]
    assert stream(rank=1, world=2, first_step=step) == stream(rank=1, world=2)[2 * step :]


@pytest.mark.parametrize("workers", [0, 2])
def test_batches_come_in_order_whatever_the_number_of_workers(workers):
    samples = SampleStream(draw, str, ARGS, 0, 1, 0)
    assert list(micro_batches(samples, workers)) == [str(batch) for batch in stream()]


def test_the_deepspeed_settings_follow_the_flags():
    args = TrainArgs(epochs=2, steps_per_epoch=5, warmup_steps=3, clip=0.7, precision="bf16", zero_stage=1)
    config = deepspeed_config(args, steps=10)
    assert (config["bf16"]["enabled"], config["fp16"]["enabled"]) == (True, False)
    assert (config["zero_optimization"]["stage"], config["gradient_clipping"]) == (1, 0.7)
    params = config["scheduler"]["params"]
    assert (params["total_num_steps"], params["warmup_num_steps"]) == (10, 3)
    assert params["warmup_type"] == "linear"
    assert not deepspeed_config(TrainArgs(precision="bf16_mixed"), 10)["bf16"]["enabled"]


class Engine:
    """Writes a file as DeepSpeed writes its own, and tells what was on disk at that moment."""

    global_rank = 0

    def __init__(self, fails: bool = False) -> None:
        self.fails = fails
        self.seen: list[str | None] = []

    def save_checkpoint(self, folder, tag, **_):
        self.seen = sorted(path.name for path in Path(folder).parent.iterdir())
        (Path(folder) / tag).mkdir()
        (Path(folder) / tag / "state.txt").write_text("weights")
        if self.fails:
            raise OSError("disk full")

    def load_checkpoint(self, folder, tag, **_):
        self.loaded = Path(folder)


@pytest.fixture(autouse=True)
def alone(monkeypatch):
    monkeypatch.setattr(torch.distributed, "barrier", lambda: None)


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_the_older_checkpoint_is_removed_after_the_new_one_is_there(tmp_path):
    engine = Engine()
    save_checkpoint(engine, tmp_path, 5)
    assert names(tmp_path) == ["step_0000005"]
    save_checkpoint(engine, tmp_path, 10)
    assert engine.seen == ["step_0000005", "step_0000010.partial"]  # while the new one was written
    assert names(tmp_path) == ["step_0000010"]
    assert steps_done(tmp_path) == 10
    load_checkpoint(engine, tmp_path)
    assert engine.loaded == tmp_path / "step_0000010"


def test_a_checkpoint_that_was_cut_off_is_passed_over_and_replaced(tmp_path):
    save_checkpoint(Engine(), tmp_path, 5)
    with pytest.raises(OSError, match="disk full"):
        save_checkpoint(Engine(fails=True), tmp_path, 10)
    assert names(tmp_path) == ["step_0000005", "step_0000010.partial"]
    assert steps_done(tmp_path) == 5
    save_checkpoint(Engine(), tmp_path, 10)
    assert names(tmp_path) == ["step_0000010"]


def test_a_cut_off_checkpoint_of_another_step_is_cleared_away_by_the_next(tmp_path):
    (tmp_path / "step_0000007.partial").mkdir()
    assert steps_done(tmp_path) == 0
    save_checkpoint(Engine(), tmp_path, 8)
    assert names(tmp_path) == ["step_0000008"]


def test_the_newest_of_several_is_loaded_by_its_number(tmp_path):
    for name in ("step_0000099", "step_0000100", "step_0000020"):
        (tmp_path / name).mkdir()
    assert newest_checkpoint(tmp_path).name == "step_0000100"


def test_without_a_checkpoint_the_run_starts_at_step_0(tmp_path):
    assert steps_done(tmp_path / "nowhere") == 0


def test_what_else_lies_in_the_folder_is_left_alone(tmp_path):
    (tmp_path / "notes.txt").write_text("mine")
    save_checkpoint(Engine(), tmp_path, 1)
    assert names(tmp_path) == ["notes.txt", "step_0000001"]
