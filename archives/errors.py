"""Everything that can go wrong with an archive, as one tree.

Messages are shown to users: they name the archive and what to do next, and never
contain patient data or credentials.
"""

from typing import ClassVar


class ArchiveError(Exception):
    """Base class. ``str(error)`` is one or two plain sentences for a screen.

    ``state`` is what answers, outcomes and the health of an archive call it.
    """

    state: ClassVar[str] = "failed"


class ArchiveUnavailableError(ArchiveError):
    """Not reachable, timed out, went silent, or HTTP 429, 502, 503, 504: try later."""

    state = "unavailable"


class ConnectionLostError(ArchiveUnavailableError):
    """Closed by the archive after it had accepted it: another one may do better."""


class ArchiveRefusedError(ArchiveError):
    """Association rejected, HTTP 401 or 403, TLS not accepted: an administrator must act."""

    state = "refused"


class ArchiveResponseError(ArchiveError):
    """An answer that is a failure, malformed, or more than the caps allow.

    ``status`` is the DIMSE status (``0xA700``), the HTTP code (``500``) or empty when
    the answer could not be read at all.
    """

    def __init__(self, message: str, *, status: str = "") -> None:
        super().__init__(message)
        self.status = status


class InstanceNotFoundError(ArchiveResponseError):
    """The archive answers, but does not hold the instance that was asked for."""
