"""Figures of the hub as a whole, in Prometheus' format: its archives and its queue.

Each process has figures of its own requests beside these; these are the same in all.
"""

from __future__ import annotations

from typing import Final

from prometheus_client import CollectorRegistry, Gauge, generate_latest

from archives.health import ArchiveState
from archives.models import Archive
from launcher.models import Build
from launcher.queue import waiting_tasks

_STATES: Final = (
    ArchiveState.WORKING,
    ArchiveState.UNAVAILABLE,
    ArchiveState.REFUSED,
    ArchiveState.FAILED,
    ArchiveState.UNKNOWN,
)


def figures() -> bytes:
    """What the last answers of the archives said; none is asked for it."""
    registry = CollectorRegistry()
    state = Gauge(
        "viewerhub_archive_state",
        "1 for the state an archive is in, 0 for the others.",
        ["archive", "state"],
        registry=registry,
    )
    latency = Gauge(
        "viewerhub_archive_latency_seconds",
        "How long an archive took for the last short question.",
        ["archive"],
        registry=registry,
    )
    success = Gauge(
        "viewerhub_archive_last_success_timestamp_seconds",
        "When an archive worked last.",
        ["archive"],
        registry=registry,
    )
    for archive in Archive.objects.enabled():
        for one in _STATES:
            state.labels(archive.slug, one.value).set(archive.state == one)
        if archive.last_milliseconds is not None:
            latency.labels(archive.slug).set(archive.last_milliseconds / 1000)
        if archive.last_success:
            success.labels(archive.slug).set(archive.last_success.timestamp())
    _queue(registry)
    return generate_latest(registry)


def _queue(registry: CollectorRegistry) -> None:
    builds = Gauge(
        "viewerhub_builds_unfinished",
        "Builds that wait for a worker or for archives.",
        registry=registry,
    )
    builds.set(Build.objects.unfinished().count())
    waiting = waiting_tasks()
    if waiting is not None:
        Gauge(
            "viewerhub_queue_tasks",
            "Tasks that no worker has taken from the queue yet.",
            registry=registry,
        ).set(waiting)
