"""The two HTTP clients of Weasis: one for manifests, one for images."""

from __future__ import annotations

import contextlib
import gzip
import queue
import re
import threading
import time
import zlib
from dataclasses import dataclass, field
from http.client import (
    HTTPConnection,
    HTTPException,
    HTTPResponse,
    HTTPSConnection,
    RemoteDisconnected,
)
from urllib.parse import urljoin, urlsplit

REDIRECTS = frozenset({301, 302, 303, 307, 308})
JDK_ACCEPT = "text/html, image/gif, image/jpeg, */*; q=0.2"
# java.net.http refuses to send these: the request fails.
RESTRICTED = frozenset({"host", "connection", "content-length", "expect", "upgrade"})
WADO_RS_ACCEPT = 'multipart/related;type="application/dicom";transfer-syntax=*'
MULTIPART = re.compile(r'multipart/related.*boundary="?([^";,\s]+)', re.IGNORECASE)


class DownloadError(Exception):
    """A request that failed. ``is_stream_error`` if the answer was cut or too slow."""

    def __init__(self, message: str, *, is_stream_error: bool = False) -> None:
        super().__init__(message)
        self.is_stream_error = is_stream_error


@dataclass(frozen=True, slots=True)
class Request:
    """A request that was sent, and the status of its answer (0: there was none)."""

    kind: str  # manifest, thumbnail, image, query
    url: str
    headers: dict[str, str]
    status: int
    response_headers: dict[str, str]
    seconds: float


@dataclass(slots=True)
class Answer:
    status: int
    headers: dict[str, str]
    body: bytes
    first_read: int = 0


