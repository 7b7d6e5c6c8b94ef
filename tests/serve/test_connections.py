"""A server in a thread: clients that go away in the middle, that read slowly, or that stand behind one proxy."""

from __future__ import annotations

import json
import logging
import socket
import threading
import time
from contextlib import contextmanager

import pytest
import uvicorn
from starlette.responses import Response

from lisa.serve import InferenceService, Limits, build_app
from lisa.serve.protocol import timed_protocol

QUESTION = "Please segment the boats in this image."


class Running:
    """A server that listens, with what is inside."""

    def __init__(self, predictor, limits: Limits, proxies: tuple[str, ...] = ()) -> None:
        self.service = InferenceService(predictor, limits)
        self.gate = build_app(self.service)
        protocol = timed_protocol(limits, proxies)
        config = uvicorn.Config(
            self.gate, http=protocol, ws="none", log_level="error", access_log=False, timeout_keep_alive=1
        )
        self.server = uvicorn.Server(config)
        listening = socket.create_server(("127.0.0.1", 0))
        self.port = listening.getsockname()[1]
        self.thread = threading.Thread(target=self.server.run, args=([listening],))
        self.thread.start()
        wait_until(lambda: self.server.started)

    def connect(self, receive_buffer: int | None = None) -> socket.socket:
        connection = socket.socket()
        if receive_buffer:
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
        connection.settimeout(20)
        connection.connect(("127.0.0.1", self.port))
        return connection

    def serve_bytes(self, size: int) -> None:
        """`/bytes` answers with so many."""
        self.gate.app.add_route("/bytes", lambda _: Response(b"x" * size))
        self.gate.app.router.routes.insert(0, self.gate.app.router.routes.pop())

    @property
    def connections(self) -> int:
        return len(self.server.server_state.connections)


@contextmanager
def running(predictor, proxies: tuple[str, ...] = (), **limits):
    server = Running(predictor, Limits(**limits), proxies)
    try:
        yield server
    finally:
        server.server.should_exit = True
        server.thread.join(30)


def wait_until(condition, seconds: float = 20) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "it did not happen"
        time.sleep(0.01)


def request(method: str, path: str, body: bytes = b"", *more: str) -> bytes:
    head = [f"{method} {path} HTTP/1.1", "Host: 127.0.0.1", f"Content-Length: {len(body)}", *more]
    return "\r\n".join([*head, "", ""]).encode() + body


def stream_of(session: str) -> bytes:
    body = json.dumps({"question": QUESTION, "stream": True}).encode()
    return request("POST", f"/api/v1/sessions/{session}/turns", body, "Content-Type: application/json")


def opened(service, example):
    return service.open(service.read(example, False).result(60), "boats.jpg").result(60)


def test_a_question_whose_asker_has_gone_leaves_the_line_and_is_never_asked(predictor, example):
    with running(predictor, waiting=4) as server:
        session, go = opened(server.service, example), threading.Event()
        server.service.queue.submit(go.wait, 30)
        for _ in range(6):  # more than may wait
            with server.connect() as asking:
                asking.sendall(stream_of(session.id))
                assert b"event-stream" in asking.recv(4096)
                wait_until(lambda: len(server.service.queue) == 2)
            wait_until(lambda: len(server.service.queue) == 1)
        with server.connect() as asking:  # gone before the answer begins
            asking.sendall(stream_of(session.id))
        wait_until(lambda: server.gate.running == 0 and len(server.service.queue) == 1)
        go.set()
        wait_until(lambda: len(server.service.queue) == 0)
        assert session.turns == []


def test_the_model_stops_when_the_asker_goes_away_in_the_middle_of_an_answer(predictor, example, monkeypatch):
    from lisa.serve import sessions

    said, decode = [], type(predictor.processor.text).decode

    def slow_decode(self, ids):
        said.append(len(ids))
        time.sleep(0.2)  # a token of a large model takes as long
        return decode(self, ids)

    with running(predictor) as server:
        session = opened(server.service, example)
        monkeypatch.setattr(type(predictor.processor.text), "decode", slow_decode)
        with server.connect() as asking:
            asking.sendall(stream_of(session.id))
            told = b""
            while b"event: text" not in told:
                told += asking.recv(4096)
        wait_until(lambda: len(server.service.queue) == 0)
        stopped_after = len(said)
        assert session.turns == []
        assert len(sessions.ask(session, QUESTION, 64, Limits(), sessions.Progress()).masks) == 1
        assert stopped_after < len(said) - stopped_after


