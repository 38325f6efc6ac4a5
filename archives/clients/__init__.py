"""Talking to DICOM archives: ``open_client(endpoint)``, and what to make of answers."""

from archives.clients.base import (
    ArchiveClient,
    DicomWebEndpoint,
    DimseEndpoint,
    Endpoint,
)
from archives.clients.parallel import run_all
from archives.clients.pass_through import (
    DicomWebArchive,
    Forwarded,
    JsonObject,
    Level,
)
from archives.clients.pictures import (
    DEFAULT_QUALITY,
    Rendering,
    RenderingError,
    label_of,
)
from archives.clients.pool import close_connections
from archives.clients.study_filter import newest_of_each_patient

__all__ = [
    "DEFAULT_QUALITY",
    "ArchiveClient",
    "DicomWebArchive",
    "DicomWebEndpoint",
    "DimseEndpoint",
    "Endpoint",
    "Forwarded",
    "JsonObject",
    "Level",
    "Rendering",
    "RenderingError",
    "close_connections",
    "icon",
    "label_of",
    "load_clients",
    "newest_of_each_patient",
    "open_client",
    "open_dicomweb",
    "render",
    "run_all",
]


def load_clients() -> None:
    """Import all of them, which takes half a second, while nobody waits."""
    import archives.clients.dicomweb
    import archives.clients.dimse  # noqa: F401


def open_client(endpoint: Endpoint) -> ArchiveClient:
    """The client for an endpoint, to be used in ``async with``."""
    # Imported when first used: management commands and migrations start without the
    # protocol libraries.
    if isinstance(endpoint, DimseEndpoint):
        from archives.clients.dimse import DimseClient

        return DimseClient(endpoint)
    return open_dicomweb(endpoint)


def open_dicomweb(endpoint: DicomWebEndpoint) -> DicomWebArchive:
    """The same for a DICOMweb archive, with the verbs that only those have."""
    from archives.clients.dicomweb import DicomWebClient

    return DicomWebClient(endpoint)


def render(content: bytes, wanted: Rendering) -> bytes:
    """One frame of a DICOM file as a picture; raises ``RenderingError``. Takes a while."""
    from archives.clients import rendering

    return rendering.render(content, wanted)


def icon(label: str, wanted: Rendering) -> bytes:
    """A picture of a few letters, for what has no pixels."""
    from archives.clients import rendering

    return rendering.icon(label, wanted)
