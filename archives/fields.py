"""A text column that is encrypted at rest with the key ring of the settings."""

from __future__ import annotations

import base64
import hashlib
from typing import Any

from cryptography.fernet import Fernet, InvalidToken, MultiFernet
from django.conf import settings
from django.db import models
from django.db.models.query_utils import DeferredAttribute


class SecretUnreadableError(Exception):
    """No key of VIEWERHUB_ENCRYPTION_KEYS opens a stored secret."""

    def __init__(self) -> None:
        super().__init__(
            "A stored secret can't be read with VIEWERHUB_ENCRYPTION_KEYS. Put the "
            "key that wrote it back at the end of the list, or enter the secret again."
        )


class Ciphertext(str):
    """A Fernet token as it is in the database."""

    __slots__ = ()


def key_ring() -> MultiFernet:
    """Keys are texts of any form; their SHA-256 is the Fernet key."""
    return MultiFernet(
        [
            Fernet(base64.urlsafe_b64encode(hashlib.sha256(key.encode()).digest()))
            for key in settings.VIEWERHUB_ENCRYPTION_KEYS
        ]
    )


class SecretAttribute(DeferredAttribute):
    """Decrypts at the first access, so that a lost key never hides the other columns."""

    field: EncryptedTextField

    def __get__(self, instance: Any, cls: Any = None) -> Any:
        value = super().__get__(instance, cls)
        if isinstance(value, Ciphertext):
            value = self.field.decrypt(value)
            instance.__dict__[self.field.attname] = value
        return value

    def __set__(self, instance: Any, value: Any) -> None:
        instance.__dict__[self.field.attname] = value


class EncryptedTextField(models.TextField):  # type: ignore[type-arg]
    """Plain text in Python, a Fernet token in the database; empty stays empty.

    The value can't be searched for, and ``values()`` gives the token. Reading the
    attribute raises ``SecretUnreadableError`` when the key that wrote it has left the
    ring, or gives ``unreadable`` where the field was made with one. Saving encrypts
    with the first key of the ring, and keeps a token that no key opens. Serializers
    (``dumpdata``) get the token too, and give it back to a hub with the same keys.
    """

    descriptor_class = SecretAttribute

    def __init__(
        self, *args: Any, unreadable: str | None = None, **kwargs: Any
    ) -> None:
        self.unreadable = unreadable
        super().__init__(*args, **kwargs)

    def decrypt(self, token: Ciphertext) -> str:
        try:
            return key_ring().decrypt(token.encode()).decode()
        except InvalidToken as error:
            if self.unreadable is not None:
                return self.unreadable
            raise SecretUnreadableError from error

    def value_to_string(self, obj: models.Model) -> str:
        value = obj.__dict__.get(self.attname)
        is_token = isinstance(value, Ciphertext)
        return str(value) if is_token else str(self.get_prep_value(value) or "")

    def to_python(self, value: Any) -> Any:
        text = super().to_python(value)
        if not text or isinstance(text, Ciphertext):
            return text
        try:
            key_ring().decrypt(text.encode())
        except InvalidToken:
            return text
        return Ciphertext(text)

    def from_db_value(self, value: Any, *_: Any) -> Any:
        return Ciphertext(value) if value else value

    def pre_save(self, model_instance: models.Model, add: bool) -> Any:
        value = model_instance.__dict__.get(self.attname)
        if not isinstance(value, Ciphertext):
            return super().pre_save(model_instance, add)
        try:
            return Ciphertext(key_ring().rotate(value.encode()).decode())
        except InvalidToken:
            return value

    def get_prep_value(self, value: Any) -> Any:
        text = super().get_prep_value(value)
        if not text or isinstance(value, Ciphertext):
            return text
        return key_ring().encrypt(text.encode()).decode()
