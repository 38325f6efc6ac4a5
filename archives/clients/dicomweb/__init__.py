"""The DICOMweb client."""

from archives.clients.dicomweb.client import DicomWebClient

__all__ = ["DicomWebClient"]
