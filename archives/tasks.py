"""Celery tasks of the archives."""

from __future__ import annotations

from celery import shared_task

from archives import watching


@shared_task
def watch_archives() -> None:
    """Note how archives are doing. Two at once ask twice, and do no harm."""
    watching.check_quiet_archives()
