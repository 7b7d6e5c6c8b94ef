"""Keep freed memory for the next step instead of giving it back to the system.

glibc returns every large tensor to the kernel and asks for it again one layer later; the page faults make CPU
training several times slower and its pace unsteady. Settings of malloc end that.
"""

from __future__ import annotations

import ctypes
import sys

_M_TRIM_THRESHOLD, _M_TOP_PAD, _M_MMAP_MAX = -1, -2, -4  # from glibc's malloc.h


def keep_freed_memory() -> None:
    """Set malloc's thresholds for this process and those it forks; no effect outside of glibc."""
    if not sys.platform.startswith("linux"):
        return
    libc = ctypes.CDLL(None)
    if not hasattr(libc, "mallopt"):
        return
    libc.mallopt(_M_MMAP_MAX, 0)
    libc.mallopt(_M_TRIM_THRESHOLD, -1)  # the largest size_t: never
    libc.mallopt(_M_TOP_PAD, 256 << 20)
