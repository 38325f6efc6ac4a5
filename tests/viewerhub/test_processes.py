from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.processes import wait_until
from viewerhub.processes import Children, ProcessError

SLEEP = [sys.executable, "-c", "import time; time.sleep(60)"]
STUBBORN = [
    sys.executable,
    "-c",
    "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); "
    "print('ready', flush=True); time.sleep(60)",
]
PARENT = """
import os, sys, time
from pathlib import Path
from viewerhub.processes import Children

children = Children(Path.cwd(), Path(sys.argv[1]), os.environ)
with children:
    children.start("sleeper", [sys.executable, "-c", "import time; time.sleep(60)"])
    print(children.pids()["sleeper"], flush=True)
    time.sleep(60)
"""


@pytest.fixture
def children(tmp_path: Path) -> Iterator[Children]:
    with Children(tmp_path, tmp_path / "log", os.environ) as started:
        yield started


def is_running(pid: int) -> bool:
    """Whether there is such a process, other than one that only waits to be reaped."""
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except FileNotFoundError:
        return False
    return state != "Z"


def test_children_are_gone_after_the_block(tmp_path: Path) -> None:
    with Children(tmp_path, tmp_path / "log", os.environ) as children:
        children.start("one", SLEEP)
        children.start("two", SLEEP)
        pids = children.pids().values()
        assert all(map(is_running, pids))

    assert not any(map(is_running, pids))


def test_children_that_do_not_listen_are_killed(children: Children) -> None:
    children.start("stubborn", STUBBORN)
    children.wait_until(
        lambda: "ready" in children.log("stubborn").read_text(), seconds=20
    )
    (pid,) = children.pids().values()

    children.stop(seconds=0.1)

    assert not is_running(pid)


def test_children_are_out_of_reach_of_the_terminal(children: Children) -> None:
    children.start("one", SLEEP)

    assert os.getsid(children.pids()["one"]) != os.getsid(0)


def test_children_read_their_input_and_write_to_their_log(children: Children) -> None:
    echo = "import sys; print(sys.stdin.read()); print('more', file=sys.stderr)"

    children.start("echo", [sys.executable, "-c", echo], stdin="a secret")

    with pytest.raises(ProcessError):
        children.watch()
    assert children.log("echo").read_text().split("\n") == ["a secret", "more", ""]


def test_child_that_ends_is_named_with_its_code_and_log(children: Children) -> None:
    children.start("lasting", SLEEP)
    children.start("worker", [sys.executable, "-c", "raise SystemExit(3)"])

    with pytest.raises(ProcessError, match=r"worker .*code 3.*worker\.log"):
        children.watch()


def test_waiting_ends_when_a_child_does(children: Children) -> None:
    children.start("worker", [sys.executable, "-c", "raise SystemExit(3)"])

    with pytest.raises(ProcessError, match="code 3"):
        children.wait_until(lambda: False, seconds=60)


def test_waiting_ends_in_time(children: Children) -> None:
    children.start("worker", SLEEP)

    with pytest.raises(ProcessError, match=r"Not ready after 0\.1 seconds"):
        children.wait_until(lambda: False, seconds=0.1)


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux ends them itself")
def test_children_end_with_a_killed_parent(tmp_path: Path) -> None:
    command = [sys.executable, "-c", PARENT, str(tmp_path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as parent:
        assert parent.stdout is not None
        pid = int(parent.stdout.readline())
        assert is_running(pid)
        parent.send_signal(signal.SIGKILL)

    assert wait_until(lambda: not is_running(pid))
