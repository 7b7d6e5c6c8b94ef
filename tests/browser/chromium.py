"""A Chromium for the tests of the page: the system's, else Playwright's own, else the package manager's."""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

from playwright.sync_api import Browser, Error, Playwright

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome", "microsoft-edge")
FLAGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
PATIENCE = 600
"""Seconds for a download or an installation."""


def prepare_driver() -> None:
    """Let Playwright's own program start: a fresh Debian lacks a library of its Node. RuntimeError where it cannot."""
    works = subprocess.run(
        [sys.executable, "-m", "playwright", "--version"], capture_output=True, text=True, check=False
    )
    if not works.returncode:
        return
    try:
        with _one_at_a_time():
            _apt_install("libatomic1")
    except (OSError, subprocess.SubprocessError) as error:
        raise RuntimeError(
            f"Playwright, which drives the browser of the tests of the page, does not start ({works.stderr.strip()}), "
            f"and what it lacks could not be installed ({_first_line(error)})"
        ) from error


def launch_chromium(playwright: Playwright, search: str | None = None) -> Browser:
    """A running browser; RuntimeError, a sentence, where none can be had. `search` takes the place of PATH."""
    ways: dict[str, Callable[[], str]] = {
        "a browser of the system": lambda: _on_path(search),
        "Playwright's own, as it is": lambda: playwright.chromium.executable_path,
        "Playwright's own, downloaded": lambda: _download(playwright),
        "the package manager": lambda: _install(search),
    }
    reasons = []
    with _one_at_a_time():
        for name, way in ways.items():
            try:
                return playwright.chromium.launch(executable_path=way(), headless=True, args=FLAGS)
            except (Error, OSError, subprocess.SubprocessError) as error:
                reasons.append(f"{name}: {_first_line(error)}")
    raise RuntimeError(
        "the tests of the page need Chromium, and none could be had; install chromium or Google Chrome "
        f"({'; '.join(reasons)})"
    )


def _on_path(search: str | None) -> str:
    for name in NAMES:
        if found := shutil.which(name, path=search):
            return found
    raise FileNotFoundError(f"none of {', '.join(NAMES)} is on PATH")


def _download(playwright: Playwright) -> str:
    _run([sys.executable, "-m", "playwright", "install", "chromium"])
    return playwright.chromium.executable_path


def _install(search: str | None) -> str:
    _apt_install("chromium", search)
    return _on_path(search)


def _apt_install(package: str, search: str | None = None) -> None:
    """Where this process may."""
    if shutil.which("apt-get", path=search) is None or os.geteuid() != 0:
        raise PermissionError(f"that takes apt-get and root: sudo apt-get install {package}")
    quietly = os.environ | {"DEBIAN_FRONTEND": "noninteractive"}
    _run(["apt-get", "update", "-qq"], env=quietly)
    _run(["apt-get", "install", "-y", "-qq", "--no-install-recommends", package], env=quietly)


def _run(command: list[str], **options) -> None:
    done = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE, check=False, **options)
    if done.returncode:
        lines = (done.stderr or done.stdout).strip().splitlines() or ["no message"]
        raise OSError(f"`{' '.join(command)}` ended with {done.returncode}: {lines[-1]}")


def _first_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0]


@contextlib.contextmanager
def _one_at_a_time() -> Iterator[None]:
    """Two processes of the tests must not install at once."""
    try:
        import fcntl
    except ImportError:  # Windows, where nothing but Playwright's download installs, which has a lock of its own
        yield
        return
    with (Path(tempfile.gettempdir()) / f"lisa-chromium-{os.getuid()}.lock").open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield
