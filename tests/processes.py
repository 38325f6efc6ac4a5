"""Servers as processes of the test run, ended by their own handle."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

from tests.requirements import program


class ServerDidNotStartError(Exception):
    """The process ended, or did not answer in time; the message has its last output."""


def accepts(port: int, host: str = "127.0.0.1") -> bool:
    """Whether something listens on this port."""
    try:
        with socket.create_connection((host, port), timeout=1):
            return True
    except OSError:
        return False


def wait_until(condition: Callable[[], bool], *, seconds: float = 20.0) -> bool:
    """Ask every 20 ms until true; false when the time is over."""
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.02)
    return True


def _dies_with_us() -> list[str]:
    """A prefix that ends the server with this process, even when that is killed.

    Linux sends the signal when the *thread* that started the server ends.
    """
    setpriv = program("setpriv") if sys.platform == "linux" else None
    return [setpriv, "--pdeathsig", "TERM", "--"] if setpriv else []


class ServerProcess:
    """A program that serves until it is stopped. Its output goes to ``log``.

    Its environment is this process's own with ``environment`` on top, unless
    ``inherits`` is false.
    """

    def __init__(
        self,
        command: Sequence[str],
        *,
        folder: Path,
        log: Path,
        environment: Mapping[str, str] | None = None,
        inherits: bool = True,
    ) -> None:
        self.command = [*_dies_with_us(), *command]
        self.folder = folder
        self.log = log
        self.environment = {**(os.environ if inherits else {}), **(environment or {})}
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.stop()

    @property
    def pid(self) -> int:
        assert self._process is not None
        return self._process.pid

    def is_running(self) -> bool:
        return self._process is not None and self._process.poll() is None

    def start(self, ready: Callable[[], bool], *, seconds: float = 30.0) -> Self:
        """Start it and wait until ``ready``."""
        with self.log.open("ab") as output:
            self._process = subprocess.Popen(
                self.command,
                cwd=self.folder,
                env=self.environment,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
            )
        wait_until(lambda: ready() or not self.is_running(), seconds=seconds)
        if not self.is_running() or not ready():
            self.stop()
            raise ServerDidNotStartError(
                f"{' '.join(self.command)}\n{self.output()[-4000:]}"
            )
        return self

    def stop(self, number: int = signal.SIGTERM, *, seconds: float = 10.0) -> None:
        """Send the signal, then SIGKILL if it still runs after this time."""
        if self._process is None:
            return
        if self._process.poll() is None:
            self._process.send_signal(number)
        try:
            self._process.wait(seconds)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._process = None

    def kill(self) -> None:
        """End it without a chance to clean up."""
        self.stop(signal.SIGKILL)

    def output(self) -> str:
        """All it has written so far."""
        return self.log.read_text(errors="replace") if self.log.exists() else ""
