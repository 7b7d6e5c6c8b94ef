"""Several training processes on one machine without a launcher, and the group of those that train together.

On a CPU, small operations hardly gain from a second thread: two processes of one thread each, with half of the batch,
do a step in less time than one process of two threads.
"""

from __future__ import annotations

import contextlib
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from datetime import timedelta

import torch
import torch.distributed as dist
from torch.multiprocessing import ProcessContext, ProcessExitedException

from lisa.shared_end import SharedEnd, told_end

if not torch.cuda.is_available():
    os.environ.setdefault("DS_ACCELERATOR", "cpu")  # spares DeepSpeed's search, and its warning

PATIENCE = timedelta(hours=12)
"""How long processes wait for one that validates or saves; one that dies is noticed at once."""
MEETING = timedelta(minutes=10)
"""How long the processes of a launcher wait for each other at the start."""
SETTLING = 5.0
"""Seconds in which a process that ended with an error tells it."""
HOST = "127.0.0.1"

Main = Callable[[Sequence[str]], object]

_started_by_another = False
"""Whether `together` of another process started this one."""


def is_first() -> bool:
    """Whether this process is the one that prepares folders, logs, saves and validates."""
    return int(os.environ.get("RANK", 0)) == 0


@contextlib.contextmanager
def one_of_several() -> Iterator[None]:
    """Around a script's main: where a launcher started several processes, they meet here and end together.

    An error of one is told by that one; the others end with its exit code and say nothing. Nothing happens in a
    process that is alone.
    """
    world = int(os.environ.get("WORLD_SIZE", 1))
    if "RANK" not in os.environ or world == 1 or _started_by_another:
        yield
        return
    join_processes()
    with SharedEnd(os.environ["MASTER_ADDR"], int(os.environ["MASTER_PORT"]), "launched"):
        yield
    end_group()


@contextlib.contextmanager
def together(count: int, main: Main, argv: Sequence[str]) -> Iterator[None]:
    """Train as one of `count` processes of this machine: the others are started, and run `main(argv)` as well.

    Processes of a launcher (torchrun, deepspeed) are taken as they are. No process goes on before all are there, and
    the first does not before the others have ended. An error in one ends all. ValueError: `count` disagrees with the
    launcher, or is that of another process. ChildProcessError: another process was killed.
    """
    launched = "RANK" in os.environ
    world = int(os.environ.get("WORLD_SIZE", 1))
    if launched and count not in (1, world):
        raise ValueError(f"--processes is {count}, but a launcher started {world}; leave --processes out")
    if launched or count == 1:
        join_processes()
        meets = world > 1 and not _started_by_another
        if meets:
            dist.barrier()  # the first one has prepared data and folder
        yield
        if meets:
            dist.barrier()
        elif not launched:
            end_group()
    elif torch.cuda.is_available() and count > torch.cuda.device_count():
        raise ValueError(
            f"--processes is {count}, but there are {torch.cuda.device_count()} GPUs; each process needs its own"
        )
    else:
        with _among_others(count, main, argv):
            yield


