"""Child processes that live and end with this one. Knows nothing of Django."""

from __future__ import annotations

import ctypes
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

_PR_SET_PDEATHSIG = 1  # <linux/prctl.h>


class ProcessError(Exception):
    """A child ended by itself, or never got ready; the message says where to look."""


class NotReadyError(ProcessError):
    """Time was over before the children were ready."""

    def __init__(self, seconds: float, log_directory: Path) -> None:
        self.log_directory = log_directory
        super().__init__(
            f"Not ready after {seconds:g} seconds. What the processes wrote is in "
            f"{log_directory}."
        )


class Children:
    """Starts programs, watches them, and ends all of them when the block is left.

    Each is in a session of its own, so that Ctrl-C in a terminal reaches only this
    process, which then ends them in the reverse order of their start. On Linux they
    also end when this process is killed. Their output is in ``log_directory``.
    """

    def __init__(
        self, folder: Path, log_directory: Path, environment: Mapping[str, str]
    ) -> None:
        self.environment = dict(environment)
        self._folder = folder
        self._log_directory = log_directory
        self._running: dict[str, subprocess.Popen[bytes]] = {}

    def __enter__(self) -> Self:
        self._log_directory.mkdir(parents=True, exist_ok=True)
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.stop()

    def start(self, name: str, command: Sequence[str], *, stdin: str = "") -> None:
        """Start a program. ``stdin`` is what it reads from there: other users of the
        machine can see arguments, but not this."""
        with self.log(name).open("wb") as log:
            process = subprocess.Popen(  # noqa: S603
                command,
                cwd=self._folder,
                env=self.environment,
                stdin=subprocess.PIPE,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                preexec_fn=_end_with_parent(),
            )
        self._running[name] = process
        assert process.stdin is not None  # noqa: S101
        with process.stdin as pipe:
            pipe.write(stdin.encode())

    def log(self, name: str) -> Path:
        return self._log_directory / f"{name}.log"

    def pids(self) -> dict[str, int]:
        return {name: process.pid for name, process in self._running.items()}

    def check(self) -> None:
        """Raises ``ProcessError`` if one of them has ended."""
        for name, process in self._running.items():
            if process.poll() is not None:
                raise ProcessError(
                    f"The {name} process ended with code {process.returncode}. "
                    f"What it wrote is in {self.log(name)}."
                )

    def wait_until(self, ready: Callable[[], bool], *, seconds: float) -> None:
        """Raises ``ProcessError`` if a child ends before it is ``ready``, and
        ``NotReadyError`` if the time is over."""
        deadline = time.monotonic() + seconds
        while not ready():
            self.check()
            if time.monotonic() > deadline:
                raise NotReadyError(seconds, self._log_directory)
            time.sleep(0.05)

    def watch(self) -> None:
        """Return never; raises ``ProcessError`` when a child ends."""
        while True:
            self.check()
            time.sleep(0.5)

    def stop(self, *, seconds: float = 8.0) -> None:
        """End each one, by force what takes longer than ``seconds``."""
        while self._running:
            _, process = self._running.popitem()
            if process.poll() is None:
                process.terminate()
            try:
                process.wait(seconds)
            except subprocess.TimeoutExpired:
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()


def _end_with_parent() -> Callable[[], None] | None:
    """What a child does first, so that the kernel kills it when its parent is gone."""
    if sys.platform != "linux":
        return None
    prctl = ctypes.CDLL(None).prctl
    parent = os.getpid()

    def arrange() -> None:
        prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() != parent:  # it died before the arrangement
            os._exit(1)

    return arrange
