"""Reading the environment: values may come from files, secrets must exist in production."""

from __future__ import annotations

import os
import secrets
from pathlib import Path

import environ
from django.core.exceptions import ImproperlyConfigured

env = environ.FileAwareEnv()


def require(*names: str) -> None:
    """Raise ``ImproperlyConfigured`` naming every variable that is not set."""
    missing = [
        name
        for name in names
        if not os.environ.get(name) and not os.environ.get(f"{name}_FILE")
    ]
    if missing:
        raise ImproperlyConfigured(
            "ViewerHub is in production mode (VIEWERHUB_PRODUCTION) and needs "
            f"{', '.join(missing)}. Set each one, or its name followed by _FILE to the "
            "path of a file that holds the value."
        )


def generated_secret(path: Path) -> str:
    """The secret kept in a file, made at the first call. For use outside production."""
    try:
        return path.read_text().strip()
    except FileNotFoundError:
        pass
    path.parent.mkdir(parents=True, exist_ok=True)
    draft = path.with_name(f"{path.name}.{os.getpid()}")
    with os.fdopen(os.open(draft, os.O_WRONLY | os.O_CREAT, 0o600), "w") as file:
        file.write(secrets.token_urlsafe(48))
    try:
        os.link(draft, path)  # fails if another process was first: its value counts
    except FileExistsError:
        pass
    finally:
        draft.unlink()
    return path.read_text().strip()
