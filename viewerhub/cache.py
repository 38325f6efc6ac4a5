"""Values in the cache, as JSON: whoever can write to Redis must not be able to run code."""

from __future__ import annotations

import json
from typing import Any


class JsonSerializer:
    """For the ``serializer`` option of Django's Redis cache.

    Tuples come back as lists. Integers are stored bare, so that Redis can count.
    """

    def dumps(self, value: Any) -> bytes | int:
        if type(value) is int:
            return value
        return json.dumps(value, separators=(",", ":")).encode()

    def loads(self, data: bytes) -> Any:
        return json.loads(data)
