"""Connections that are slow on purpose: uvicorn waits for them as long as they like, this does not."""

from __future__ import annotations

import asyncio
import socket
from ipaddress import ip_address, ip_network

from uvicorn.protocols.http.h11_impl import H11Protocol

from lisa.serve.limits import Limits

WRITE_SECONDS = 10
"""So often it is looked whether a client still takes what it asked for."""

SEND_BUFFER = 128 * 1024
"""Bytes of an answer that the system holds for a connection; Linux makes it twice that."""


def timed_protocol(limits: Limits, proxies: tuple[str, ...] = ()) -> type[H11Protocol]:
    """uvicorn's HTTP/1.1 with limits of time for heads of requests and for answers, and of connections per address.

    Proxies, which hold the connections of many clients, may have any number. Bodies are limited in `lisa.serve.body`.
    """
    trusted = [ip_network(proxy) for proxy in proxies if proxy != "*"]

    def is_proxy(address: str) -> bool:
        return "*" in proxies or (bool(trusted) and any(ip_address(address) in network for network in trusted))

    class TimedProtocol(H11Protocol):
        _head_timer: asyncio.TimerHandle | None = None
        _write_timer: asyncio.TimerHandle | None = None

        def connection_made(self, transport: asyncio.Transport) -> None:
            super().connection_made(transport)
            address = self.client[0] if self.client else ""
            same = sum(1 for other in self.connections if other.client and other.client[0] == address)
            if same > limits.connections_per_client and not is_proxy(address):
                transport.abort()
                return
            # A large one hides for many seconds whether a client takes anything.
            transport.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, SEND_BUFFER)
            self._await_head()

        def data_received(self, data: bytes) -> None:
            super().data_received(data)
            self._await_head()

        def _await_head(self) -> None:
            """The timer runs from the first byte (or the connection) until the head of a request is complete."""
            if self.cycle is not None and not self.cycle.response_complete:
                self._cancel_head_timer()
            elif self._head_timer is None:
                self._head_timer = self.loop.call_later(limits.header_seconds, self.transport.abort)

        def _cancel_head_timer(self) -> None:
            if self._head_timer is not None:
                self._head_timer.cancel()
                self._head_timer = None

        def timeout_keep_alive_handler(self) -> None:
            super().timeout_keep_alive_handler()
            self._watch_closing()

        def on_response_complete(self) -> None:
            super().on_response_complete()
            self._watch_closing()

        def send_400_response(self, msg: str) -> None:
            super().send_400_response(msg)
            self._watch_closing()

        def _watch_closing(self) -> None:
            """A transport that closes waits until the client has taken what is written, however long that takes."""
            if self.transport.is_closing():
                self._cancel_head_timer()
                self._watch_writing(self.transport.get_write_buffer_size())

        def pause_writing(self) -> None:
            super().pause_writing()
            self._watch_writing(self.transport.get_write_buffer_size())

        def resume_writing(self) -> None:
            super().resume_writing()
            if not self.transport.is_closing():
                self._cancel_write_timer()

        def _watch_writing(self, left: int) -> None:
            self._cancel_write_timer()
            self._write_timer = self.loop.call_later(WRITE_SECONDS, self._check_writing, left)

        def _check_writing(self, before: int) -> None:
            left = self.transport.get_write_buffer_size()
            if before - left < limits.slowest_kilobytes * 1000 * WRITE_SECONDS and left:
                self.transport.abort()
            else:
                self._watch_writing(left)

        def _cancel_write_timer(self) -> None:
            if self._write_timer is not None:
                self._write_timer.cancel()
                self._write_timer = None

        def connection_lost(self, exc: Exception | None) -> None:
            self._cancel_head_timer()
            self._cancel_write_timer()
            super().connection_lost(exc)

    return TimedProtocol
