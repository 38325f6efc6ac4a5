"""What a web server and a worker have done before somebody waits for them."""

from __future__ import annotations

import platform
import subprocess
import sys

import pytest

from tests.settings_reader import ROOT

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
        capture_output=True,
        text=True,
        check=True,
    )

    assert done.stdout.split() == ["True"] * 3


FAULTS = """
import resource

from viewerhub.startup import keep_freed_memory

if {keeps}:
    keep_freed_memory()
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(500):
    pieces = []
    pieces += [bytes(256_000) for _ in range(12)]
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


def page_faults(*, keeps: bool) -> int:
    """Of 12 pieces of 256 kB, 63 pages each, and 499 times more when those are freed."""
    command = [sys.executable, "-c", FAULTS.format(keeps=keeps)]
    return int(subprocess.check_output(command, cwd=ROOT))


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="only glibc gives back")
def test_memory_of_pieces_is_used_again():
    assert page_faults(keeps=True) < 2 * 12 * 256_000 // 4096
    assert page_faults(keeps=False) > 20 * 12 * 256_000 // 4096
