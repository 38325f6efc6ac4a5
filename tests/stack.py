"""The whole product as processes: web server, worker, Redis and a database."""

from __future__ import annotations

import fcntl
import json
import os
import shutil
import signal
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

from celery import Celery
from kombu.exceptions import OperationalError
from redis.exceptions import RedisError

from tests.environment import free_port, is_test_run, run_directory
from tests.processes import ServerProcess, wait_until
from tests.valkey import RedisServer, start_redis
from tests.weasis_client import WeasisClient
from tests.weasis_result import Result

ROOT = Path(__file__).resolve().parent.parent
HOST = "127.0.0.1"


@dataclass(frozen=True, slots=True)
class Answer:
    """What the web server answered; redirects are not followed."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    @property
    def location(self) -> str:
        return self.headers["location"]

    def json(self) -> Any:
        return json.loads(self.body)


class NoRedirect(urllib.request.HTTPRedirectHandler):
    def redirect_request(self, *arguments: Any) -> None:
        return None


class Console:
    """Runs Python statements in the product's environment, in a process of its own.

    The variables of earlier statements stay, as in ``manage.py shell``.
    """

    def __init__(self, folder: Path, environment: Mapping[str, str]) -> None:
        with (folder / "console.log").open("ab") as log:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "tests.stack_console"],
                cwd=ROOT,
                env=dict(environment),
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                text=True,
            )

    def run(self, code: str, **variables: Any) -> Any:
        """Execute the code with these variables; what it leaves in ``result``, if JSON
        can carry it."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps([code, variables]) + "\n")
        self._process.stdin.flush()
        line = self._process.stdout.readline()
        answer = json.loads(line) if line else {"error": "the console has ended"}
        if "error" in answer:
            raise RuntimeError(answer["error"])
        return answer["result"]

    def close(self) -> None:
        self._process.communicate()


@dataclass
class Stack:
    """A running hub. Launches by URL are allowed: loopback is a trusted network."""

    folder: Path
    url: str
    redis: RedisServer
    environment: dict[str, str]
    console: Console
    web: ServerProcess
    workers: list[ServerProcess] = field(default_factory=list)

    # The web server

    def get(self, path: str, query: Any = (), **headers: str) -> Answer:
        """GET a path of the hub; ``query`` is a mapping or a list of pairs."""
        address = self.url + path + ("?" + urlencode(query, True) if query else "")
        names = {name.replace("_", "-"): value for name, value in headers.items()}
        request = urllib.request.Request(address, headers=names)
        try:
            with urllib.request.build_opener(NoRedirect).open(
                request, timeout=60
            ) as reply:
                return self._answer(reply)
        except urllib.error.HTTPError as error:
            with error:
                return self._answer(error)

    def _answer(self, reply: Any) -> Answer:
        headers = {name.lower(): value for name, value in reply.headers.items()}
        return Answer(reply.status, headers, reply.read())

    def launch(self, query: Any = (), **headers: str) -> str:
        """Start a launch by URL; the ``weasis://`` address it redirects to."""
        answer = self.get("/weasis", query, **headers)
        assert answer.status == 302, (answer.status, answer.body)
        return answer.location

    def open(self, query: Any, *, version: tuple[int, ...] = (4, 7, 2)) -> Result:
        """What a radiologist sees: launch, and all images of it."""
        return WeasisClient(version).open(self.launch(query))

    # Processes

    def start_worker(self) -> ServerProcess:
        """One more worker; the last one started is ``workers[-1]``."""
        number = len(self.workers) + 1
        name = f"worker{number}@{HOST}"
        command = [sys.executable, "-m", "celery", "-A", "viewerhub", "worker"]
        command += ["--pool=threads", "--concurrency=16", "--loglevel=INFO"]
        command += ["--without-gossip", "--without-mingle", "--hostname", name]
        worker = ServerProcess(
            command,
            folder=ROOT,
            log=self.folder / f"worker{number}.log",
            environment=self.environment,
            inherits=False,
        )
        self.workers.append(worker)
        return worker.start(lambda: self._worker_answers(name), seconds=60)

    def _worker_answers(self, name: str) -> bool:
        try:
            with Celery(broker=self.redis.url, set_as_current=False) as app:
                return bool(app.control.ping([name], timeout=1))
        except (RedisError, OperationalError):  # the broker was away
            return False

    def wait_for_worker(self) -> None:
        """Until a worker answers again, after the broker was away."""
        name = f"worker{len(self.workers)}@{HOST}"
        assert wait_until(lambda: self._worker_answers(name), seconds=60)

    def manage(self, *arguments: str) -> str:
        """Run ``manage.py`` and return what it prints."""
        done = subprocess.run(
            [sys.executable, "manage.py", *arguments],
            cwd=ROOT,
            env=self.environment,
            capture_output=True,
            text=True,
            timeout=120,
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    def logs(self) -> str:
        """All that web server and workers wrote."""
        outputs = [process.output() for process in (self.web, *self.workers)]
        return "\n".join(outputs)

    def web_usage(self) -> tuple[int, int]:
        """Threads, and resident memory in MB, of the web server (Linux)."""
        status = Path(f"/proc/{self.web.pid}/status").read_text()
        values = dict(line.split(":", 1) for line in status.splitlines())
        return int(values["Threads"]), int(values["VmRSS"].split()[0]) // 1024

    # What administrators do

    def add_archive(self, slug: str, **fields: Any) -> None:
        """Register an archive, replacing one of this slug; fields as in the model."""
        self.console.run(
            "archive = Archive(slug=slug, **{'name': slug, **fields})\n"
            "Archive.objects.filter(slug=slug).delete()\n"
            "archive.full_clean()\n"
            "archive.save()",
            slug=slug,
            fields=fields,
        )

    def add_dimse_archive(
        self, slug: str, *, port: int, ae_title: str = "ANY", **fields: Any
    ) -> None:
        address = {"host": HOST, "port": port, "called_ae_title": ae_title}
        self.add_archive(slug, protocol="dimse", **address, **fields)

    def add_dicomweb_archive(self, slug: str, *, url: str, **fields: Any) -> None:
        self.add_archive(slug, protocol="dicomweb", url=url, **fields)

    def create_user(
        self, name: str, password: str, *, is_superuser: bool = False
    ) -> None:
        self.console.run(
            "create = User.objects.create_superuser if is_superuser else "
            "User.objects.create_user\n"
            "create(name, password=password)",
            name=name,
            password=password,
            is_superuser=is_superuser,
        )

    def log_in(self, name: str) -> dict[str, str]:
        """The cookies of a browser in which this user has just logged in."""
        cookies: dict[str, str] = self.console.run(
            "from django.test import Client\n"
            "client = Client()\n"
            "client.force_login(User.objects.get(username=name))\n"
            "result = {key: one.value for key, one in client.cookies.items()}",
            name=name,
        )
        return cookies

    def create_api_client(self, name: str, *scopes: str) -> str:
        """Make an API client and return its key."""
        key = self.console.run(
            "client = ApiClient(name=name, scopes=scopes)\n"
            "result = client.issue_key()\n"
            "client.save()",
            name=name,
            scopes=scopes or ("launch",),
        )
        return str(key)

    def update_launches(self, **fields: Any) -> None:
        """Set fields of all launches; ``expires`` is in seconds from now."""
        self.console.run(
            "if 'expires' in fields:\n"
            "    fields['expires'] = timezone.now() + timedelta(seconds=fields['expires'])\n"
            "Launch.objects.update(**fields)",
            fields=fields,
        )

    def count(self) -> dict[str, int]:
        """How many rows there are of what launches store."""
        result: dict[str, int] = self.console.run(
            "result = {m.__name__: m.objects.count() for m in (Launch, Build)}"
        )
        return result


def _environment(
    folder: Path, port: int, settings: Mapping[str, str]
) -> dict[str, str]:
    """The environment of the processes: nothing of the test run's own settings."""
    kept = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(("VIEWERHUB_", "DJANGO_", "PYTEST_"))
        and name not in {"SECRET_KEY", "DATABASE_URL", "DEBUG", "ALLOWED_HOSTS"}
    }
    return {
        **kept,
        "DJANGO_SETTINGS_MODULE": "viewerhub.settings",
        "VIEWERHUB_DATA_DIR": str(folder / "data"),
        "VIEWERHUB_PUBLIC_URL": f"http://{HOST}:{port}",
        "VIEWERHUB_TRUSTED_NETWORKS": "127.0.0.0/8",
        **settings,
    }


