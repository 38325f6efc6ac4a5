from __future__ import annotations

from typing import Any

import pytest
from django.test import Client, override_settings
from django.utils import timezone
from redis import Redis

from tests.environment import free_port
from tests.factories import make_dimse_archive
from tests.valkey import RedisServer


def test_livez_is_empty_and_needs_nothing(client: Client) -> None:
    response = client.get("/livez")

    assert response.status_code == 200
    assert response.content == b""


@pytest.mark.django_db(transaction=True)
def test_readyz_asks_database_and_redis(client: Client, valkey: RedisServer) -> None:
    response = client.get("/readyz")

    assert response.status_code == 200
    assert response.content == b"database: ok\nredis: ok\n"


@pytest.mark.django_db(transaction=True)
def test_readyz_is_503_without_redis_and_names_no_address(
    client: Client, settings: Any
) -> None:
    port = free_port()
    settings.VIEWERHUB_REDIS_URL = f"redis://:word@127.0.0.1:{port}/0"

    response = client.get("/readyz")

    assert response.status_code == 503
    assert response.content == b"database: ok\nredis: failed\n"


@pytest.mark.django_db
@pytest.mark.parametrize(
    ("address", "status"), [("10.1.2.3", 200), ("10.2.0.1", 403), ("", 403)]
)
def test_metrics_are_for_the_given_networks(
    client: Client, address: str, status: int
) -> None:
    with override_settings(VIEWERHUB_METRICS_NETWORKS=["10.1.0.0/16"]):
        response = client.get("/metrics", REMOTE_ADDR=address)

    assert response.status_code == status
    assert (b"django_http_requests" in response.content) == (status == 200)


@pytest.mark.django_db
def test_metrics_tell_how_archives_and_the_queue_are_doing(
    client: Client, valkey: RedisServer, settings: Any
) -> None:
    settings.CELERY_TASK_DEFAULT_QUEUE = "a-queue-of-this-test"
    with Redis.from_url(settings.CELERY_BROKER_URL) as broker:
        broker.rpush(settings.CELERY_TASK_DEFAULT_QUEUE, "a task")
        broker.expire(settings.CELERY_TASK_DEFAULT_QUEUE, 60)
    now = timezone.now()
    make_dimse_archive(last_success=now, last_milliseconds=42)
    make_dimse_archive(name="Old", slug="old", last_error=now, last_message="Private.")

    text = client.get("/metrics").content.decode()

    for line in (
        'viewerhub_archive_state{archive="main",state="working"} 1.0',
        'viewerhub_archive_state{archive="old",state="working"} 0.0',
        'viewerhub_archive_state{archive="old",state="failed"} 1.0',
        'viewerhub_archive_latency_seconds{archive="main"} 0.042',
        "viewerhub_builds_unfinished 0.0",
        "viewerhub_queue_tasks 1.0",
    ):
        assert f"\n{line}\n" in text
    assert "Private" not in text


@pytest.mark.parametrize("path", ["/livez", "/readyz", "/metrics"])
def test_operations_take_no_posts(client: Client, path: str) -> None:
    assert client.post(path).status_code == 405
