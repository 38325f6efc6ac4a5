"""A PostgreSQL cluster of the test run's own."""

from __future__ import annotations

import os
import pwd
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import psycopg
from psycopg import sql

from tests.environment import free_port
from tests.processes import ServerProcess, accepts
from tests.requirements import postgresql_program, program

USER = "viewerhub"


@dataclass(frozen=True, slots=True)
class PostgreSql:
    """A running cluster; anyone on loopback is its superuser."""

    port: int

    def url(self, database: str = "postgres") -> str:
        """What ``DATABASE_URL`` takes."""
        return f"postgres://{USER}@127.0.0.1:{self.port}/{database}"

    def create_database(self, name: str) -> str:
        """Make an empty database, replacing one of this name, and return its URL."""
        with psycopg.connect(self.url(), autocommit=True) as connection:
            for text in ("DROP DATABASE IF EXISTS {}", "CREATE DATABASE {}"):
                connection.execute(sql.SQL(text).format(sql.Identifier(name)))
        return self.url(name)


@contextmanager
def start_postgresql() -> Iterator[PostgreSql]:
    # Not below pytest's or our own directory: those are closed to other users, and the
    # server refuses to run as root.
    folder = Path(tempfile.mkdtemp(prefix="viewerhub-pg-"))
    try:
        prefix = _as_other_user(folder)
        data = folder / "data"
        initdb = [str(postgresql_program("initdb")), "-D", str(data), "-U", USER]
        initdb += ["--auth=trust", "--encoding=UTF8", "--no-locale", "--no-sync"]
        subprocess.run([*prefix, *initdb], cwd=folder, check=True, capture_output=True)
        port = free_port()
        command = [*prefix, str(postgresql_program("postgres")), "-D", str(data)]
        command += ["-p", str(port), "-k", str(folder), "-F"]
        command += ["-c", "listen_addresses=127.0.0.1", "-c", "max_connections=200"]
        process = ServerProcess(command, folder=folder, log=folder / "log")
        with process:
            process.start(lambda: _answers(port))
            yield PostgreSql(port)
            process.stop(signal.SIGINT)  # without waiting for clients
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _answers(port: int) -> bool:
    if not accepts(port):
        return False
    try:
        psycopg.connect(PostgreSql(port).url(), connect_timeout=2).close()
    except psycopg.OperationalError:  # "the database system is starting up"
        return False
    return True


def _as_other_user(folder: Path) -> list[str]:
    """How to run a command in ``folder`` without being root."""
    if os.geteuid() != 0:
        return []
    user = pwd.getpwnam("postgres")
    os.chown(folder, user.pw_uid, user.pw_gid)
    setpriv = program("setpriv")
    assert setpriv is not None
    identity = ["--reuid", str(user.pw_uid), "--regid", str(user.pw_gid)]
    return [setpriv, *identity, "--clear-groups", "--pdeathsig", "TERM", "--"]
