"""Talking to DICOM archives: ``open_client(endpoint)``, and what to make of answers."""

from archives.clients.base import (
    ArchiveClient,
    DicomWebEndpoint,
    DimseEndpoint,
    Endpoint,
)
from archives.clients.pool import close_connections
from archives.clients.study_filter import newest_of_each_patient

__all__ = [
    "ArchiveClient",
    "DicomWebEndpoint",
    "DimseEndpoint",
    "Endpoint",
    "close_connections",
    "newest_of_each_patient",
    "open_client",
]


def open_client(endpoint: Endpoint) -> ArchiveClient:
    """The client for an endpoint, to be used in ``async with``."""
    # Imported when first used: management commands and migrations start without the
    # protocol libraries.
    if isinstance(endpoint, DimseEndpoint):
        from archives.clients.dimse import DimseClient

        return DimseClient(endpoint)
    from archives.clients.dicomweb import DicomWebClient

    return DicomWebClient(endpoint)
