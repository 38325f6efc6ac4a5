"""A service class user for archives that speak DIMSE (PS3.7, PS3.8), on asyncio."""

from archives.clients.dimse.client import DimseClient

__all__ = ["DimseClient"]
