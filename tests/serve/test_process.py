"""The server as a process of its own: slow clients, memory, and its end."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import pytest
from sent_files import large_png

CHECKOUT = Path(__file__).resolve().parents[2]
FLAGS = ["--limits.header-seconds", "3", "--limits.body-seconds", "3", "--limits.slowest-kilobytes", "10"]
BOATS = {"question": "Please segment the boats in this image."}


class Server:
    """A running `python app.py`."""

    def __init__(self, log: Path) -> None:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        self.url, self.log = f"http://127.0.0.1:{self.port}", log
        with log.open("w") as file:
            self.process = subprocess.Popen(
                [sys.executable, "app.py", "--port", str(self.port), "--device", "cpu", *FLAGS],
                cwd=CHECKOUT,
                stdout=file,
                stderr=subprocess.STDOUT,
                env=os.environ | {"OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1"},
            )
        self.told_while_loading = set()
        while not self.is_ready():
            assert self.process.poll() is None, log.read_text()
            time.sleep(0.1)

    def is_ready(self) -> bool:
        try:
            answer = httpx.get(f"{self.url}/health", timeout=5)
        except httpx.TransportError:
            return False
        if answer.json() != {"status": "ready"}:
            self.told_while_loading.add((answer.status_code, answer.json()["status"]))
        return answer.is_success

    def open_session(self, data: bytes) -> str:
        answer = httpx.post(f"{self.url}/api/v1/sessions", files={"image": ("x.png", data)}, timeout=120)
        assert answer.status_code == 201, answer.text
        return answer.json()["session"]

    def ask(self, session: str) -> httpx.Response:
        return httpx.post(f"{self.url}/api/v1/sessions/{session}/turns", json=BOATS, timeout=120)

    def resident_mb(self) -> float:
        lines = httpx.get(f"{self.url}/metrics").text.splitlines()
        return next(float(line.split()[1]) for line in lines if line.startswith("process_resident_memory_bytes")) / 1e6


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    server = Server(tmp_path_factory.mktemp("server") / "log.txt")
    yield server
    if server.process.poll() is None:
        server.process.terminate()
        server.process.wait(30)


def test_while_the_model_loads_health_says_so(server):
    assert server.told_while_loading == {(503, "loading")}


def test_a_port_that_is_taken_is_told_before_the_model_loads(server):
    began = time.monotonic()
    flags = ["--port", str(server.port)]
    done = subprocess.run([sys.executable, "app.py", *flags], cwd=CHECKOUT, capture_output=True, text=True, timeout=60)
    assert done.returncode == 2
    assert f"port {server.port}: cannot be listened on" in done.stderr
    assert "choose another --port" in done.stderr
    assert "Traceback" not in done.stderr
    assert time.monotonic() - began < 30


def slowly(port: int, first: bytes, stop: threading.Event) -> tuple[float, bytes]:
    """Send something at once, then a byte a second, until the server has had enough: the time, and what it said."""
    began, told = time.monotonic(), b""
    with socket.create_connection(("127.0.0.1", port), timeout=1) as connection:
        connection.sendall(first)
        while not stop.is_set() and time.monotonic() - began < 30:
            try:
                connection.sendall(b"x")
                piece = connection.recv(4096)
            except TimeoutError:
                continue  # the second between two bytes
            except OSError:
                break
            told += piece
            if not piece:
                break
    return time.monotonic() - began, told


UPLOAD = (
    b"POST /api/v1/sessions HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: multipart/form-data; boundary=b\r\n"
    b'Content-Length: 1000000\r\n\r\n--b\r\nContent-Disposition: form-data; name="image"; filename="x"\r\n\r\n'
)
HEAD = b"GET /health HTTP/1.1\r\nHost: 127.0.0.1\r\nX-Slow: "


def test_slow_clients_shut_nobody_out_and_are_sent_away(server, example):
    stop = threading.Event()
    with ThreadPoolExecutor(17) as pool:
        bodies = [pool.submit(slowly, server.port, UPLOAD, stop) for _ in range(8)]
        heads = [pool.submit(slowly, server.port, HEAD, stop) for _ in range(4)]
        silent = [pool.submit(slowly, server.port, b"", stop) for _ in range(4)]
        time.sleep(0.5)
        began = time.monotonic()
        session = server.open_session(example)
        assert httpx.get(f"{server.url}/api/v1/sessions/{session}/image").status_code == 200
        assert time.monotonic() - began < 2
        ends = [future.result() for future in [*bodies, *heads, *silent]]
        stop.set()
    assert all(2 < seconds < 12 for seconds, _ in ends)
    assert all(b"408" in told or told == b"" for _, told in ends)  # told, or the byte that came meanwhile cut it off
    assert any(b"came too slowly" in told for _, told in ends[:8])
    assert server.is_ready()


def test_what_is_no_http_is_refused_and_does_not_fill_the_log(server):
    before = len(server.log.read_text())
    for sent in (b"\0\xff\r\n\r\n", b"GET / HTTP/9.9\r\n\r\n", b"GET /" + b"x" * 100_000, b"POST / HTTP/1.1\r\n\r\n"):
        with socket.create_connection(("127.0.0.1", server.port), timeout=5) as connection:
            connection.sendall(sent)
            with contextlib.suppress(ConnectionResetError):
                assert b"HTTP/1.1 4" in connection.recv(4096)
    assert "Traceback" not in server.log.read_text()
    assert len(server.log.read_text()) - before < 1000


def test_memory_of_large_images_is_given_back(server, example):
    """149 megapixels in 460 kB; by hand, 20 of them: docs/page.md."""
    server.ask(server.open_session(example))
    before = server.resident_mb()
    data = large_png(12_200, 12_200)
    for _ in range(2):
        session = server.open_session(data)
        (mask,) = server.ask(session).json()["masks"]
        assert mask["rle"]["size"] == [12_200, 12_200]
        assert server.resident_mb() < before + 300
    httpx.delete(f"{server.url}/api/v1/sessions/{session}")


def test_the_log_tells_of_requests_by_id_and_of_nobodys_key(server, example):
    session = server.open_session(example)
    answer = server.ask(session)
    log = server.log.read_text()
    line = next(line for line in log.splitlines() if answer.headers["x-request-id"] in line)
    assert "POST /api/v1/sessions/{session}/turns 200" in line
    assert session not in log


def test_sigterm_lets_running_requests_finish_and_refuses_new_ones(server, example):
    session = server.open_session(example)
    body = {**BOATS, "stream": True}
    url = f"{server.url}/api/v1/sessions/{session}/turns"
    upload = b"--b\r\n" + UPLOAD.split(b"--b\r\n")[1] + example + b"\r\n--b--\r\n"
    with socket.create_connection(("127.0.0.1", server.port), timeout=30) as running:
        running.sendall(UPLOAD.split(b"--b")[0].replace(b"1000000", b"%d" % len(upload)))  # its body comes later
        time.sleep(0.3)
        server.process.send_signal(signal.SIGTERM)
        time.sleep(0.3)
        assert httpx.get(f"{server.url}/health").status_code == 503
        refused = httpx.post(url, json=body)
        assert refused.status_code == 503
        assert "shutting down" in refused.json()["detail"]
        assert refused.headers["retry-after"]
        running.sendall(upload)
        told = b""
        while piece := running.recv(4096):
            told += piece
    assert b"HTTP/1.1 201" in told
    assert len(json.loads(told.split(b"\r\n\r\n", 1)[1])["session"]) >= 32
    assert server.process.wait(30) == 0
    assert "Traceback" not in server.log.read_text()
