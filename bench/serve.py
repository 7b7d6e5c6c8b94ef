"""The JSON API under load: `python bench/serve.py [--clients 8] [--requests 300] [--out serve.json]`.

`python app.py` is started with the kept model. First one client asks everything alone, then `clients` ask at once, each
in an order of its own. Every answer must be the very answer that was given alone. Measured: errors, mix-ups, the
server's memory (resident, MB) before, in the middle and after, and the times of answers.
"""

from __future__ import annotations

import base64
import itertools
import json
import os
import random
import socket
import statistics
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from urllib.error import HTTPError, URLError
from urllib.request import Request, urlopen

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # our `datasets` comes before Hugging Face's

import tyro

from bench.report import environment
from lisa.serve.examples import EXAMPLES, read_example

CHECKOUT = Path(__file__).resolve().parents[1]


@dataclass(frozen=True, kw_only=True)
class Flags:
    """How hard to knock."""

    clients: int = 8
    """Clients that ask at once; each waits for its answer before it asks again."""
    requests: int = 300
    """Requests of all clients together."""
    sessions: float = 0.5
    """Share of the requests that open a session, ask in it and close it; the others ask once, in base64."""
    seed: int = 0
    """Of the order."""
    out: Path | None = None
    """File for the figures, JSON."""


@dataclass(frozen=True)
class Asked:
    """One request."""

    image: str
    question: str
    in_session: bool


class Client:
    """Asks a server, and keeps the times."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.seconds: list[float] = []
        self._lock = threading.Lock()

    def ask(self, asked: Asked) -> dict:
        """The answer, as JSON; {"error": ...} where there is none. A session's time is that of its question."""
        image = read_example(asked.image)
        try:
            if not asked.in_session:
                body = {"image": base64.b64encode(image).decode(), "question": asked.question}
                return self._timed("/api/v1/ask", body)
            key = self._send("POST", "/api/v1/sessions", *_form(asked.image, image))["session"]
            try:
                return self._timed(f"/api/v1/sessions/{key}/turns", {"question": asked.question})
            finally:
                self._send("DELETE", f"/api/v1/sessions/{key}")
        except HTTPError as error:
            return {"error": f"{error.code} {error.read()[:200]!r}"}
        except OSError as error:
            return {"error": str(error)}

    def _timed(self, path: str, body: dict) -> dict:
        started = time.perf_counter()
        answer = self._send("POST", path, json.dumps(body).encode(), "application/json")
        with self._lock:
            self.seconds.append(time.perf_counter() - started)
        return answer

    def _send(self, method: str, path: str, data: bytes | None = None, kind: str = "") -> dict:
        request = Request(self.url + path, data, {"Content-Type": kind} if kind else {}, method=method)
        with urlopen(request, timeout=300) as response:
            text = response.read()
        return json.loads(text) if text else {}


def main(argv: Sequence[str] | None = None) -> dict:
    """Ask alone, ask together, compare, print."""
    flags = tyro.cli(Flags, args=argv, prog="bench/serve.py", description=__doc__)
    rng = random.Random(flags.seed)
    everything = [
        Asked(example.name, question, in_session)
        for example, in_session in itertools.product(EXAMPLES, (False, True))
        for question in example.questions
    ]
    with _server() as (url, memory):
        alone = Client(url)
        expected = {asked: alone.ask(asked) for asked in everything}
        one = Client(url)
        for _ in range(2):
            for asked in everything:
                one.ask(asked)
        at_start = memory()
        line = [_draw(everything, flags.sessions, rng) for _ in range(flags.requests)]
        half = len(line) // 2
        together = Client(url)
        with ThreadPoolExecutor(flags.clients) as pool:
            answers = list(pool.map(together.ask, line[:half]))
            in_the_middle = memory()
            answers += list(pool.map(together.ask, line[half:]))
        at_end = memory()
    errors = [answer["error"] for answer in [*answers, *expected.values()] if "error" in answer]
    mixed = sum(answer != expected[asked] for asked, answer in zip(line, answers, strict=True) if "error" not in answer)
    figures = {
        "clients": flags.clients,
        "requests": len(line),
        "errors": len(errors),
        "mix_ups": mixed,
        "memory_mb": {"start": at_start, "middle": in_the_middle, "end": at_end},
        "p50_alone_ms": _ms(one.seconds, 50),
        "p95_alone_ms": _ms(one.seconds, 95),
        "p50_together_ms": _ms(together.seconds, 50),
        "p95_together_ms": _ms(together.seconds, 95),
        **environment(),
    }
    for name, value in figures.items():
        print(f"{name}: {value}")
    for error in errors[:5]:
        print(f"error: {error}")
    if flags.out:
        flags.out.write_text(json.dumps(figures, indent=2) + "\n", encoding="utf-8")
    return figures


def _draw(everything: list[Asked], sessions: float, rng: random.Random) -> Asked:
    in_session = rng.random() < sessions
    return rng.choice([asked for asked in everything if asked.in_session == in_session])


def _ms(seconds: list[float], percentile: int) -> float:
    return round(1000 * statistics.quantiles(seconds, n=100, method="inclusive")[percentile - 1], 1)


def _form(name: str, image: bytes) -> tuple[bytes, str]:
    """A multipart form with one file, and its content type."""
    head = f'--bench\r\nContent-Disposition: form-data; name="image"; filename="{name}"\r\n\r\n'
    return head.encode() + image + b"\r\n--bench--\r\n", "multipart/form-data; boundary=bench"


@contextmanager
def _server() -> Iterator[tuple[str, object]]:
    """The address of a fresh `python app.py`, and a function that tells its resident memory in MB."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [sys.executable, "app.py", "--port", str(port)]
    server = subprocess.Popen(
        command, cwd=CHECKOUT, env=os.environ | {"HF_HUB_OFFLINE": "1"}, stderr=subprocess.DEVNULL
    )
    url = f"http://127.0.0.1:{port}"
    try:
        while not _answers(url):
            if server.poll() is not None:
                raise OSError("app.py ended before it served; run it alone to see why")
            time.sleep(0.5)
        yield url, lambda: _resident(server.pid)
    finally:
        server.terminate()
        server.wait(30)


def _answers(url: str) -> bool:
    try:
        urlopen(f"{url}/health", timeout=5).close()
    except (URLError, OSError):
        return False
    return True


def _resident(pid: int) -> int:
    status = Path(f"/proc/{pid}/status").read_text()
    return next(int(line.split()[1]) // 1024 for line in status.splitlines() if line.startswith("VmRSS"))


if __name__ == "__main__":
    main()
