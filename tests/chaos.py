"""Kill a training run at random, damage what it left, fill its disk: it must end with the unbroken run's weights.

python tests/chaos.py [--kills 20] [--seed 0] [--ranks 2]

Every run is the real train_ds.py in processes of its own, on a tiny model. Prints a line for each fault and a summary;
the exit code is 1 when anything was lost, or when anything but a sentence was told.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import random
import shutil
import signal
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from tests.training_runs import SHORT, Run, make_inputs

STEPS = 12
EXPECTED = {0, 1, 2, 75, 130, 143, -signal.SIGKILL, -signal.SIGTERM, -signal.SIGINT}


class Chaos:
    """Runs over the same data with the same seed, whose weights at the end must all be the same."""

    def __init__(self, folder: Path, ranks: int, seed: int) -> None:
        self.folder, self.ranks, self.random = folder, ranks, random.Random(seed)
        more = {"steps_per_epoch": str(STEPS), "no_eval": "", "workers": "1", "log_base_dir": str(folder / "runs")}
        self.flags = SHORT | make_inputs_once(folder) | more
        self.problems: list[str] = []
        self.finish("unbroken")
        self.wanted = self.weights("unbroken")

    def run(self, name: str, prepare: str = "", **flags: str) -> Run:
        """Start or go on with the run of this name."""
        log = self.folder / "logs" / f"{name}-{time.monotonic_ns()}.txt"
        return Run(self.flags | {"exp_name": name, "resume": ""} | flags, log, self.ranks, prepare)

    def finish(self, name: str) -> Run:
        """Let the run of this name come to its end."""
        run = self.run(name)
        self.check(run.wait() == [0] * self.ranks, f"{name} did not end well", run)
        self.check_output(run)
        return run

    def weights(self, name: str) -> str:
        """sha256 of the model at the end; "" when there is none."""
        path = self.run_dir(name) / "model" / "model.safetensors"
        return hashlib.sha256(path.read_bytes()).hexdigest() if path.exists() else ""

    def run_dir(self, name: str) -> Path:
        return self.folder / "runs" / name

    def check(self, good: bool, problem: str, run: Run | None = None) -> None:
        if not good:
            self.problems.append(problem + (f":\n{run.output()}" if run else ""))

    def check_output(self, run: Run) -> None:
        self.check("Traceback" not in run.output(), "a foreign trace", run)

    def check_weights(self, name: str) -> None:
        self.check(self.weights(name) == self.wanted, f"{name} ended with other weights than the unbroken run")


def make_inputs_once(folder: Path) -> dict[str, str]:
    (folder / "inputs").mkdir(parents=True)
    return make_inputs(folder / "inputs")


def kill(chaos: Chaos, name: str, kind: str) -> bool:
    """Go on with a run and end it at a random moment; false when it came to its end before."""
    run = chaos.run(name)
    if kind == "while saving":
        partial = chaos.run_dir(name) / "checkpoints"
        skip = chaos.random.randrange(3)
        while any(process.exitcode is None for process in run.processes):
            if list(partial.glob("step_*.partial")):
                if not skip:
                    break
                skip -= 1
                time.sleep(0.1)
            time.sleep(0.0005)
        number, ranks = chaos.random.choice((signal.SIGKILL, signal.SIGTERM)), range(chaos.ranks)
    else:
        steps = chaos.random.randrange(-1, 4)  # -1: while it starts
        while run.output().count("\nstep ") < steps and any(process.exitcode is None for process in run.processes):
            time.sleep(0.005)
        time.sleep(chaos.random.uniform(0, 3 if steps < 0 else 0.2))
        number = signal.Signals[kind.split()[0]]
        ranks = [chaos.random.randrange(chaos.ranks)] if kind.endswith("one") else range(chaos.ranks)
    run.kill(number, *ranks)
    codes = run.wait()
    chaos.check(set(codes) <= EXPECTED, f"{kind}: exit codes {codes}", run)
    chaos.check_output(run)
    steps = sorted(path.name for path in (chaos.run_dir(name) / "checkpoints").glob("step_*"))
    print(f"  {kind:13} exit codes {codes}, {', '.join(steps) or 'no checkpoint'}", flush=True)
    return codes != [0] * chaos.ranks


KILLS = ("SIGKILL one", "SIGKILL all", "SIGTERM one", "SIGTERM all", "SIGINT all", "while saving")


def kills(chaos: Chaos, count: int) -> Counter:
    """So many ends before the end, spread over runs that then come to theirs."""
    done, number = Counter(), 0
    while done.total() < count:
        name = f"killed{number}"
        for _ in range(8):
            kind = KILLS[done.total() % len(KILLS)]
            if done.total() == count or not kill(chaos, name, kind):
                break
            done[kind] += 1
        chaos.finish(name)
        chaos.check_weights(name)
        number += 1
    return done


def flip(run: Path, newest: Path) -> None:
    path = newest / "state" / "mp_rank_00_model_states.pt"
    data = bytearray(path.read_bytes())
    for i in range(0, len(data), max(1, len(data) // 572)):
        data[i] ^= 0xFF
    path.write_bytes(data)


def truncate(run: Path, newest: Path) -> None:
    path = newest / "state" / "mp_rank_00_model_states.pt"
    path.write_bytes(path.read_bytes()[:-1000])


def empty(run: Path, newest: Path) -> None:
    (newest / "state" / "mp_rank_00_model_states.pt").write_bytes(b"")


def missing(run: Path, newest: Path) -> None:
    (newest / "state" / "mp_rank_00_model_states.pt").unlink()


def record(run: Path, newest: Path) -> None:
    path = newest / "checkpoint.json"
    path.write_text(path.read_text().replace('"world": ', '"world": 1'))


def stray(run: Path, newest: Path) -> None:
    (run / "checkpoints" / "step_x").mkdir()
    (run / "checkpoints" / "step_0000099").write_text("a file")
    (run / "checkpoints" / "step_0000098.partial").mkdir()


def bad_flags(run: Path, newest: Path) -> None:
    (run / "flags.json").write_text('{"lr": "0.00')


def bad_metrics(run: Path, newest: Path) -> None:
    path = run / "metrics.jsonl"
    path.write_bytes(path.read_bytes() + b"\xff\x00\x13\n[]\n" + b'{"step": "one"}\n')


DAMAGES: dict[str, tuple[Callable[[Path, Path], None], str]] = {
    "flipped bytes": (flip, "was changed after it was saved"),
    "truncated file": (truncate, "bytes instead of"),
    "empty file": (empty, "has 0 bytes instead of"),
    "missing file": (missing, "is missing"),
    "changed record": (record, "was changed after it was saved"),
    "stray entries": (stray, ""),
    "damaged flags.json": (bad_flags, "flags.json is damaged or missing"),
    "damaged metrics.jsonl": (bad_metrics, "3 lines of"),
}


def stopped_run(chaos: Chaos) -> Path:
    """The folder of a run that was stopped in its middle, with two checkpoints."""
    run = chaos.run("stopped")
    run.until("step 5/")
    run.kill(signal.SIGTERM)
    codes = run.wait()
    chaos.check(codes == [75] * chaos.ranks, f"SIGTERM in a step: exit codes {codes}", run)
    chaos.check_output(run)
    return chaos.run_dir("stopped")


def damage(chaos: Chaos, stopped: Path, kind: str) -> None:
    """Damage a copy of a stopped run, go on with it, and compare the weights at the end."""
    change, sentence = DAMAGES[kind]
    name = "damaged-" + kind.replace(" ", "-")
    folder = shutil.copytree(stopped, chaos.run_dir(name))
    change(folder, max((folder / "checkpoints").glob("step_*")))
    run = chaos.finish(name)
    chaos.check(sentence in run.output(), f"{kind}: {sentence!r} was not told", run)
    chaos.check_weights(name)
    print(
        f"  {kind:22} ended with {'the unbroken' if chaos.weights(name) == chaos.wanted else 'OTHER'} weights",
        flush=True,
    )


def full_disk(chaos: Chaos, stopped: Path) -> None:
    """Go on where no file can grow: the run ends with a sentence, both checkpoints are whole, and the mend works."""
    from lisa.run_checkpoint import checkpoints_in, verify

    folder = shutil.copytree(stopped, chaos.run_dir("full"))
    before = checkpoints_in(folder / "checkpoints")
    run = chaos.run("full", prepare="small_files_only")
    codes = run.wait()
    chaos.check(codes == [2] * chaos.ranks, f"full disk: exit codes {codes}", run)
    chaos.check_output(run)
    chaos.check(run.output().count("error: ") == 1 and "free space" in run.output(), "full disk: no sentence", run)
    chaos.check(checkpoints_in(folder / "checkpoints") == before, "full disk: a checkpoint is gone")
    for checkpoint in before:
        verify(checkpoint)
    chaos.finish("full")
    chaos.check_weights("full")
    told = next((line for line in run.output().splitlines() if line.startswith("error: ")), "nothing")
    print(f"  exit codes {codes}: {told}", flush=True)


def nan_gradient(chaos: Chaos) -> None:
    """A NaN in one gradient of one process: that step is left out and counted, and the model at the end is finite."""
    from safetensors.torch import load_file

    run = chaos.run("nan", prepare="nan_in_a_gradient")
    codes = run.wait()
    chaos.check(codes == [0] * chaos.ranks, f"NaN gradient: exit codes {codes}", run)
    chaos.check_output(run)
    chaos.check("skipped_steps 1" in run.output(), "NaN gradient: the step was not counted", run)
    model = chaos.run_dir("nan") / "model" / "model.safetensors"
    finite = model.exists() and all(bool(weight.isfinite().all()) for weight in load_file(model).values())
    chaos.check(finite, "NaN gradient: no finite model at the end", run)
    print(f"  NaN gradient: exit codes {codes}, the model is {'finite' if finite else 'NOT finite'}", flush=True)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--ranks", type=int, default=2)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        chaos = Chaos(Path(folder), options.ranks, options.seed)
        print(
            f"unbroken: {STEPS} steps on {options.ranks} ranks, sha256 {chaos.wanted[:16]}",
            flush=True,
        )
        done = kills(chaos, options.kills)
        stopped = stopped_run(chaos)
        for kind in DAMAGES:
            damage(chaos, stopped, kind)
        full_disk(chaos, stopped)
        nan_gradient(chaos)
    print(json.dumps({"kills": done, "damages": len(DAMAGES), "problems": len(chaos.problems)}))
    for problem in chaos.problems:
        print(f"PROBLEM {problem}")
    return bool(chaos.problems)


if __name__ == "__main__":
    raise SystemExit(main())