def test_the_end_of_the_server_stops_an_answer_that_nobody_streams(predictor, example, monkeypatch):
    from lisa.serve.limits import RefusedError

    service, begun, decode = InferenceService(predictor), threading.Event(), type(predictor.processor.text).decode

    def slow_decode(self, ids):
        begun.set()
        time.sleep(0.2)
        return decode(self, ids)

    session = opened(service, example)
    monkeypatch.setattr(type(predictor.processor.text), "decode", slow_decode)
    answer = service.ask(session.id, QUESTION, 64)
    assert begun.wait(20)
    service.close()
    with pytest.raises(RefusedError, match="shutting down"):
        answer.result(0)


@pytest.mark.parametrize(
    ("path", "kind"), [("/api/v1/ask", "application/json"), ("/api/v1/sessions", "multipart/form-data; boundary=b")]
)
def test_a_client_that_goes_away_while_it_sends_leaves_one_line_in_the_log(predictor, caplog, monkeypatch, path, kind):
    monkeypatch.setattr(logging.getLogger("lisa.serve"), "propagate", True)
    caplog.set_level("INFO")
    with running(predictor) as server:
        with server.connect() as sending:
            sending.sendall(request("POST", path, b"--b\r\n" + b"x" * 100, f"Content-Type: {kind}")[:-50])
            wait_until(lambda: server.gate.running == 1)
        wait_until(lambda: server.gate.running == 0)
    assert not [record for record in caplog.records if record.exc_info]
    # Each message holds the id of its request; a record may reach pytest's handler by two loggers.
    assert len({record.getMessage() for record in caplog.records if path in record.getMessage()}) == 1


@pytest.mark.parametrize("more", [(), ("Connection: close",)])
def test_who_reads_fast_enough_gets_a_large_answer_whole(predictor, monkeypatch, more):
    """Slower than the time that a connection may stand idle, but faster than the slowest that is waited for."""
    monkeypatch.setattr("lisa.serve.protocol.WRITE_SECONDS", 0.3)
    with running(predictor, header_seconds=0.5) as server:
        server.serve_bytes(2_500_000)
        with server.connect(65_536) as reading:
            reading.sendall(request("GET", "/bytes", b"", *more))
            got = 0
            while piece := reading.recv(50_000):
                got += len(piece)
                time.sleep(len(piece) / 1e6)
    assert got > 2_500_000


def test_a_connection_that_is_to_close_does_not_wait_for_a_client_that_reads_nothing(predictor, monkeypatch):
    """Whatever is left: more than the transport's high-water mark or, once the kernel's buffers are full, less."""
    monkeypatch.setattr("lisa.serve.protocol.WRITE_SECONDS", 0.3)
    with running(predictor) as server:
        server.serve_bytes(8_000_000)
        with server.connect(4096) as first:
            first.sendall(request("GET", "/bytes"))
            wait_until(lambda: server.connections == 1)
            (held,) = server.server.server_state.connections
            wait_until(lambda: held.transport.get_write_buffer_size() > 0)
            in_kernel = 8_000_000 - held.transport.get_write_buffer_size()
            wait_until(lambda: server.connections == 0)
        for left in (10_000, 100_000):
            server.serve_bytes(in_kernel + left)
            with server.connect(4096) as reading_nothing:
                reading_nothing.sendall(request("GET", "/bytes", b"", "Connection: close"))
                wait_until(lambda: server.connections == 1)
                wait_until(lambda: server.connections == 0)


@pytest.mark.parametrize(("proxies", "served"), [((), 2), (("10.0.0.1",), 2), (("127.0.0.0/8",), 4), (("*",), 4)])
def test_connections_of_a_proxy_are_those_of_many_clients(predictor, proxies, served):
    with running(predictor, proxies, connections_per_client=2) as server:
        held = [server.connect() for _ in range(4)]
        for connection in held:
            connection.settimeout(1)
        answered = 0
        for connection in held:
            try:
                connection.sendall(request("GET", "/health"))
                answered += b"200 OK" in connection.recv(4096)
            except OSError:
                continue
            finally:
                connection.close()
    assert answered == served
