"""How a process that moves images deals with the memory for them. Knows nothing of Django."""

from __future__ import annotations

import ctypes

# <malloc.h>
_M_TRIM_THRESHOLD = -1
_M_MMAP_THRESHOLD = -3


def keep_freed_memory() -> None:
    """Have the C library keep up to 64 MiB of what is freed for what comes next.

    Pieces of images are allocated and freed by the thousand. glibc gives each back to the
    system, which clears its pages before they are used again (mallopt(3)). Other C
    libraries are left as they are.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        mallopt(_M_TRIM_THRESHOLD, 64 << 20)
        mallopt(_M_MMAP_THRESHOLD, 4 << 20)
