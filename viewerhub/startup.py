"""What web servers and workers do before their first request or task."""

from __future__ import annotations

import ctypes
import gc

from archives.clients import load_clients

# <malloc.h>
_M_TRIM_THRESHOLD = -1
_M_MMAP_THRESHOLD = -3


def make_ready() -> None:
    """Import what somebody would have to wait for, and keep all that is there by now.

    Python's garbage collector walks through everything now and then, which took up to
    100 ms; what is frozen it leaves alone.
    """
    load_clients()
    gc.collect()
    gc.freeze()


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
