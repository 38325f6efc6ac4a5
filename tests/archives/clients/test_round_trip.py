from __future__ import annotations

import socket
import sys
from math import inf

import pytest

from archives.clients.round_trip import round_trip


@pytest.fixture
def connection():
    with (
        socket.create_server(("127.0.0.1", 0)) as server,
        socket.create_connection(server.getsockname()) as connected,
    ):
        yield connected


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells it")
def test_round_trip_of_a_connection_is_known(connection):
    assert 0 <= round_trip(connection) < inf


def test_round_trip_of_what_is_closed_is_not_known(connection):
    connection.close()

    assert round_trip(connection) == inf


def test_round_trip_without_tcp_is_not_known():
    with socket.socket(socket.AF_UNIX) as local:
        assert round_trip(local) == inf
    assert round_trip(None) == inf