def _web(folder: Path, port: int, environment: Mapping[str, str]) -> ServerProcess:
    command = [sys.executable, "-m", "uvicorn", "viewerhub.asgi:application"]
    command += ["--host", HOST, "--port", str(port), "--lifespan=off"]
    command += ["--no-access-log", "--no-proxy-headers", "--no-server-header"]
    command += ["--timeout-graceful-shutdown=3"]
    log = folder / "web.log"
    return ServerProcess(
        command, folder=ROOT, log=log, environment=environment, inherits=False
    )


def _migrate(environment: Mapping[str, str]) -> None:
    command = [sys.executable, "manage.py", "migrate", "--verbosity=0"]
    subprocess.run(command, cwd=ROOT, env=environment, check=True)


def _copy_migrated(environment: Mapping[str, str]) -> None:
    """A migrated SQLite database and its secrets, made once for all processes of a run."""
    if not is_test_run():
        _migrate(environment)
        return
    migrated = run_directory() / "migrated"
    with migrated.with_suffix(".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not migrated.exists():
            draft = migrated.with_suffix(".draft")
            _migrate({**environment, "VIEWERHUB_DATA_DIR": str(draft)})
            draft.rename(migrated)
    shutil.copytree(migrated, environment["VIEWERHUB_DATA_DIR"])


@contextmanager
def start_stack(
    folder: Path,
    *,
    database_url: str = "",
    redis_executable: str | None = None,
    settings: Mapping[str, str] | None = None,
) -> Iterator[Stack]:
    """A hub with one worker, and no archive: on SQLite and Valkey unless told otherwise.

    ``settings`` are more environment variables of the product.
    """
    with ExitStack() as stack:
        redis = stack.enter_context(start_redis(folder, executable=redis_executable))
        port = free_port()
        environment = _environment(folder, port, settings or {})
        environment["VIEWERHUB_REDIS_URL"] = redis.url
        if database_url:
            environment["DATABASE_URL"] = database_url
            _migrate(environment)
        else:
            _copy_migrated(environment)
        console = Console(folder, environment)
        stack.callback(console.close)
        web = _web(folder, port, environment)
        hub = Stack(folder, f"http://{HOST}:{port}", redis, environment, console, web)
        stack.callback(lambda: [worker.stop(signal.SIGKILL) for worker in hub.workers])
        stack.enter_context(web)
        web.start(lambda: _is_live(hub))
        hub.start_worker()
        yield hub


def _is_live(hub: Stack) -> bool:
    try:
        return hub.get("/livez").status == 200
    except OSError:
        return False
