"""The environment variables and the directory of a test run.

The controller of a run makes one directory and removes it at its end; the processes of
pytest-xdist, which are ended without ceremony, only use a part of it each.
"""

from __future__ import annotations

import atexit
import os
import shutil
import socket
import tempfile
from collections.abc import MutableMapping
from pathlib import Path

KEPT = ("VIEWERHUB_TEST_", "VIEWERHUB_REDIS_URL")


def free_port() -> int:
    """A TCP port of 127.0.0.1 that nothing listens on."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


def is_worker() -> bool:
    """Whether this process runs tests for a controller (pytest-xdist)."""
    return "PYTEST_XDIST_WORKER" in os.environ


def is_test_run() -> bool:
    """Whether this process runs tests, and does not only use what is made for them."""
    return "VIEWERHUB_TEST_DIR" in os.environ


def run_directory() -> Path:
    """The directory shared by all processes of this test run."""
    return Path(os.environ["VIEWERHUB_TEST_DIR"])


def redis_is_given() -> bool:
    """Whether the developer named a server in ``VIEWERHUB_REDIS_URL``."""
    return bool(os.environ["VIEWERHUB_TEST_REDIS_URL"])


def prepare(environment: MutableMapping[str, str]) -> None:
    """Point ViewerHub's settings at this run's own directory and Redis."""
    for name in [name for name in environment if name.startswith("VIEWERHUB_")]:
        if not name.startswith(KEPT):
            del environment[name]
    if not is_worker():
        directory = Path(tempfile.mkdtemp(prefix="viewerhub-tests-"))
        atexit.register(shutil.rmtree, directory, ignore_errors=True)
        environment["VIEWERHUB_TEST_DIR"] = str(directory)
        environment["VIEWERHUB_TEST_REDIS_URL"] = environment.get(
            "VIEWERHUB_REDIS_URL", ""
        )
    worker = environment.get("PYTEST_XDIST_WORKER", "main")
    environment["VIEWERHUB_DATA_DIR"] = f"{environment['VIEWERHUB_TEST_DIR']}/{worker}"
    environment["VIEWERHUB_REDIS_URL"] = (
        environment["VIEWERHUB_TEST_REDIS_URL"] or f"redis://127.0.0.1:{free_port()}/0"
    )
    environment.setdefault("SECRET_KEY", "only for tests, never anywhere else")
    for name in ("DEBUG", "ALLOWED_HOSTS"):
        environment.pop(name, None)
