"""An OAuth2 token server in the test's own event loop, and an archive that wants its tokens."""

from __future__ import annotations

import asyncio
import base64
import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from functools import cache
from typing import Any
from urllib.parse import parse_qsl, unquote_plus

from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
)

from archives.entities import Study
from tests.dicomweb_server import Behaviour, DicomWebServer, Request


class ManualClock:
    """Seconds that pass when a test says so."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@dataclass(frozen=True)
class TokenRequest:
    form: dict[str, str]
    authorization: str

    @property
    def login(self) -> tuple[str, str]:
        """Client ID and secret of HTTP Basic."""
        text = base64.b64decode(self.authorization.removeprefix("Basic ")).decode()
        client_id, _, secret = text.partition(":")
        return unquote_plus(client_id), unquote_plus(secret)


class TokenServer:
    """Gives tokens that live ``seconds``, numbered; counts the requests.

    ``refuses`` answers a request with a status and body of its own; ``gate`` holds every
    answer back until it is set.
    """

    def __init__(self, clock: Callable[[], float], seconds: float = 2) -> None:
        self.clock = clock
        self.seconds = seconds
        self.requests: list[TokenRequest] = []
        self.asked_at: list[float] = []
        self.refuses: Callable[[TokenRequest], tuple[int, object] | None]
        self.refuses = lambda request: None
        self.headers = ""
        self.gate = asyncio.Event()
        self.gate.set()
        self.url = ""
        self._expires: dict[str, float] = {}

    def is_valid(self, token: str) -> bool:
        return self.clock() < self._expires.get(token, 0.0)

    def revoke_all(self) -> None:
        self._expires.clear()

    @asynccontextmanager
    async def running(self) -> AsyncIterator[TokenServer]:
        server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        port = server.sockets[0].getsockname()[1]
        self.url = f"http://127.0.0.1:{port}/token"
        async with server:
            yield self

    async def _serve(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        with suppress(ConnectionError, asyncio.IncompleteReadError):
            head = (await reader.readuntil(b"\r\n\r\n")).decode()
            lines = [line.partition(": ") for line in head.split("\r\n")[1:]]
            fields = {name.lower(): value for name, _, value in lines}
            body = await reader.readexactly(int(fields.get("content-length", 0)))
            form = dict(parse_qsl(body.decode()))
            request = TokenRequest(form, fields.get("authorization", ""))
            self.requests.append(request)
            self.asked_at.append(self.clock())
            await self.gate.wait()
            writer.write(self._answer(request))
            await writer.drain()
        writer.close()

    def _answer(self, request: TokenRequest) -> bytes:
        code, answer = self.refuses(request) or (200, self._grant())
        body = json.dumps(answer).encode() if not isinstance(answer, bytes) else answer
        return (
            f"HTTP/1.1 {code} X\r\nContent-Length: {len(body)}\r\n{self.headers}"
            "Content-Type: application/json\r\nConnection: close\r\n\r\n"
        ).encode() + body

    def _grant(self) -> dict[str, object]:
        token = f"token-{len(self.requests)}"
        self._expires[token] = self.clock() + self.seconds
        return {
            "access_token": token,
            "token_type": "Bearer",
            "expires_in": self.seconds,
        }


class ProtectedServer(DicomWebServer):
    """Answers only who brings a token that is valid at that moment."""

    def __init__(self, studies: list[Study], tokens: TokenServer) -> None:
        super().__init__(studies, Behaviour())
        self.tokens = tokens
        self.refused = 0

    def _is_welcome(self, request: Request) -> bool:
        token = request.headers.get("authorization", "").removeprefix("Bearer ")
        is_welcome = self.tokens.is_valid(token)
        self.refused += not is_welcome
        return is_welcome


def service_account_key(token_uri: str, key_id: str = "key-1") -> tuple[str, Any]:
    """The JSON that Google would make, and the public key that belongs to it."""
    private = _private_key(key_id)
    pem = private.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    key = {
        "type": "service_account",
        "project_id": "p",
        "private_key_id": key_id,
        "private_key": pem.decode(),
        "client_email": "hub@p.iam.gserviceaccount.com",
        "token_uri": token_uri,
    }
    return json.dumps(key), private.public_key()


@cache
def _private_key(key_id: str) -> rsa.RSAPrivateKey:
    return rsa.generate_private_key(public_exponent=65537, key_size=2048)
