"""The contract of every archive client, and the endpoints they connect to.

A client is opened with ``async with open_client(endpoint) as client`` (see
``archives.clients``). Nothing is connected before the first call; connections are kept
in a pool per endpoint and event loop, so that opening a client again is cheap.

Every method raises an ``ArchiveError`` and nothing else when the archive misbehaves.
Cancelling the awaiting task (or a deadline) reaches the archive: a C-CANCEL and, if it
is not obeyed, an A-ABORT; or a closed HTTP stream.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from enum import StrEnum
from types import TracebackType
from typing import Protocol, Self

from archives.clients.credentials import Credentials, TokenStore
from archives.clients.image_cache import ImageCache
from archives.clients.outgoing import ANYWHERE, OutgoingRules
from archives.entities import (
    Instance,
    InstanceIdentifier,
    Selection,
    Series,
    Study,
    StudyMatches,
    StudyQuery,
    VerificationStep,
    WholeStudies,
)


class QueryRetrieveRoot(StrEnum):
    """Information models of PS3.4 C.6."""

    STUDY = "study"
    PATIENT = "patient"


class DimseRetrieval(StrEnum):
    """How images are fetched (PS3.4 C.4.2 and C.4.3)."""

    C_GET = "c-get"
    C_MOVE = "c-move"


class HttpAuthentication(StrEnum):
    """Kinds of credentials, see ``archives.clients.credentials``."""

    NONE = "none"
    BASIC = "basic"
    BEARER = "bearer"
    OAUTH2 = "oauth2"  # client credentials
    GOOGLE = "google"  # service account
    AWS = "aws"  # Signature Version 4
    HEADERS = "headers"
    USER = "user"  # of the hub, by OpenID Connect


@dataclass(frozen=True, slots=True, kw_only=True)
class Deadlines:
    """Seconds before the archive is given up.

    ``first_answer`` is also the longest silence between two answers or two pieces of a
    body. ``total`` bounds one whole call of the contract, except ``retrieve_instance``,
    whose transfer may take long and is bounded by the silence only.
    """

    connect: float = 5.0
    association: float = 5.0
    first_answer: float = 10.0
    total: float = 100.0


@dataclass(frozen=True, slots=True, kw_only=True)
class TlsSettings:
    """TLS 1.2 or newer (PS3.15 B.12). PEM texts; empty means the system's trust store."""

    ca_certificates: str = ""
    client_certificate: str = ""
    client_key: str = field(default="", repr=False)
    check_hostname: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class UserIdentity:
    """User Identity Negotiation (PS3.7 D.3.3.7): a user name, with or without passcode."""

    username: str
    passcode: str = field(default="", repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class DimseEndpoint:
    """An application entity. ``name`` is what messages call the archive.

    With an ``image_cache``, series are retrieved ahead of the requests for their images.
    C-MOVE needs one: objects are sent to ``move_destination``, the AE title of the hub's
    storage service, which puts them there.
    """

    name: str
    host: str
    port: int
    called_ae_title: str
    calling_ae_title: str = "VIEWERHUB"
    root: QueryRetrieveRoot = QueryRetrieveRoot.STUDY
    specific_character_set: str = "ISO_IR 192"
    tls: TlsSettings | None = None
    user_identity: UserIdentity | None = None
    deadlines: Deadlines = Deadlines()
    maximum_associations: int = 4
    maximum_answers: int = 100_000
    outgoing: OutgoingRules = ANYWHERE
    retrieval: DimseRetrieval = DimseRetrieval.C_GET
    move_destination: str = ""
    image_cache: ImageCache | None = None

    @property
    def cache_owner(self) -> str:
        """Whose images these are in a cache: the archive's, as it lets this caller see it."""
        username = self.user_identity.username if self.user_identity else ""
        address = f"{self.called_ae_title}@{self.host}:{self.port}"
        return "\n".join((address, self.calling_ae_title, username))


@dataclass(frozen=True, slots=True, kw_only=True)
class Quirks:
    """In what a DICOMweb server is known to differ from PS3.18 10.6.

    Only what would otherwise cost requests that fail, or what no answer tells. ``None``
    means "not known": no limit, every key.

    The ``..._per_page`` are the largest ``limit`` accepted; ``reachable_matches`` how far
    ``offset`` and ``limit`` lead together. A server without ``has_paging`` sends
    everything at once, whatever ``limit`` and ``offset`` say. One that is not
    ``is_relational`` finds series only in a study that is named, and instances in a
    series; without ``reads_whole_studies`` it has no metadata of a whole study either.
    ``study_keys`` are the keywords that studies can be searched by; those among
    ``fuzzy_keys`` match the beginnings of words, with ``fuzzymatching=true``.
    """

    studies_per_page: int | None = None
    series_per_page: int | None = None
    instances_per_page: int | None = None
    reachable_matches: int | None = None
    has_paging: bool = True
    is_relational: bool = True
    reads_whole_studies: bool = True
    takes_wildcards: bool = True
    takes_uid_lists: bool = True
    study_keys: frozenset[str] | None = None
    fuzzy_keys: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True, kw_only=True)
