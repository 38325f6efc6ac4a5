"""A text column that is encrypted at rest with the key ring of the settings."""

from __future__ import annotations

import base64
import hashlib
from typing import Any

from cryptography.fernet import Fernet, InvalidToken, MultiFernet
from django.conf import settings
from django.db import models


class SecretUnreadableError(Exception):
    """No key of VIEWERHUB_ENCRYPTION_KEYS opens a stored secret."""


def _key_ring() -> MultiFernet:
    """Keys are texts of any form; their SHA-256 is the Fernet key."""
    return MultiFernet(
        [
            Fernet(base64.urlsafe_b64encode(hashlib.sha256(key.encode()).digest()))
            for key in settings.VIEWERHUB_ENCRYPTION_KEYS
        ]
    )


class EncryptedTextField(models.TextField):
    """Plain text in Python, a Fernet token in the database; empty stays empty.

    The value can't be searched for. Reading raises ``SecretUnreadableError`` when the
    key that wrote it has left the ring.
    """

    def get_prep_value(self, value: Any) -> Any:
        text = super().get_prep_value(value)
        return _key_ring().encrypt(text.encode()).decode() if text else text

    def from_db_value(self, value: Any, *_: Any) -> Any:
        if not value:
            return value
        try:
            return _key_ring().decrypt(value.encode()).decode()
        except InvalidToken as error:
            raise SecretUnreadableError(
                "A stored secret can't be read with VIEWERHUB_ENCRYPTION_KEYS. Put the "
                "key that wrote it back at the end of the list, or enter the secret again."
            ) from error
