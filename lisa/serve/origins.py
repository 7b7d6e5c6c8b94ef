"""By which names the server is called, and from whose pages.

A page of another site can point a name of its own at this machine (DNS rebinding) and then read what it likes; the Host
header tells, since it holds that name. A page of another site can also send requests without reading the answers; the
Origin header tells.
"""

from __future__ import annotations

import ipaddress
import socket
from collections.abc import Iterable
from urllib.parse import urlsplit

from lisa.serve.limits import RefusedError

LOCAL_NAMES = ("localhost", "127.0.0.1", "::1")
EVERY_ADDRESS = ("0.0.0.0", "::", "")
"""Addresses to listen on that let other machines in."""

SAFE_METHODS = ("GET", "HEAD", "OPTIONS")


class AllowedHosts:
    """The names that a Host header may hold: localhost, the address that the server listens on, and some more.

    Where it listens on every address, each of them is allowed, too: rebinding needs a name.
    """

    def __init__(self, listens_on: str, more: Iterable[str] = ()) -> None:
        self._any_address = listens_on in EVERY_ADDRESS
        names = [*LOCAL_NAMES, *more]
        names.append(socket.gethostname() if self._any_address else listens_on)
        self._names = {_plain(name) for name in names}

    def check(self, host: str | None) -> None:
        """RefusedError 421 for a Host header (with or without a port) that holds none of the names."""
        name = _name_of(host or "")
        if name and ("*" in self._names or name in self._names or (self._any_address and _is_address(name))):
            return
        raise RefusedError(
            421, "the server is not called by this name; start it with --allowed-hosts NAME if it should be"
        )


def check_origin(method: str, host: str | None, origin: str | None, fetch_site: str | None) -> None:
    """RefusedError 403 where a page of another site sends what changes something.

    Programs send no Origin and no Sec-Fetch-Site; browsers do.
    """
    if method in SAFE_METHODS:
        return
    foreign = fetch_site is not None and fetch_site not in ("same-origin", "none")
    if origin is not None:
        # A proxy in front may speak another scheme, but passes the name on.
        foreign = foreign or not host or not _same_place(origin, host)
    if foreign:
        raise RefusedError(403, "a page of another site may not send this; open the server's own page")


def _same_place(origin: str, host: str) -> bool:
    """Whether an Origin and a Host header name the same host and port; either may leave out the scheme's own port."""
    try:
        page, server = urlsplit(origin), urlsplit(f"//{host}")
        usual = {"http": 80, "https": 443}.get(page.scheme)
        return bool(page.hostname) and (page.hostname, page.port or usual) == (server.hostname, server.port or usual)
    except ValueError:
        return False


def _name_of(host: str) -> str:
    try:
        return _plain(urlsplit(f"//{host}").hostname or "")
    except ValueError:
        return ""


def _plain(name: str) -> str:
    return name.strip("[]").lower().rstrip(".")


def _is_address(name: str) -> bool:
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True
