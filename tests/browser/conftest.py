"""The page in a real browser, from `python app.py` to what a person sees."""

from __future__ import annotations

import os
import re
import socket
import subprocess
import sys
import time
from pathlib import Path
from urllib.error import URLError
from urllib.request import urlopen

import pytest
from chromium import launch_chromium, prepare_driver

CHECKOUT = Path(__file__).resolve().parents[2]
PATIENCE = 60_000
"""Milliseconds: the machine may be busy."""


@pytest.fixture(scope="session")
def address(tmp_path_factory):
    """Where `python app.py` serves the kept model."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    log = tmp_path_factory.mktemp("server") / "log.txt"
    with log.open("w") as file:
        server = subprocess.Popen(
            [sys.executable, "app.py", "--port", str(port), "--device", "cpu"],
            cwd=CHECKOUT,
            stdout=file,
            stderr=subprocess.STDOUT,
            env=os.environ | {"OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1"},
        )
    url = f"http://127.0.0.1:{port}"
    try:
        _wait_for(url, server, log)
        yield url
        assert "Traceback" not in log.read_text(), log.read_text()
    finally:
        server.terminate()
        server.wait(30)


def _wait_for(url: str, server: subprocess.Popen, log: Path) -> None:
    for _ in range(600):
        try:
            urlopen(f"{url}/health", timeout=5).close()
            return
        except (URLError, OSError):
            assert server.poll() is None, f"app.py ended: {log.read_text()}"
            time.sleep(0.5)
    raise AssertionError(f"app.py does not answer: {log.read_text()}")


@pytest.fixture(scope="session")
def browser():
    """A Chromium; a machine where none can be had fails these tests, since nobody would see a skip."""
    from playwright.sync_api import sync_playwright

    try:
        prepare_driver()
        with sync_playwright() as playwright:
            browser = launch_chromium(playwright)
            yield browser
            browser.close()
    except RuntimeError as error:
        pytest.fail(str(error), pytrace=False)


@pytest.fixture
def visit(browser, address):
    """Opens the page as a new person: screen size and more -> page. What went wrong in the page fails the test."""
    contexts, problems = [], []

    def open_page(width: int = 1280, height: int = 900, **options):
        context = browser.new_context(viewport={"width": width, "height": height}, **options)
        contexts.append(context)
        page = context.new_page()
        page.set_default_timeout(PATIENCE)
        page.on("pageerror", lambda error: problems.append(str(error)))
        page.on("console", lambda message: _refuse_violations(message.text, problems))
        page.on("request", lambda request: _refuse_strangers(request.url, address, problems))
        page.goto(address)
        page.wait_for_selector(".lisa-stage .examples img, .lisa-stage svg")
        page.wait_for_selector("#lisa-question textarea")
        return page

    yield open_page
    for context in contexts:
        context.close()
    assert problems == []


def _refuse_violations(text: str, problems: list[str]) -> None:
    """The page does nothing that its own policy forbids, such as a style or a script inline."""
    if "Content Security Policy" in text:
        problems.append(text)


def _refuse_strangers(url: str, address: str, problems: list[str]) -> None:
    """The page works without a network: it asks nobody but its own server."""
    if not re.match(rf"{re.escape(address)}/|data:|blob:", url):
        problems.append(f"the page asks for {url}")
