"""Processes of one machine that train together."""

from __future__ import annotations

import json
import os
import tempfile
from pathlib import Path

import pytest
import torch
import torch.distributed as dist

from lisa.processes import end_group, is_first, together


def add_up(argv: list[str]) -> None:
    """What every process does: it adds its number plus one to those of the others, and writes down what it saw."""
    folder, count = Path(argv[0]), int(argv[1])
    with together(count, add_up, argv):
        total = torch.tensor([dist.get_rank() + 1.0])
        dist.all_reduce(total)
        seen = {"total": total.item(), "first": is_first(), "world": dist.get_world_size()}
        seen["threads"] = torch.get_num_threads()
        (folder / f"{dist.get_rank()}.json").write_text(json.dumps(seen))


def break_down(argv: list[str]) -> None:
    with together(int(argv[0]), break_down, argv):
        if dist.get_rank() == 1:
            raise ValueError("the second one cannot go on")
        dist.barrier()


def written(folder: Path) -> dict[str, dict]:
    return {path.stem: json.loads(path.read_text()) for path in sorted(folder.iterdir())}


def test_three_processes_are_one_group(tmp_path):
    threads = torch.get_num_threads()
    add_up([str(tmp_path), "3"])
    seen = written(tmp_path)
    assert [one["total"] for one in seen.values()] == [6.0, 6.0, 6.0]
    assert [one["first"] for one in seen.values()] == [True, False, False]
    assert all(one["threads"] == max(1, threads // 3) for one in seen.values())
    assert torch.get_num_threads() == threads
    assert "RANK" not in os.environ
    assert not dist.is_initialized()


def test_one_process_starts_no_other_and_leaves_no_file(tmp_path, tmp_path_factory, monkeypatch):
    elsewhere = tmp_path_factory.mktemp("temporary")
    monkeypatch.setattr(tempfile, "tempdir", str(elsewhere))
    end_group()
    add_up([str(tmp_path), "1"])
    assert list(elsewhere.iterdir()) == []
    assert written(tmp_path) == {"0": {"total": 1.0, "first": True, "world": 1, "threads": torch.get_num_threads()}}


def test_an_error_in_one_process_ends_all():
    with pytest.raises(Exception, match="the second one cannot go on"):
        break_down(["2"])
    assert "RANK" not in os.environ


def test_two_processes_do_not_share_a_gpu(monkeypatch, tmp_path):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    with pytest.raises(ValueError, match="--processes is 2, but there are 1 GPUs"):
        add_up([str(tmp_path), "2"])


def test_a_number_that_disagrees_with_a_launcher_is_refused(monkeypatch, tmp_path):
    monkeypatch.setenv("RANK", "0")
    monkeypatch.setenv("WORLD_SIZE", "4")
    with pytest.raises(ValueError, match="--processes is 2, but a launcher started 4"):
        add_up([str(tmp_path), "2"])
