from __future__ import annotations

from typing import Any

import pytest
from django.test import Client, override_settings

from tests.environment import free_port
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


@pytest.mark.parametrize("path", ["/livez", "/readyz", "/metrics"])
def test_operations_take_no_posts(client: Client, path: str) -> None:
    assert client.post(path).status_code == 405
