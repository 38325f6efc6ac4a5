"""The process that receives images by C-MOVE: ``manage.py storage_scp``."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Sequence
from typing import Any

from asgiref.sync import sync_to_async
from django.conf import settings
from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.db import close_old_connections

from archives.clients.base import DimseEndpoint
from archives.errors import ArchiveError
from archives.models import Archive, image_cache


class Command(BaseCommand):
    help = (
        "Receives images from archives without C-GET (C-MOVE), until it is stopped. It "
        "must share VIEWERHUB_IMAGE_CACHE_DIR with the web servers."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument(
            "--port",
            type=int,
            default=settings.VIEWERHUB_STORAGE_PORT,
            help="instead of VIEWERHUB_STORAGE_PORT",
        )

    def handle(self, *args: Any, **options: Any) -> None:
        cache = image_cache()
        if cache is None:
            raise CommandError(
                "The storage service needs the image cache: set "
                "VIEWERHUB_IMAGE_CACHE_MB to more than 0."
            )
        # Not at the top: other commands start without the protocol libraries.
        from archives.clients.dimse.storage import StorageService, StorageSettings

        service = StorageService(
            StorageSettings(
                ae_title=settings.VIEWERHUB_STORAGE_AE_TITLE,
                host=settings.VIEWERHUB_STORAGE_HOST,
                port=options["port"],
                cache=cache,
            ),
            sync_to_async(senders),
        )
        try:
            asyncio.run(self._serve(service))
        except OSError as error:
            raise CommandError(
                f"Port {options['port']} of {settings.VIEWERHUB_STORAGE_HOST} can't be "
                f"used: {error.strerror}. Choose another by VIEWERHUB_STORAGE_PORT."
            ) from error

    async def _serve(self, service: Any) -> None:
        stopped = asyncio.Event()
        loop = asyncio.get_running_loop()
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.add_signal_handler(number, stopped.set)
        await service.start()
        title = service.settings.ae_title
        self.stdout.write(f"{title} receives images on port {service.port}.")
        self.stdout.flush()
        try:
            await stopped.wait()
        finally:
            await service.stop()


def senders() -> Sequence[DimseEndpoint]:
    """Archives whose images come by C-MOVE."""
    close_old_connections()
    found = []
    archives = Archive.objects.enabled().filter(
        protocol=Archive.Protocol.DIMSE, retrieval=Archive.Retrieval.C_MOVE
    )
    for archive in archives:
        try:
            endpoint = archive.endpoint()
        except (
            ArchiveError
        ):  # its secrets can't be read: nothing was asked of it either
            continue
        if isinstance(endpoint, DimseEndpoint):
            found.append(endpoint)
    return found
