"""Keep freed memory for the next step instead of giving it back to the system, and hold it in huge pages.

glibc returns every large tensor to the kernel and asks for it again one layer later; the page faults make CPU
training several times slower and its pace unsteady. Two settings of malloc end that. Huge pages (2 MiB) spare the
processor most of the lookups of addresses.
"""

from __future__ import annotations

import ctypes
import mmap
import sys

_M_TRIM_THRESHOLD, _M_TOP_PAD, _M_MMAP_MAX = -1, -2, -4  # from glibc's malloc.h

_ROOM = 4 << 30
"""Bytes of addresses; memory is taken when it is written to."""
_HUGE_PAGE = 2 << 20


def keep_freed_memory() -> None:
    """Set malloc's thresholds and pages for this process and those it forks; no effect outside of glibc."""
    if not sys.platform.startswith("linux"):
        return
    libc = ctypes.CDLL(None)
    if not hasattr(libc, "mallopt"):
        return
    libc.mallopt(_M_MMAP_MAX, 0)
    libc.mallopt(_M_TRIM_THRESHOLD, -1)  # the largest size_t: never
    libc.mallopt(_M_TOP_PAD, 256 << 20)
    _use_huge_pages(libc)


def _use_huge_pages(libc: ctypes.CDLL) -> None:
    """Grow malloc's heap once, as far as a training step of a small model goes, and ask for huge pages in it.

    Where the system gives no such room, or no huge pages, all stays as it is.
    """
    libc.malloc.argtypes, libc.malloc.restype = [ctypes.c_size_t], ctypes.c_void_p
    libc.madvise.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int]
    libc.free.argtypes = [ctypes.c_void_p]
    room = libc.malloc(_ROOM)
    if room is None:
        return
    first = -(-room // _HUGE_PAGE) * _HUGE_PAGE
    libc.madvise(first, room + _ROOM - first, mmap.MADV_HUGEPAGE)
    libc.free(room)
