"""Files behind addresses that strangers name: from public hosts only, within limits of size and time.

A server that fetches what it is told to can be sent to its own network, where it is trusted. So a name is resolved
once, every address that it has is checked, and the connection goes to a checked address: the name cannot mean another
host a moment later. Redirects are followed here, one by one, with the same checks; proxies of the environment are not
used.
"""

from __future__ import annotations

import http.client
import ipaddress
import socket
import ssl
import threading
from collections.abc import Callable
from urllib.parse import SplitResult, urljoin, urlsplit

MAX_DOWNLOAD = 50_000_000
"""Bytes of a file."""
DOWNLOAD_SECONDS = 30
"""The whole download's time, redirects included."""
MAX_REDIRECTS = 5

_REDIRECTS = (301, 302, 303, 307, 308)
_NAT64 = ipaddress.ip_network("64:ff9b::/96")


def fetch(url: str, most: int | None = None, *, private: bool = False) -> bytes:
    """The bytes behind an http(s) address, at most `most` (MAX_DOWNLOAD).

    private also lets it fetch from private networks and this machine. ValueError for an address that is not fetched, or
    a file that is too large; OSError where the network fails.
    """
    most = MAX_DOWNLOAD if most is None else most
    download = _Download(most, private)
    stop = threading.Timer(DOWNLOAD_SECONDS, download.stop)
    stop.daemon = True
    stop.start()
    try:
        return download.run(url)
    except (OSError, http.client.HTTPException) as error:
        reason = f"not done after {DOWNLOAD_SECONDS} seconds" if download.stopped else error
        raise OSError(f"{url}: cannot be fetched ({reason}); open it in a browser to see what is there") from error
    finally:
        stop.cancel()
        download.close()


def check_url(url: str) -> SplitResult:
    """The parts of an address; ValueError where it is not http(s), or holds a password."""
    try:
        parts = urlsplit(url)
        port_is_a_number = parts.port is None or parts.port >= 0
    except ValueError as error:
        raise ValueError(f"{url}: is no address ({error}); check how it is written") from error
    if parts.scheme.lower() not in ("http", "https"):
        raise ValueError(f"{url}: only http:// and https:// are fetched")
    if not parts.hostname or not port_is_a_number or any(ord(character) <= 32 for character in url):
        raise ValueError(f"{url}: names no host, or holds blanks; check how it is written")
    if parts.username is not None or parts.password is not None:
        raise ValueError(f"{parts.hostname}: an address with a user's name or password in it is not fetched")
    return parts


def is_public(address: str) -> bool:
    """Whether an IP address is a host of the internet: not private, loopback, link-local, multicast or reserved."""
    ip = ipaddress.ip_address(address.partition("%")[0])
    if ip.version == 6:
        if ip.ipv4_mapped is not None:
            ip = ip.ipv4_mapped
        elif ip.sixtofour or ip.teredo or ip in _NAT64:
            return False  # a gateway would pass the connection on to an address in it
    refused = ip.is_multicast or ip.is_reserved or ip.is_loopback or ip.is_link_local or ip.is_unspecified
    return ip.is_global and not refused and not getattr(ip, "is_site_local", False)


class _Download:
    """One download, which another thread may stop."""

    def __init__(self, most: int, private: bool) -> None:
        self._most, self._private = most, private
        self._socket: socket.socket | None = None
        self.stopped = False

    def run(self, url: str) -> bytes:
        """The bytes; follows redirects."""
        for _ in range(MAX_REDIRECTS + 1):
            parts = check_url(url)
            response = self._get(parts)
            if response.status not in _REDIRECTS:
                break
            target = response.headers.get("location")
            if not target:
                raise OSError(f"HTTP {response.status} without a place to go on to")
            url = urljoin(url, target)
            self.close()
        else:
            raise OSError(f"more than {MAX_REDIRECTS} redirects")
        if response.status != 200:
            raise OSError(f"HTTP {response.status} {response.reason}")
        return self._read(response, url)

    def stop(self) -> None:
        """Called by a timer: whatever waits for the network fails."""
        self.stopped = True
        self.close()

    def close(self) -> None:
        """Close the connection that is open, if any."""
        if self._socket is not None:
            _quietly(self._socket.shutdown, socket.SHUT_RDWR)
            self._socket.close()

    def _get(self, parts: SplitResult) -> http.client.HTTPResponse:
        port = parts.port or (443 if parts.scheme.lower() == "https" else 80)
        connection = http.client.HTTPConnection(parts.hostname, port)
        connection.sock = self._connect(parts, port)
        path = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
        # A request line and a Host header are ASCII; http.client refuses what is not.
        headers = {"User-Agent": "lisa", "Accept": "image/*", "Connection": "close"}
        try:
            connection.request("GET", path, headers=headers)
        except UnicodeError as error:
            raise ValueError(f"{parts.geturl()}: holds characters that are to be %-encoded") from error
        return connection.getresponse()

    def _connect(self, parts: SplitResult, port: int) -> socket.socket:
        """A connection to one of the host's addresses, all of which were checked."""
        try:
            found = socket.getaddrinfo(parts.hostname, port, type=socket.SOCK_STREAM)
        except UnicodeError as error:
            raise ValueError(f"{parts.hostname}: is no name of a host") from error
        addresses = list(dict.fromkeys(one[4][0] for one in found))
        if not self._private and not all(is_public(address) for address in addresses):
            raise ValueError(
                f"{parts.hostname}: is in a private network or on this machine, from where nothing is fetched"
            )
        sock = _first_that_answers(addresses, port)
        self._socket = sock
        if self.stopped:
            raise TimeoutError
        if parts.scheme.lower() == "https":
            self._socket = ssl.create_default_context().wrap_socket(sock, server_hostname=parts.hostname)
        return self._socket

    def _read(self, response: http.client.HTTPResponse, url: str) -> bytes:
        data = bytearray()
        while piece := response.read1(1 << 16):
            data += piece
            if len(data) > self._most:
                raise ValueError(f"{url}: more than {self._most / 1_000_000:g} MB, the limit of an image")
        if self.stopped:
            raise TimeoutError
        return bytes(data)


def _first_that_answers(addresses: list[str], port: int) -> socket.socket:
    for address in addresses[:-1]:
        try:
            return socket.create_connection((address, port), timeout=DOWNLOAD_SECONDS / 6)
        except OSError:
            continue
    return socket.create_connection((addresses[-1], port), timeout=DOWNLOAD_SECONDS / 3)


def _quietly(function: Callable, *args: object) -> None:
    try:
        function(*args)
    except OSError:
        return  # it is closed already
