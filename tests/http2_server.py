"""HTTP/2 over TLS, as much of it as a client needs to be answered."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

from h2.config import H2Configuration
from h2.connection import H2Connection
from h2.events import DataReceived, RequestReceived, StreamReset

Answer = Callable[[str], bytes]
"""Path and query -> DICOM JSON."""


class Http2Server:
    """Answers requests a moment after the loop has had its turn, all at once."""

    def __init__(self, answer: Answer) -> None:
        self.connections = 0
        self.paths: list[str] = []
        self.most_open_streams = 0
        self.resets = 0
        self._answer = answer

    @asynccontextmanager
    async def running(self, context: ssl.SSLContext) -> AsyncIterator[str]:
        """The address of the server while it runs."""
        context.set_alpn_protocols(["h2"])
        server = await asyncio.start_server(self._serve, "127.0.0.1", 0, ssl=context)
        port = server.sockets[0].getsockname()[1]
        try:
            yield f"https://127.0.0.1:{port}"
        finally:
            server.close()

    async def _serve(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        self.connections += 1
        connection = H2Connection(H2Configuration(client_side=False))
        connection.initiate_connection()
        writer.write(connection.data_to_send())
        streams: dict[int, str] = {}
        while data := await reader.read(65_536):
            for event in connection.receive_data(data):
                match event:
                    case RequestReceived():
                        headers = dict(event.headers)
                        streams[event.stream_id] = headers[b":path"].decode()
                    case StreamReset():
                        self.resets += 1
                        streams.pop(event.stream_id, None)
                    case DataReceived():
                        connection.increment_flow_control_window(len(event.data))
            self.most_open_streams = max(self.most_open_streams, len(streams))
            await asyncio.sleep(0.02)  # lets the client send what it may send at once
            for stream, path in streams.items():
                self._send(connection, stream, path)
            streams.clear()
            writer.write(connection.data_to_send())
        writer.close()

    def _send(self, connection: H2Connection, stream: int, path: str) -> None:
        self.paths.append(path)
        headers = [(":status", "200"), ("content-type", "application/dicom+json")]
        connection.send_headers(stream, headers)
        connection.send_data(stream, self._answer(path), end_stream=True)
