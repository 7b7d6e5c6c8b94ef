"""Where the tests of the page look for a browser, and what is said where none can be had."""

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from chromium import NAMES, launch_chromium
from playwright.sync_api import sync_playwright


def launch(search: Path) -> None:
    with sync_playwright() as playwright:
        launch_chromium(playwright, search=str(search))


def test_a_machine_without_a_browser_that_starts_says_so_and_what_was_tried(tmp_path, monkeypatch):
    monkeypatch.setenv("PLAYWRIGHT_BROWSERS_PATH", str(tmp_path / "browsers"))
    monkeypatch.setenv("PLAYWRIGHT_DOWNLOAD_HOST", "http://127.0.0.1:9")  # nobody listens there
    broken = tmp_path / NAMES[0]
    broken.write_text("#!/bin/sh\nexit 1\n")
    broken.chmod(0o755)
    # In a thread of its own: one that already runs a Playwright cannot start another.
    with ThreadPoolExecutor(1) as thread, pytest.raises(RuntimeError) as caught:
        thread.submit(launch, tmp_path).result()
    said = str(caught.value)
    assert said.startswith("the tests of the page need Chromium, and none could be had; install chromium")
    for way in ("a browser of the system: ", "Playwright's own, downloaded: `", "sudo apt-get install chromium"):
        assert way in said
    assert "\n" not in said
