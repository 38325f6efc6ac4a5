"""The REST API as external systems reach it: a running hub, and HTTP clients with keys."""

import httpx2
import pytest

from tests.asgi import serve_hub
from tests.factories import make_api_client


@pytest.fixture(scope="module")
def hub(valkey):
    with serve_hub() as address:
        yield f"{address}/api/v1"


@pytest.fixture
def connect(hub):
    """Makes HTTP clients with a key, or without one."""
    opened = []

    def connect(key=None, **values):
        if key is None:
            key = make_api_client(**values)[1]
        headers = {"Authorization": f"Bearer {key}"} if key else {}
        opened.append(httpx2.Client(base_url=hub, headers=headers, timeout=20))
        return opened[-1]

    yield connect
    for client in opened:
        client.close()


@pytest.fixture
def ris(connect):
    """The HTTP client of an API client with every scope."""
    return connect()
