import subprocess
import sys
from pathlib import Path

from lisa import allocator

CHECKOUT = Path(__file__).parents[2]


def printed_by(code):
    """What a process of its own prints: malloc's settings stay for good."""
    done = subprocess.run([sys.executable, "-c", code], cwd=CHECKOUT, capture_output=True, text=True, check=True)
    return done.stdout.strip()


def test_memory_settings_can_be_made_more_than_once_and_memory_still_works():
    code = (
        "from lisa.allocator import keep_freed_memory as keep; keep(); keep()\n"
        "blocks = [bytearray(1 << 20) for _ in range(64)]; del blocks; print(len(bytearray(1 << 26)))"
    )
    assert printed_by(code) == str(1 << 26)


def test_other_systems_are_left_as_they_are(monkeypatch):
    monkeypatch.setattr(allocator.sys, "platform", "darwin")
    monkeypatch.setattr(allocator.ctypes, "CDLL", None)  # calling it would fail
    allocator.keep_freed_memory()


def test_a_libc_without_mallopt_is_left_as_it_is(monkeypatch):
    monkeypatch.setattr(allocator.ctypes, "CDLL", lambda _: object())
    allocator.keep_freed_memory()
