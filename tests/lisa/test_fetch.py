"""Images behind addresses: from public hosts only, however the address is written and wherever it leads."""

from __future__ import annotations

import socket
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from lisa.fetch import check_url, fetch, is_public

PRIVATE = [
    "127.0.0.1", "127.9.9.9", "0.0.0.0", "10.1.2.3", "172.16.0.1", "172.31.255.255", "192.168.0.1", "169.254.169.254",
    "100.64.0.1", "192.0.2.1", "198.18.0.1", "224.0.0.1", "239.255.255.250", "240.0.0.1", "255.255.255.255",
    "::", "::1", "fe80::1", "fe80::1%eth0", "fc00::1", "fd12:3456::1", "fec0::1", "ff02::1", "2001:db8::1",
    "::ffff:127.0.0.1", "::ffff:10.0.0.1", "64:ff9b::7f00:1", "64:ff9b::a00:1", "2002:7f00:1::", "2002:a00:1::",
]  # fmt: skip
PUBLIC = ["8.8.8.8", "93.184.216.34", "172.32.0.1", "2606:4700:4700::1111", "::ffff:8.8.8.8"]


@pytest.mark.parametrize("address", PRIVATE)
def test_an_address_of_a_private_network_is_not_public(address):
    assert not is_public(address)


@pytest.mark.parametrize("address", PUBLIC)
def test_an_address_of_the_internet_is_public(address):
    assert is_public(address)


@pytest.mark.parametrize(
    "host",
    [
        "localhost",
        "127.0.0.1",
        "[::1]",
        "2130706433",
        "0x7f.1",
        "0177.0.0.1",
        "127.1",
        "0",
        "[::ffff:127.0.0.1]",
        "169.254.169.254",
        "10.0.0.1",
    ],
)
def test_nothing_is_fetched_from_this_machine_however_it_is_called(site, host):
    with pytest.raises(ValueError, match="private network or on this machine"):
        fetch(f"http://{host}:{site}/image")
    assert Site.asked == []


@pytest.mark.parametrize(
    ("url", "words"),
    [
        ("file:///etc/passwd", "only http"),
        ("ftp://example.org/x.png", "only http"),
        ("gopher://127.0.0.1:25/x", "only http"),
        ("http://", "names no host"),
        ("http://user:secret@example.org/x.png", "password"),
        ("http://example.org:99999/", "is no address"),
        ("http://[::1/", "is no address"),
        ("http://example.org/a b", "holds blanks"),
        ("http://example.org/\r\nX: y", "holds blanks"),
    ],
)
def test_what_is_no_address_of_an_image_is_refused_with_a_sentence(url, words):
    with pytest.raises(ValueError, match=words) as refused:
        check_url(url)
    assert "secret" not in str(refused.value)


class Site(BaseHTTPRequestHandler):
    """Serves an image, redirects, and answers that never end."""

    asked: list[str] = []  # noqa: RUF012

    def do_GET(self):
        self.asked.append(self.path)
        if self.path.startswith("/to?"):
            self.send_response(302)
            self.send_header("Location", self.path.removeprefix("/to?"))
            self.end_headers()
            return
        if self.path == "/slow-head":
            for _ in range(100):
                self.wfile.write(b"H")
                time.sleep(0.1)
            return
        self.send_response(200)
        self.end_headers()
        self.wfile.write(b"x" * 1000)
        if self.path == "/slow-body":
            for _ in range(100):
                self.wfile.write(b"x")
                time.sleep(0.1)

    def log_message(self, *_):
        """Nothing on the terminal."""


@pytest.fixture
def site():
    """The port of a web server on this machine."""
    Site.asked.clear()
    server = ThreadingHTTPServer(("127.0.0.1", 0), Site)
    server.daemon_threads = True
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield server.server_port
    server.shutdown()
    server.server_close()


def test_redirects_are_followed_a_few_times_and_checked_each_time(site):
    home = f"http://127.0.0.1:{site}"
    assert fetch(f"{home}/image", private=True) == b"x" * 1000
    assert fetch(f"{home}/to?/to?/image", private=True) == b"x" * 1000
    with pytest.raises(OSError, match="more than 5 redirects"):
        fetch(f"{home}" + "/to?" * 7 + "/image", private=True)
    with pytest.raises(ValueError, match="only http"):
        fetch(f"{home}/to?file:///etc/passwd", private=True)


def test_a_redirect_from_a_public_host_to_this_machine_is_refused(site, monkeypatch):
    """The name is made to mean this machine's server by the resolver's answer, which is let pass once as public."""
    passed = []

    def once(address: str) -> bool:
        passed.append(address)
        return len(passed) == 1

    monkeypatch.setattr("lisa.fetch.is_public", once)
    with pytest.raises(ValueError, match="private network or on this machine"):
        fetch(f"http://127.0.0.1:{site}/to?http://127.0.0.1:{site}/image")
    assert Site.asked == [f"/to?http://127.0.0.1:{site}/image"]


def test_the_connection_goes_to_the_address_that_was_checked(site, monkeypatch):
    """A name that means another host at every question is asked for once only."""
    answers = [[(socket.AF_INET, socket.SOCK_STREAM, 6, "", ("127.0.0.1", site))]]
    resolve, asked = socket.getaddrinfo, []

    def changing(host, *rest, **more):
        if host != "rebinding.example":
            return resolve(host, *rest, **more)
        asked.append(host)
        return answers.pop()  # a second question would fail

    monkeypatch.setattr(socket, "getaddrinfo", changing)
    assert fetch(f"http://rebinding.example:{site}/image", private=True) == b"x" * 1000
    assert asked == ["rebinding.example"]


def test_size_and_time_are_limited_in_head_and_body(site, monkeypatch):
    home = f"http://127.0.0.1:{site}"
    with pytest.raises(ValueError, match=r"more than 0\.000999 MB"):
        fetch(f"{home}/image", 999, private=True)
    monkeypatch.setattr("lisa.fetch.DOWNLOAD_SECONDS", 0.6)
    for path in ("slow-head", "slow-body"):
        began = time.monotonic()
        with pytest.raises(OSError, match=r"not done after 0\.6 seconds"):
            fetch(f"{home}/{path}", private=True)
        assert time.monotonic() - began < 5
