import re
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


def test_tensors_lie_in_huge_pages_where_the_system_has_them():
    code = (
        "import lisa.allocator as a; a.keep_freed_memory(); import torch; x = torch.ones(64 << 18)\n"
        "print(x.data_ptr(), x.sum().item()); print(open('/proc/self/smaps').read())"
    )
    tensor, smaps = printed_by(code).split("\n", 1)
    address, total = tensor.split()
    assert total == str(float(64 << 18))
    mappings = re.findall(r"^([0-9a-f]+)-([0-9a-f]+) .*?^VmFlags:(.*?)$", smaps, re.MULTILINE | re.DOTALL)
    [flags] = [flags for first, end, flags in mappings if int(first, 16) <= int(address) < int(end, 16)]
    advised = Path("/sys/kernel/mm/transparent_hugepage/enabled").exists()
    assert ("hg" in flags.split()) == advised


def test_a_system_without_room_still_works():
    code = (
        "import resource; resource.setrlimit(resource.RLIMIT_AS, (1 << 30, 1 << 30))\n"
        "from lisa.allocator import keep_freed_memory; keep_freed_memory(); print(len(bytearray(1 << 26)))"
    )
    assert printed_by(code) == str(1 << 26)


def test_other_systems_are_left_as_they_are(monkeypatch):
    monkeypatch.setattr(allocator.sys, "platform", "darwin")
    monkeypatch.setattr(allocator.ctypes, "CDLL", None)  # calling it would fail
    allocator.keep_freed_memory()


def test_a_libc_without_mallopt_is_left_as_it_is(monkeypatch):
    monkeypatch.setattr(allocator.ctypes, "CDLL", lambda _: object())
    allocator.keep_freed_memory()
