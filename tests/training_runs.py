"""Real training runs in processes of their own that start in a moment: a server with all imports done forks them."""

from __future__ import annotations

import json
import multiprocessing
import os
import signal
import socket
import sys
import time
from pathlib import Path

import numpy as np
from PIL import Image

sys.path.insert(0, str(Path(__file__).parent / "lisa"))  # small_model

SERVER = multiprocessing.get_context("forkserver")
SERVER.set_forkserver_preload(["tests.training_preload"])
LAUNCHER = ("RANK", "LOCAL_RANK", "WORLD_SIZE", "LOCAL_WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT")

SHORT = {
    "dataset": "own",
    "sample_rates": "1",
    "trainable": "all",
    "precision": "fp32",
    "zero_stage": "0",
    "epochs": "1",
    "steps_per_epoch": "6",
    "batch_size": "2",
    "grad_accumulation_steps": "1",
    "num_classes_per_sample": "2",
    "warmup_steps": "2",
    "lr": "1e-3",
    "save_every": "2",
    "print_freq": "1",
    "workers": "0",
    "save_dtype": "fp32",
    "exp_name": "run",
}


def make_inputs(folder: Path) -> dict[str, str]:
    """A model of a hundred thousand weights and a file of data; the flags that name them."""
    from small_model import small_lisa

    from lisa.checkpoint import save

    model, processor = small_lisa()
    save(model, processor, folder / "model")
    lines = []
    for i in range(6):
        pixels = np.random.default_rng(i).integers(0, 256, (24, 32, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(folder / f"{i}.png")
        ask = {"image": f"{i}.png", "question": "Where is the red ball?", "answer": "Sure, [SEG]."}
        lines.append(ask | {"masks": [[2, 2, 20 + i, 2, 20, 20]]})
    (folder / "own.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    data = str(folder / "own.jsonl")
    return {"version": str(folder / "model"), "own_data": data, "val_dataset": f"own|{data}"}


class Run:
    """`train_ds.py` with flags, as one process, or as several that a launcher started; its output goes to a file."""

    def __init__(self, flags: dict[str, str], log: Path, ranks: int = 1, prepare: str = "") -> None:
        argv = [word for name, value in flags.items() for word in ([f"--{name}", value] if value else [f"--{name}"])]
        self.log = log
        log.parent.mkdir(parents=True, exist_ok=True)
        log.write_text("")
        port = free_port()
        self.processes = []
        for rank in range(ranks):
            place = dict(zip(LAUNCHER, (rank, rank, ranks, ranks, "127.0.0.1", port), strict=True)) if ranks > 1 else {}
            place = {name: str(value) for name, value in place.items()}
            process = SERVER.Process(target=_train, args=(argv, place, str(log), prepare))
            process.start()
            self.processes.append(process)

    def wait(self, seconds: float = 240) -> list[int]:
        """The exit codes, by rank; negative numbers are signals."""
        deadline = time.monotonic() + seconds
        for process in self.processes:
            process.join(max(0.1, deadline - time.monotonic()))
        late = [process for process in self.processes if process.exitcode is None]
        for process in late:
            process.kill()
            process.join()
        assert not late, f"the run did not end:\n{self.output()}"
        return [process.exitcode for process in self.processes]

    def kill(self, number: signal.Signals, *ranks: int) -> None:
        """Send a signal to some ranks, or to all."""
        for rank in ranks or range(len(self.processes)):
            process = self.processes[rank]
            if process.exitcode is None:
                os.kill(process.pid, number)

    def output(self) -> str:
        """Both streams of all ranks."""
        return self.log.read_text(errors="replace")

    def until(self, text: str, seconds: float = 120) -> None:
        """Wait for a text of the output."""
        deadline = time.monotonic() + seconds
        while text not in self.output():
            assert time.monotonic() < deadline, f"{text!r} was not told:\n{self.output()}"
            assert any(p.exitcode is None for p in self.processes), f"the run ended:\n{self.output()}"
            time.sleep(0.01)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def _train(argv: list[str], place: dict[str, str], log: str, prepare: str) -> None:
    """A user's process: its output to the log, exit code as a script's."""
    descriptor = os.open(log, os.O_WRONLY | os.O_APPEND)
    os.dup2(descriptor, 1)
    os.dup2(descriptor, 2)
    sys.stdout = os.fdopen(1, "w", buffering=1)
    sys.stderr = os.fdopen(2, "w", buffering=1)
    signal.signal(signal.SIGINT, signal.default_int_handler)  # the server ignores it
    multiprocessing.set_start_method("fork", force=True)  # a user's process is not a server's child
    for name in LAUNCHER:
        os.environ.pop(name, None)
    os.environ.update(place)
    import train_ds
    from lisa.cli.exits import exit_with_sentence

    if prepare:
        from tests import training_preload

        getattr(training_preload, prepare)()
    exit_with_sentence(lambda: train_ds.main(argv) and None)