@contextlib.contextmanager
def _among_others(count: int, main: Main, argv: Sequence[str]) -> Iterator[None]:
    """This process is number 0; the others live no longer than it does."""
    end_group()
    store = dist.TCPStore(HOST, 0, is_master=True, wait_for_workers=False)
    threads = torch.get_num_threads()
    share = max(1, threads // count)
    # torch sends them a signal when this process dies, however it does.
    others = torch.multiprocessing.start_processes(
        _run_other, (count, store.port, share, main, argv), nprocs=count - 1, join=False, start_method="spawn"
    )
    try:
        with _place(0, count), _threads(share):
            _meet(store, others)
            _make_group(store, 0, count)
            join_processes()
            with SharedEnd(HOST, store.port, "parent"):
                yield
            _part()
        while not others.join():
            pass
    except (RuntimeError, ProcessExitedException):
        _raise_error_of_others(store, others)
        raise
    finally:
        for process in others.processes:
            process.kill()
        end_group()


def _meet(store: dist.TCPStore, others: ProcessContext) -> None:
    """Wait until all have come; an error of one that could not is raised here."""
    here = [f"process {rank}" for rank in range(1, len(others.processes) + 1)]
    while not store.check(here):
        others.join(timeout=0.1)


def _raise_error_of_others(store: dist.TCPStore, others: ProcessContext) -> None:
    """Raise as a sentence what another process told before it ended, or by which signal it was killed."""
    deadline = time.monotonic() + SETTLING
    while time.monotonic() < deadline:
        if told := told_end(store):
            raise ValueError(told) from None
        for rank, process in enumerate(others.processes, start=1):
            if process.exitcode is not None and process.exitcode < 0:
                name = signal.Signals(-process.exitcode).name
                raise ChildProcessError(
                    f"process {rank} of {len(others.processes) + 1} was ended by {name}"
                    f"{' (out of memory?)' if name == 'SIGKILL' else ''}; --resume goes on from the last checkpoint"
                ) from None
        time.sleep(0.05)
    others.join(timeout=0)  # raises the error of another process, with its trace, where that is what broke the group


def _run_other(index: int, count: int, port: int, threads: int, main: Main, argv: Sequence[str]) -> None:
    """Process number `index` + 1."""
    global _started_by_another
    rank, _started_by_another = index + 1, True
    with _place(rank, count), _threads(threads):
        store = dist.TCPStore(HOST, port, is_master=False)
        store.set(f"process {rank}", "here")
        _make_group(store, rank, count)
        join_processes()
        with SharedEnd(HOST, port, "child"):
            main(argv)
        _part()


@contextlib.contextmanager
def _place(rank: int, count: int) -> Iterator[None]:
    """What a launcher would say."""
    place = {"RANK": str(rank), "LOCAL_RANK": str(rank), "WORLD_SIZE": str(count), "LOCAL_WORLD_SIZE": str(count)}
    before = {name: os.environ.pop(name, None) for name in place}
    os.environ.update(place)
    try:
        yield
    finally:
        for name, value in before.items():
            del os.environ[name]
            if value is not None:
                os.environ[name] = value


@contextlib.contextmanager
def _threads(number: int) -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(number)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def _make_group(store: dist.Store, rank: int, count: int) -> None:
    """Join those who meet in a store; each takes its GPU before anything else touches one."""
    gpu = None
    if torch.cuda.is_available():
        gpu = torch.device("cuda", int(os.environ.get("LOCAL_RANK", rank)))
        torch.cuda.set_device(gpu)
    # Without the device, NCCL guesses it from the rank, which is wrong on the second node.
    dist.init_process_group(_backend(), store=store, rank=rank, world_size=count, timeout=PATIENCE, device_id=gpu)


def join_processes() -> tuple[int, int]:
    """Rank and number of the processes that train; a group of one when no launcher made a larger one."""
    import deepspeed

    if not torch.cuda.is_available():
        # Otherwise DeepSpeed compiles a shared-memory op with g++ before the first step.
        deepspeed.ops.__compatible_ops__["deepspeed_shm_comm"] = False
    if not dist.is_initialized() and "RANK" not in os.environ:
        os.environ["LOCAL_RANK"] = "0"  # asked for by DeepSpeed
        _make_group(dist.HashStore(), 0, 1)
    if not dist.is_initialized():
        _meet_at_launcher(int(os.environ["RANK"]), int(os.environ["WORLD_SIZE"]))
    deepspeed.init_distributed(_backend(), auto_mpi_discovery=False, verbose=False, timeout=PATIENCE)
    return dist.get_rank(), dist.get_world_size()


def _meet_at_launcher(rank: int, world: int) -> None:
    """Join the group of a launcher's processes, as torch does, but without waiting for hours for one that died."""
    host, port = os.environ["MASTER_ADDR"], int(os.environ["MASTER_PORT"])
    of_agent = os.environ.get("TORCHELASTIC_USE_AGENT_STORE") == "True"  # torchrun holds the store itself
    attempt = os.environ.get("TORCHELASTIC_RESTART_COUNT", "0")
    alone = threading.Timer(MEETING.total_seconds(), _give_up, [world, f"{host}:{port}"])
    alone.daemon = True
    alone.start()
    store = dist.TCPStore(host, port, world, rank == 0 and not of_agent, PATIENCE)
    _make_group(dist.PrefixStore(f"lisa/attempt_{attempt}", store), rank, world)
    alone.cancel()


def _give_up(world: int, place: str) -> None:
    """No call of torch that waits for others can be interrupted."""
    sentence = f"error: the {world} processes of the run did not all come to {place} within {MEETING}: "
    os.write(2, f"{sentence}one of them ended before; see what it told\n".encode())
    os._exit(2)


def _part() -> None:
    """Leave together: a process that ends while another still reads from it, or with its group, may abort."""
    dist.barrier()
    end_group()


def end_group() -> None:
    """Leave the group of processes, if there is one."""
    import deepspeed

    if dist.is_initialized():
        deepspeed.comm.destroy_process_group()


def _backend() -> str:
    return "nccl" if torch.cuda.is_available() else "gloo"
