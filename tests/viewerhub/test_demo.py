from __future__ import annotations

import os
import re
import shlex
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import pytest

from tests.demo import COMMAND, ROOT, Demo, environment, running_demo
from tests.processes import wait_until


def all_gone(pids: Mapping[int, str]) -> bool:
    return not any(Path(f"/proc/{pid}").exists() for pid in pids)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("demo")


@pytest.fixture(scope="module")
def demo(folder: Path) -> Iterator[Demo]:
    """One for the tests that leave it running. It has to end as asked, too."""
    with running_demo(environment(folder)) as started:
        yield started
        children = started.children()
        assert started.end(signal.SIGTERM) == 0
    assert all_gone(children)


def test_demo_launches_and_lists_the_images(
    demo: Demo,
    capsys: pytest.CaptureFixture[str],
    record_property: Callable[[str, object], None],
) -> None:
    record_property("seconds until ready", demo.seconds)
    with capsys.disabled():
        print(f"\nThe demo was ready after {demo.seconds:.1f} seconds.")
    status, location, _ = demo.get("/weasis?patientID=1CT1")
    assert status == 302
    manifest = re.search(r"%2Fm%2F([\w-]{43})%22", location)
    assert manifest, location

    status, _, body = demo.get(f"/m/{manifest[1]}")

    assert status == 200
    assert 'PatientID="1CT1"' in body
    assert "1.3.6.1.4.1.5962.1.1.1.1.1.20040119072730.12322" in body  # CT_small.dcm


def test_demo_shows_a_command_that_works(demo: Demo) -> None:
    line = next(line for line in demo.welcome.splitlines() if "curl" in line)
    options = shlex.split(line.partition("curl")[2])
    headers = dict(text.split(": ") for text in options[1:4:2])
    path = options[-1].removeprefix(f"http://127.0.0.1:{demo.port}")

    status, _, body = demo.ask("POST", path, options[5], **headers)

    assert status == 200, body
    assert "1.3.6.1.4.1.5962.1.2.1.20040119072730.12322" in body


def test_demo_keeps_other_users_out_of_its_redis(demo: Demo, folder: Path) -> None:
    address = folder / "redis.url"
    port = int(address.read_text().rpartition(":")[2].partition("/")[0])

    with socket.create_connection(("127.0.0.1", port), timeout=5) as connection:
        connection.sendall(b"PING\r\n")
        assert connection.recv(100).startswith(b"-NOAUTH")
    assert address.stat().st_mode & 0o077 == 0
    password = address.read_text().split("@")[0].rpartition(":")[2]
    assert not any(password in command for command in demo.children().values())


def test_demo_has_one_per_data_directory(demo: Demo, folder: Path) -> None:
    second = subprocess.run(
        COMMAND,
        cwd=ROOT,
        env=environment(folder),
        capture_output=True,
        text=True,
        check=False,
    )

    assert second.returncode == 1
    assert "already runs" in second.stderr
    assert demo.get("/readyz")[0] == 200


def test_demo_says_that_its_port_is_taken(demo: Demo, tmp_path: Path) -> None:
    variables = environment(tmp_path, VIEWERHUB_DEMO_PORT=str(demo.port))

    second = subprocess.run(
        COMMAND, cwd=ROOT, env=variables, capture_output=True, text=True, check=False
    )

    assert second.returncode == 1
    assert f"Port {demo.port}" in second.stderr
    assert "VIEWERHUB_DEMO_PORT" in second.stderr


def test_demo_that_is_not_ready_in_time_says_so_and_ends(tmp_path: Path) -> None:
    variables = environment(tmp_path, VIEWERHUB_DEMO_SECONDS="0")

    late = subprocess.run(
        COMMAND, cwd=ROOT, env=variables, capture_output=True, text=True, check=False
    )

    assert late.returncode == 1
    assert "The demo was not ready after 0 seconds." in late.stderr
    assert "VIEWERHUB_DEMO_SECONDS=120" in late.stderr
    assert str(tmp_path / "log") in late.stderr
    assert not (tmp_path / "redis.url").exists()


def test_demo_is_killed_with_all_processes_and_starts_again(tmp_path: Path) -> None:
    with running_demo(
        environment(tmp_path, VIEWERHUB_DEMO_PASSWORD="a chosen word")
    ) as demo:
        assert "admin with the password a chosen word" in demo.welcome
        children = demo.children()
        assert len(children) == 4  # Redis, worker, beat, web
        demo.end(signal.SIGKILL)
        if sys.platform == "linux":
            assert wait_until(lambda: all_gone(children))

    with running_demo(environment(tmp_path)) as demo:
        assert "admin with the password you have chosen" in demo.welcome
        assert demo.get("/weasis?patientID=1CT1")[0] == 302
        children = demo.children()

        code = demo.end(signal.SIGINT)

    assert code == 0
    assert all_gone(children)
    assert not (tmp_path / "redis.url").exists()


def test_demo_stops_when_a_part_of_it_does(tmp_path: Path) -> None:
    with running_demo(environment(tmp_path)) as demo:
        children = demo.children()
        worker = next(pid for pid, command in children.items() if " worker" in command)
        os.kill(worker, signal.SIGKILL)

        code = demo.process.wait(60)
        assert demo.process.stdout is not None
        rest = demo.process.stdout.read()

    assert code == 1
    assert "The worker process ended" in rest
    assert all_gone(children)
