"""What only DICOMweb archives have: answers that are passed on as they are sent."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from enum import Enum
from typing import Protocol

from archives.clients.base import ArchiveClient
from archives.clients.matches import (
    SERIES_INSTANCE_UID,
    SOP_INSTANCE_UID,
    STUDY_INSTANCE_UID,
)
from archives.clients.pictures import Rendering
from archives.entities import InstanceIdentifier

JsonObject = Mapping[str, object]


class Level(Enum):
    """Search resources, and the attribute that tells their answers apart."""

    STUDIES = STUDY_INSTANCE_UID
    SERIES = SERIES_INSTANCE_UID
    INSTANCES = SOP_INSTANCE_UID


class Forwarded(Protocol):
    """The head of an archive's answer, and its body while it arrives.

    ``media_type`` is in lower case and has no parameters; ``content_length`` is that of
    the body as it will be read, ``None`` if it is not known.
    """

    status: int
    media_type: str

    @property
    def content_length(self) -> int | None: ...

    def header(self, name: str) -> str:
        """A header's value; empty if there is none."""
        ...

    def body(self) -> AsyncGenerator[bytes, None]:
        """Raises ``ArchiveError`` if the body ends early."""
        ...


class DicomWebArchive(ArchiveClient, Protocol):
    """The verbs of ``ArchiveClient``, and those of PS3.18 behind the gateway.

    A path is given by its segments, UIDs among them, without any escape.
    """

    def forward(
        self, path: Sequence[str], *, query: str = "", accept: str, byte_range: str = ""
    ) -> AbstractAsyncContextManager[Forwarded]:
        """A resource as the archive sends it, not compressed, whatever its status.

        But for the statuses that are an ``ArchiveError`` for every request.
        """
        ...

    def metadata(
        self, path: Sequence[str]
    ) -> AbstractAsyncContextManager[AsyncIterator[JsonObject]]:
        """The objects of a metadata resource, each as soon as it is there.

        Raises ``InstanceNotFoundError`` if the archive has none.
        """
        ...

    async def rendered(
        self, identifier: InstanceIdentifier, wanted: Rendering
    ) -> bytes | None:
        """The archive's own picture of an instance; ``None`` if it has none."""
        ...

    async def search(
        self,
        level: Level,
        path: Sequence[str],
        keys: Sequence[tuple[str, str]],
        fields: Sequence[tuple[str, str]],
    ) -> list[JsonObject]:
        """All matches as the archive describes them, however it pages.

        ``keys`` are names or tags of attributes, and values; ``fields`` say what is to
        be included in the answers. Raises ``ArchiveResponseError`` if there are more
        than the hub accepts.
        """
        ...
