"""``manage.py demo`` as a newcomer meets it: as a process."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from http.client import HTTPConnection
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
COMMAND = [sys.executable, "manage.py", "demo"]


def environment(folder: Path, **more: str) -> dict[str, str]:
    ours = ("VIEWERHUB_", "DJANGO_", "DATABASE_URL", "SECRET_KEY")
    kept = {k: v for k, v in os.environ.items() if not k.startswith(ours)}
    return {
        **kept,
        "VIEWERHUB_DATA_DIR": str(folder),
        "VIEWERHUB_DEMO_PORT": "0",
        "VIEWERHUB_DEMO_SECONDS": "180",  # the machine is busy with other tests
        **more,
    }


@dataclass
class Demo:
    """``seconds`` is how long it took until it said that it was ready."""

    process: subprocess.Popen[str]
    port: int
    welcome: str
    seconds: float

    def get(self, path: str) -> tuple[int, str, str]:
        return self.ask("GET", path)

    def ask(
        self, method: str, path: str, body: str = "", **headers: str
    ) -> tuple[int, str, str]:
        """Status, ``Location`` and body."""
        connection = HTTPConnection("127.0.0.1", self.port, timeout=30)
        try:
            connection.request(method, path, body, headers)
            answer = connection.getresponse()
            return (
                answer.status,
                answer.getheader("Location", ""),
                answer.read().decode(),
            )
        finally:
            connection.close()

    def children(self) -> dict[int, str]:
        """Process ids and command lines of what it started."""
        listed = subprocess.run(
            ["ps", "--ppid", str(self.process.pid), "-o", "pid=,args="],
            capture_output=True,
            text=True,
            check=False,
        )
        lines = [line.split(maxsplit=1) for line in listed.stdout.splitlines()]
        return {int(pid): command for pid, command in lines}

    def end(self, number: int) -> int:
        self.process.send_signal(number)
        return self.process.wait(60)


@contextmanager
def running_demo(variables: Mapping[str, str]) -> Iterator[Demo]:
    started = time.monotonic()
    with subprocess.Popen(
        COMMAND,
        cwd=ROOT,
        env=dict(variables),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    ) as process:
        try:
            yield _welcomed(process, started)
        finally:
            if process.poll() is None:
                process.send_signal(signal.SIGTERM)
                process.wait(60)


def _welcomed(process: subprocess.Popen[str], started: float) -> Demo:
    assert process.stdout is not None
    welcome = ""
    for line in process.stdout:
        welcome += line
        if "Ctrl-C" in line:
            break
    found = re.search(
        r"^ViewerHub is ready at http://127\.0\.0\.1:(\d+)$", welcome, re.M
    )
    assert found, welcome
    seconds = time.monotonic() - started
    return Demo(process, int(found[1]), welcome, seconds)
