"""What the vendors' servers have in common: an address, a login, keys, and a ledger."""

from __future__ import annotations

import asyncio
import re
import ssl
import threading
import time
from collections.abc import AsyncIterator, Iterable, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from dataclasses import replace
from fnmatch import fnmatchcase
from typing import Any, ClassVar, TypeVar
from urllib.parse import parse_qsl

from archives.entities import Study
from tests.dicomweb_server import Answer, Behaviour, DicomWebServer, Request, status
from tests.token_server import TokenRequest, TokenServer
from tests.vendors.files import files_of

TAGS = {
    "PatientName": "00100010",
    "PatientID": "00100020",
    "IssuerOfPatientID": "00100021",
    "PatientBirthDate": "00100030",
    "PatientSex": "00100040",
    "AccessionNumber": "00080050",
    "ReferringPhysicianName": "00080090",
    "StudyDescription": "00081030",
    "StudyDate": "00080020",
    "ModalitiesInStudy": "00080061",
    "StudyInstanceUID": "0020000D",
    "SeriesInstanceUID": "0020000E",
    "SOPInstanceUID": "00080018",
}
KEYWORDS = {tag: keyword for keyword, tag in TAGS.items()}
NAMES = frozenset({"PatientName", "ReferringPhysicianName"})
PARAMETERS = frozenset({"limit", "offset", "includefield", "fuzzymatching"})
Server = TypeVar("Server", bound=DicomWebServer)
TOKEN = "a-token-that-is-valid"


