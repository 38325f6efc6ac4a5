"""Launch links that wait for their user's login, under an opaque id.

Patient data must not travel to the login page and back, nor to an identity provider.
"""

from __future__ import annotations

import hashlib
import secrets
from dataclasses import asdict, dataclass
from typing import Final

from django.core.cache import cache

# How long a login may take (seconds).
LIFETIME: Final = 900


@dataclass(frozen=True, slots=True, kw_only=True)
class PendingLaunch:
    """A link as it came: its query, and whether its address is that of IHE IID.

    ``members_only`` as its address has it: a trusted network alone may not follow it.
    """

    query: str
    is_iid: bool = False
    members_only: bool = False


def save(launch: PendingLaunch) -> str:
    """Keep a link; returns the id that leads back to it."""
    launch_id = secrets.token_urlsafe(16)
    cache.set(_key(launch_id), asdict(launch), LIFETIME)
    return launch_id


def load(launch_id: str) -> PendingLaunch | None:
    """The link of an id, or ``None`` if it never was or has expired."""
    values = cache.get(_key(launch_id))
    return PendingLaunch(**values) if values else None


def _key(launch_id: str) -> str:
    # Ids come from addresses: hashed, they are always a valid key.
    return f"pending-launch:{hashlib.sha256(launch_id.encode()).hexdigest()}"
