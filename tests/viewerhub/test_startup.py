"""What a web server and a worker have done before somebody waits for them."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

WEB = "import viewerhub.asgi"
WORKER = (
    "import viewerhub.celery; from celery.signals import worker_init; "
    "worker_init.send(None)"
)
NEEDED = ["archives.clients.dicomweb", "archives.clients.dimse"]
ASK = (
    "import gc, sys; print(gc.get_freeze_count() > 50_000, "
    f"*(name in sys.modules for name in {NEEDED}))"
)


@pytest.mark.parametrize("start", [WEB, WORKER], ids=["web", "worker"])
def test_process_has_loaded_what_its_users_need(start):
    done = subprocess.run(
        [sys.executable, "-c", f"{start}; {ASK}"],
        env=os.environ,
        capture_output=True,
        text=True,
        check=True,
    )

    assert done.stdout.split() == ["True"] * 3