class DicomWebEndpoint:
    """A DICOMweb origin server: ``url`` is the base of QIDO-RS and WADO-RS.

    ``wado_uri_url`` is used to retrieve instances where it is given, for archives
    without WADO-RS. URLs have no trailing slash. Without a ``token_store``, each process
    asks the token server for itself.

    With an ``image_cache``, series are retrieved ahead of the requests for their images.
    ``cache_owner`` says whose images these are there: who logs in otherwise at the same
    address, and may see other images, has another.
    """

    name: str
    url: str
    wado_uri_url: str = ""
    credentials: Credentials | None = None
    tls: TlsSettings | None = None
    deadlines: Deadlines = Deadlines()
    maximum_connections: int = 4
    maximum_answers: int = 100_000
    page_size: int = 1000
    quirks: Quirks = Quirks()
    outgoing: OutgoingRules = ANYWHERE
    token_store: TokenStore | None = field(default=None, compare=False, repr=False)
    image_cache: ImageCache | None = None
    cache_owner: str = ""


Endpoint = DimseEndpoint | DicomWebEndpoint


@dataclass(frozen=True, slots=True, kw_only=True)
class Progress:
    """How far ``find_whole_studies`` is; totals are ``None`` until known."""

    studies: int = 0
    series: int = 0
    instances: int = 0
    total_series: int | None = None
    total_instances: int | None = None


ProgressCallback = Callable[[Progress], None]


class InstanceStream(Protocol):
    """The bytes of one DICOM file (PS3.10), while they arrive.

    Iterating raises ``ArchiveError`` when the object ends early, so that a truncated
    object is never taken for a whole one. ``content_length`` is in bytes, ``None`` when
    it is not known in advance. ``content`` is the whole file, if it is in memory already.
    """

    content_length: int | None
    content: bytes | None

    def __aiter__(self) -> AsyncIterator[bytes]: ...


class ArchiveClient(Protocol):
    """Verbs of PS3.4 and PS3.18, the same for both protocols."""

    async def __aenter__(self) -> Self: ...

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None: ...

    async def verify(self) -> tuple[VerificationStep, ...]:
        """Reach the archive, echo (or query), find the newest study, retrieve one image.

        With TLS, its certificate is looked at; with HTTP, the archive's clock. Never
        raises ``ArchiveError``: the first step that fails says why in its message and
        ends the list.
        """
        ...

    async def echo(self) -> None:
        """Ask the least that shows that the archive answers; raises ``ArchiveError``."""
        ...

    async def find_studies(self, query: StudyQuery) -> StudyMatches:
        """Studies that match, in the archive's order, at most ``query.limit``."""
        ...

    async def find_series(self, study_instance_uid: str) -> tuple[Series, ...]:
        """All series of a study, without instances; empty if the study is unknown."""
        ...

    async def find_instances(
        self, study_instance_uid: str, series_instance_uid: str
    ) -> tuple[Instance, ...]:
        """All instances of a series; empty if the series is unknown."""
        ...

    async def find_selected_studies(self, selection: Selection) -> tuple[Study, ...]:
        """The studies that a selection names and its filter lets pass, without series.

        With their modalities, where the archive lists them.
        Only asked at STUDY level, but for what names no study (a series or an instance
        alone), and for modalities that the archive does not list there.
        """
        ...

    async def find_whole_studies(
        self, selection: Selection, *, on_progress: ProgressCallback | None = None
    ) -> WholeStudies:
        """Everything a manifest needs, in the fewest queries the archive answers completely.

        Answers that do not belong to the selection are dropped, and nothing is asked of
        studies that its filter does not let pass. Completeness is checked
        against Number of Study (or Series) Related Instances.
        """
        ...

    def retrieve_instance(
        self, identifier: InstanceIdentifier, transfer_syntax: str = ""
    ) -> AbstractAsyncContextManager[InstanceStream]:
        """One instance as a DICOM file, in the transfer syntax it is stored in.

        Or in the one that is asked for, where the archive speaks HTTP and can: ``*``
        stands for any.
        All three UIDs are needed. Raises ``InstanceNotFoundError`` if the archive has none.
        """
        ...