@dataclass
class HttpClient:
    """Requests with one identity; keeps connections and a record of all requests."""

    version: tuple[int, ...] = (4, 7, 2)
    user: str = ""
    profile: str = ""
    wants_json: bool = False
    read_timeout: float = 15.0
    requests: list[Request] = field(default_factory=list)
    _idle: dict[tuple[str, str], queue.LifoQueue[HTTPConnection]] = field(
        default_factory=dict
    )
    _lock: threading.Lock = field(default_factory=threading.Lock)

    @property
    def identity(self) -> dict[str, str]:
        number = ".".join(map(str, self.version))
        system = "(Linux; 6.1.0; amd64; "
        running = f"pf:{self.profile}; rv:{number})"
        agent = f"Weasis/{number} {system}{running} Java/26.0.1"
        return {"User-Agent": agent, "Weasis-User": self.user}

    def close(self) -> None:
        for idle in self._idle.values():
            while not idle.empty():
                idle.get().close()

    def get_manifest(self, url: str) -> bytes:
        """``HttpURLConnection``: 7 s to connect, 30 s between bytes, any 2xx."""
        headers = {"Accept": JDK_ACCEPT, **self.identity}
        if self.version >= (4, 7, 2):
            kind = "json" if self.wants_json else "xml"
            headers |= {"Accept": f"application/{kind}", "Accept-Encoding": "gzip"}
        for _ in range(8):
            answer = self._exchange(
                "manifest", url, headers, connect=7, read=2 * self.read_timeout
            )
            if answer.status not in REDIRECTS:
                break
            url = urljoin(url, answer.headers.get("location", ""))
        if not 200 <= answer.status < 300:
            raise DownloadError(
                f"server response: {answer.status}", is_stream_error=True
            )
        if 0 < answer.first_read < 4:
            raise DownloadError("the first read brought less than 4 bytes")
        return self._unzipped(url, answer.body)

    def _unzipped(self, url: str, body: bytes) -> bytes:
        """By magic bytes; before 4.7.2 the end of the path comes first."""
        path = urlsplit(url).path
        is_zipped = body[:2] == b"\x1f\x8b"
        if self.version < (4, 7, 2):
            is_zipped = path.endswith(".gz") or (
                is_zipped and not path.endswith(".xml")
            )
        try:
            return gzip.decompress(body) if is_zipped else body
        except (OSError, EOFError, zlib.error) as error:
            raise DownloadError("not in gzip format") from error

    def get(self, kind: str, url: str, headers: dict[str, str]) -> Answer:
        """``java.net.http``: keeps connections, offers h2c, follows redirects."""
        if urlsplit(url).scheme not in {"http", "https"}:
            raise DownloadError(f"not an address of the web: {url}")
        refused = RESTRICTED & {name.lower() for name in headers}
        if refused and self.version >= (4, 7):
            raise DownloadError(f"restricted header name: {sorted(refused)[0]!r}")
        headers = {**headers, **self.identity}
        for _ in range(5):
            answer = self._exchange(
                kind, url, headers, connect=5, read=self.read_timeout
            )
            if answer.status not in REDIRECTS:
                return answer
            target = urljoin(url, answer.headers.get("location", ""))
            if url.startswith("https:") and target.startswith("http:"):
                return answer
            url = target
        return answer

    def get_ok(self, kind: str, url: str, headers: dict[str, str]) -> Answer:
        """As ``get``; an error unless the status is 200 (up to 4.6: below 400)."""
        answer = self.get(kind, url, headers)
        is_ok = answer.status == 200 if self.version >= (4, 7) else answer.status < 400
        if not is_ok:
            raise DownloadError(f"HTTP request failed with status code {answer.status}")
        return answer

    def _exchange(
        self,
        kind: str,
        url: str,
        headers: dict[str, str],
        *,
        connect: float,
        read: float,
    ) -> Answer:
        started = time.monotonic()
        status, response_headers = 0, {}
        sent = {**headers, **self._upgrade(kind, url)}
        try:
            connection, response = self._send(url, sent, connect, read)
            status = response.status
            response_headers = {k.lower(): v for k, v in response.getheaders()}
            with contextlib.ExitStack() as stack:
                stack.callback(connection.close)
                answer = Answer(status, response_headers, *self._body(response))
                if not response.will_close:
                    stack.pop_all()
                    self._pool(url).put(connection)
        except (OSError, HTTPException) as error:
            message = f"{type(error).__name__}: {error}"
            raise DownloadError(message, is_stream_error=True) from error
        finally:
            seconds = time.monotonic() - started
            request = Request(kind, url, sent, status, response_headers, seconds)
            self.requests.append(request)
        return answer

    def _upgrade(self, kind: str, url: str) -> dict[str, str]:
        """What the JDK's client adds on plain HTTP; servers ignore it."""
        if kind == "manifest" or self.version < (4, 7) or url.startswith("https:"):
            return {}
        return {
            "Connection": "Upgrade, HTTP2-Settings",
            "Upgrade": "h2c",
            "HTTP2-Settings": "AAEAAEAAAAIAAAAAAAMAAAAAAAQBAAAAAAUAAEAABgAGAAA",
        }

    def _send(
        self, url: str, headers: dict[str, str], connect: float, read: float
    ) -> tuple[HTTPConnection, HTTPResponse]:
        """A connection closed by the server before the headers is tried again."""
        parts = urlsplit(url)
        target = f"{parts.path or '/'}{'?' if parts.query else ''}{parts.query}"
        for pause in (0.05, 0.1, 0.15, None):
            connection = self._connection(url, connect)
            try:
                if connection.sock is None:
                    connection.connect()
                connection.sock.settimeout(read)
                connection.putrequest("GET", target, skip_accept_encoding=True)
                for name, value in headers.items():
                    connection.putheader(name, value.encode())
                connection.endheaders()
                return connection, connection.getresponse()
            except (RemoteDisconnected, ConnectionResetError, BrokenPipeError):
                connection.close()
                if pause is None:
                    raise
                time.sleep(pause)
            except BaseException:
                connection.close()
                raise
        raise AssertionError

    def _connection(self, url: str, connect: float) -> HTTPConnection:
        with contextlib.suppress(queue.Empty):
            return self._pool(url).get_nowait()
        parts = urlsplit(url)
        kind = HTTPSConnection if parts.scheme == "https" else HTTPConnection
        return kind(parts.hostname or "", parts.port, timeout=connect)

    def _pool(self, url: str) -> queue.LifoQueue[HTTPConnection]:
        parts = urlsplit(url)
        with self._lock:
            return self._idle.setdefault(
                (parts.scheme, parts.netloc), queue.LifoQueue()
            )

    def _body(self, response: HTTPResponse) -> tuple[bytes, int]:
        """The whole body, and the length of the first piece that arrived."""
        with contextlib.ExitStack() as stack:
            stack.callback(response.close)
            pieces = [response.read1(65536)]
            while pieces[-1]:
                pieces.append(response.read1(65536))
            if response.length:  # cut before the announced Content-Length
                raise HTTPException(f"{response.length} bytes are missing")
            return b"".join(pieces), len(pieces[0])


def split_multipart(answer: Answer) -> list[bytes]:
    """The parts of a multipart/related answer, without their headers."""
    match = MULTIPART.search(answer.headers.get("content-type", ""))
    if match is None:
        raise DownloadError("the answer is not multipart/related with a boundary")
    delimiter = b"\r\n--" + match[1].encode()
    pieces = (b"\r\n" + answer.body).split(delimiter)
    if not pieces[-1].startswith(b"--"):
        raise DownloadError("the last boundary is missing", is_stream_error=True)
    parts = []
    for piece in pieces[1:-1]:
        _, separator, content = piece.partition(b"\r\n\r\n")
        if not separator:
            raise DownloadError("a part has no end of its headers")
        parts.append(content)
    return parts