class VendorServer(DicomWebServer):
    """A server at ``path``, with its WADO-URI service at ``wado_path`` if it has one.

    ``study_keys`` are what studies can be searched by, where that is limited; other keys
    are ignored, or refused with 400. ``fuzzy_keys`` obey ``fuzzymatching``. Keys may be
    tags or keywords. One that ``is_open`` asks for no login.
    """

    product: ClassVar[str]
    path: ClassVar[str]
    wado_path: ClassVar[str] = ""
    token: ClassVar[str] = ""
    login: ClassVar[str] = ""
    study_keys: ClassVar[frozenset[str] | None] = None
    refuses_other_keys: ClassVar[bool] = False
    takes_wildcards: ClassVar[bool] = True
    takes_lists: ClassVar[bool] = False
    fuzzy_keys: ClassVar[frozenset[str]] = frozenset()
    largest_limits: ClassVar[Mapping[str, int]] = {}
    missing: ClassVar[str] = ""  # resources that are not there, as a regular expression
    behaviour_values: ClassVar[Mapping[str, Any]] = {}

    def __init__(self, studies: Iterable[Study], **behaviour: Any) -> None:
        chosen = {"token": self.token, "login": self.login}
        chosen |= self.behaviour_values | behaviour
        super().__init__(studies, Behaviour(**chosen))
        self.refused: list[str] = []
        self.is_open = False
        self._files: dict[str, bytes] = {}
        self.tokens = TokenServer(time.monotonic, seconds=3600)
        self.tokens.refuses = self.refuses_token

    @asynccontextmanager
    async def running(
        self, context: ssl.SSLContext | None = None
    ) -> AsyncIterator[DicomWebServer]:
        async with self.tokens.running(), super().running(context) as server:
            yield server

    def refuses_token(self, request: TokenRequest) -> tuple[int, object] | None:
        """What the product's token server answers to who may have no token."""
        return 404, b""

    @property
    def address(self) -> str:
        """What an administrator enters."""
        return self.url.removesuffix("/dicom-web") + self.path

    @property
    def wado_address(self) -> str:
        return self.url.removesuffix("/dicom-web") + self.wado_path

    def open_values(self) -> dict[str, Any]:
        """Settings of an archive that is this server once it asks for no login."""
        self.is_open = True
        values = {"preset": self.product, "url": self.address, "images": "direct"}
        return values | {"authentication": "none"}

    def archive_values(self) -> dict[str, Any]:
        """Settings of an archive that is this server."""
        values: dict[str, Any] = {"preset": self.product, "url": self.address}
        if self.token:
            values |= {"authentication": "bearer", "bearer_token": self.token}
        if self.login:
            username, _, password = self.login.partition(":")
            values |= {"authentication": "basic"}
            values |= {"username": username, "password": password}
        return values

    # What is answered

    def _answer(self, request: Request) -> Answer:
        if self.wado_path and request.path == self.wado_path:
            return super()._answer(replace(request, path="/wado"))
        prefix = f"{self.path}/"
        inside = request.path.removeprefix(prefix)
        is_missing = bool(self.missing and re.fullmatch(self.missing, inside))
        if is_missing or not request.path.startswith(prefix):
            return self._refuse(request, 404)
        path, query = f"/dicom-web/{inside}", _with_keywords(request.query)
        return super()._answer(replace(request, path=path, query=query))

    def _is_welcome(self, request: Request) -> bool:
        return self.is_open or self.knows(request)

    def knows(self, request: Request) -> bool:
        """Whether the request comes with a login of this product."""
        return super()._is_welcome(request)

    def _refuse(self, request: Request, code: int) -> Answer:
        self.refused.append(f"{code} {request.path}?{request.query}")
        return status(code)

    def _refusal(
        self, request: Request, parents: dict[str, str], level: str
    ) -> int | None:
        code = self.refusal(request, level)
        if code:
            self.refused.append(f"{code} {request.path}?{request.query}")
        return code

    def refusal(self, request: Request, level: str) -> int | None:
        """The status of a search that this product does not answer."""
        keys = request.keys
        limit = self.largest_limits.get(level)
        if limit and not 1 <= int(keys.get("limit", 1)) <= limit:
            return 400
        if self.refuses_other_keys and level == "studies" and self.study_keys:
            unknown = keys.keys() - PARAMETERS - self.study_keys
            return 400 if unknown else None
        return None

    def included(self, request: Request) -> list[str]:
        """The values of ``includefield``, as they were sent."""
        return [
            value for name, value in parse_qsl(request.query) if name == "includefield"
        ]

    def asked_for(self, request: Request) -> set[str]:
        """What is to be included, by lists or one by one."""
        return set(",".join(self.included(request)).split(","))

    def _is_match(self, match: dict, keys: dict[str, str]) -> bool:
        is_fuzzy = keys.get("fuzzymatching") == "true"
        return all(
            self._matches_key(match, keyword, value, is_fuzzy)
            for keyword, value in keys.items()
            if keyword in TAGS
            if TAGS[keyword] in match  # an attribute of this level
            if self.study_keys is None
            or keyword in self.study_keys
            or not keyword.startswith(("Patient", "Study", "Issuer"))
        )

    def _matches_key(
        self, match: dict, keyword: str, wanted: str, is_fuzzy: bool
    ) -> bool:
        texts = [
            _text(one).casefold() for one in match[TAGS[keyword]].get("Value", [""])
        ]
        wanted = wanted.casefold()
        if keyword == "StudyDate":
            first, _, last = wanted.partition("-")
            last = last or ("99999999" if "-" in wanted else first)
            return any(first <= text <= last for text in texts)
        if is_fuzzy and keyword in self.fuzzy_keys:
            return any(_begins_words(wanted, text) for text in texts)
        alternatives = wanted.split(",") if self.takes_lists else [wanted]
        if self.takes_wildcards:
            return any(fnmatchcase(t, one) for t in texts for one in alternatives)
        return any(text in alternatives for text in texts)

    def _file(self, uid: str) -> bytes:
        if not self._files:
            self._files = files_of(self.studies)
        return self._files[uid]


def _with_keywords(query: str) -> str:
    """The query, with keywords where it has tags."""
    parts = (part.partition("=") for part in query.split("&"))
    return "&".join(
        KEYWORDS.get(name.upper(), name) + separator + value
        for name, separator, value in parts
    )


def _text(value: object) -> str:
    return "=".join(value.values()) if isinstance(value, dict) else str(value)


def _begins_words(wanted: str, name: str) -> bool:
    """Whether every word that is wanted begins a word of the name."""
    words = re.split(r"[\s^=]+", name)
    return all(
        any(word.startswith(start) for word in words)
        for start in re.split(r"[\s^=]+", wanted)
    )


@contextmanager
def serving(server: Server) -> Iterator[Server]:
    """The server in a thread of its own, for clients that wait."""
    is_ready = threading.Event()
    loop = asyncio.new_event_loop()
    stop = asyncio.Event()

    async def serve() -> None:
        async with server.running():
            is_ready.set()
            await stop.wait()

    def run() -> None:
        try:
            loop.run_until_complete(serve())
        finally:
            is_ready.set()
            loop.close()

    thread = threading.Thread(target=run)
    thread.start()
    try:
        is_ready.wait()
        yield server
    finally:
        loop.call_soon_threadsafe(stop.set)
        thread.join()
