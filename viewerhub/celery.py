"""The Celery app. Its settings are the ``CELERY_*`` of ``viewerhub.settings``."""

import os
from typing import Any

from celery import Celery
from celery.signals import worker_init
from kombu.transport import redis

from viewerhub.startup import make_ready

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "viewerhub.settings")

app = Celery("viewerhub")
app.config_from_object("django.conf:settings", namespace="CELERY")
app.autodiscover_tasks()


def _before_tasks(**_: Any) -> None:
    make_ready()


worker_init.connect(_before_tasks)


class QualityOfService(redis.QoS):
    """Keeps a worker alive that loses Redis while it has a task.

    Kombu (5.7) looks for the address of a connection that is gone in order to give
    unfinished messages back, fails over that, and Celery takes it for the worker's end.
    There is nothing to give back then: builds are queued again by who misses them.
    """

    def restore_unacked(self, client: Any = None) -> None:
        if self._is_connected():
            super().restore_unacked(client)  # type: ignore[no-untyped-call]

    def ack(self, delivery_tag: str) -> None:
        if self._is_connected():
            super().ack(delivery_tag)  # type: ignore[no-untyped-call]

    def reject(self, delivery_tag: str, requeue: bool = False) -> None:
        if self._is_connected():
            super().reject(delivery_tag, requeue)  # type: ignore[no-untyped-call]

    def _is_connected(self) -> bool:
        transport = self.channel.connection
        return transport is not None and transport.client is not None


redis.Channel.QoS = QualityOfService
