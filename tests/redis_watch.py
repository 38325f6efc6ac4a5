"""Sees every command that a Redis is given, however short-lived what it stores."""

from __future__ import annotations

import base64
import json
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from secrets import token_hex

from redis import Redis, ResponseError

_ARGUMENT = re.compile(r'"((?:[^"\\]|\\.)*)"')
_CHANNELS = frozenset({"PUBLISH", "SUBSCRIBE", "PSUBSCRIBE", "SPUBLISH", "SSUBSCRIBE"})


class RedisWatch:
    """The commands so far, each as its arguments."""

    def __init__(self) -> None:
        self.commands: set[tuple[str, ...]] = set()

    def values(self) -> str:
        """Everything that was sent, to see that something was seen."""
        return "\n".join(" ".join(command) for command in self.commands)

    def keys(self, redis: Redis) -> set[str]:
        """The keys of all commands, as the server finds them, and names of channels."""
        found: set[str] = set()
        for command in self.commands:
            if command[0].upper() in _CHANNELS:
                found.add(command[1])
                continue
            try:
                answer = redis.execute_command("COMMAND GETKEYS", *command)
            except ResponseError:  # it has none
                continue
            found |= set(answer)
        return found

    def tasks(self) -> list[str]:
        """The messages that Celery queued: headers and arguments."""
        return [
            f"{message['headers']} {base64.b64decode(message['body']).decode()}"
            for command in self.commands
            if command[0].upper() == "LPUSH" and '"body"' in command[-1]
            for message in [json.loads(command[-1])]
        ]


@contextmanager
def watching(url: str) -> Iterator[RedisWatch]:
    """Watch until the end of the block; nothing that was sent in it is missed."""
    watch, end, ready = RedisWatch(), token_hex(8), threading.Event()
    client = Redis.from_url(url)

    def listen() -> None:
        with client.monitor() as monitor:
            ready.set()
            while True:
                line = monitor.connection.read_response().decode(errors="replace")
                if end in line:
                    return
                # As Redis writes them: bytes beyond ASCII as \xNN.
                arguments = _ARGUMENT.findall(line)
                unescaped = [one.encode().decode("unicode_escape") for one in arguments]
                watch.commands.add(tuple(unescaped))

    thread = threading.Thread(target=listen)
    thread.start()
    try:
        assert ready.wait(20)
        yield watch
    finally:
        client.echo(end)
        thread.join()
        client.close()
