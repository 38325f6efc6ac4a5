"""What web servers and workers do before their first request or task."""

from __future__ import annotations

import gc

from archives.clients import load_clients


def make_ready() -> None:
    """Import what somebody would have to wait for, and keep all that is there by now.

    Python's garbage collector walks through everything now and then, which took up to
    100 ms; what is frozen it leaves alone.
    """
    load_clients()
    gc.collect()
    gc.freeze()
