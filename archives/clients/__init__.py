"""Talking to DICOM archives: ``open_client(endpoint)`` and nothing else."""

from archives.clients.base import (
    ArchiveClient,
    DicomWebEndpoint,
    DimseEndpoint,
    Endpoint,
)
from archives.clients.dicomweb import DicomWebClient
from archives.clients.dimse import DimseClient

__all__ = ["ArchiveClient", "DicomWebEndpoint", "DimseEndpoint", "Endpoint", "open_client"]


def open_client(endpoint: Endpoint) -> ArchiveClient:
    """The client for an endpoint, to be used in ``async with``."""
    if isinstance(endpoint, DimseEndpoint):
        return DimseClient(endpoint)
    return DicomWebClient(endpoint)
