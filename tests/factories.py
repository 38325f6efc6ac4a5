"""Rows for tests, with values that are right unless a test says otherwise."""

from __future__ import annotations

from typing import Any

from archives.embedded import EmbeddedArchive
from archives.entities import Selection
from archives.models import Archive
from launcher.models import ApiClient, Launch, LaunchTemplate
from launcher.services import StartedLaunch, start_launch

# Where nothing listens: port 9 is for discarding, and refuses connections.
DEAD_PORT = 9


def make_dimse_archive(server: EmbeddedArchive | None = None, **values: Any) -> Archive:
    """An archive that is ``server``, or that refuses connections."""
    defaults: dict[str, Any] = {
        "name": "Main PACS",
        "slug": "main",
        "protocol": Archive.Protocol.DIMSE,
        "host": "127.0.0.1",
        "port": server.port if server else DEAD_PORT,
        "called_ae_title": server.ae_title if server else "NOBODY",
    }
    return Archive.objects.create(**(defaults | values))


def make_dicomweb_archive(url: str, **values: Any) -> Archive:
    defaults: dict[str, Any] = {
        "name": "Web PACS",
        "slug": "web",
        "protocol": Archive.Protocol.DICOMWEB,
        "url": url,
    }
    return Archive.objects.create(**(defaults | values))


def make_api_client(**values: Any) -> tuple[ApiClient, str]:
    """A client with every scope, and its key."""
    client = ApiClient(**({"name": "RIS", "scopes": ApiClient.Scope.values} | values))
    key = client.issue_key()
    client.save()
    return client, key


def make_launch(archives: list[Archive], **values: Any) -> StartedLaunch:
    """A launch of patient 1CT1, queued and not built."""
    selection = values.pop("selection", Selection(study_instance_uids=("1.2.3",)))
    defaults: dict[str, Any] = {
        "template": LaunchTemplate.objects.default(),
        "origin": Launch.Origin.URL,
    }
    return start_launch(selection=selection, archives=archives, **(defaults | values))
