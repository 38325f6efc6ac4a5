"""Identifiers encrypted as weasis-pacs-connector and ViewerHub did, for migrations.

Neither scheme authenticates what it encrypts, so neither protects a link from being
changed; signed links do. A value that is not what the peer would have written is
refused: it is never taken for plain text.
"""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Callable
from typing import Final

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from cryptography.hazmat.primitives.kdf.pbkdf2 import PBKDF2HMAC
from cryptography.hazmat.primitives.padding import PKCS7

Decoder = Callable[[str], str]

XOR: Final = "xor"
SPRING: Final = "spring"
# What weasis-pacs-connector takes for a key.
XOR_KEY_LENGTHS: Final = range(10, 31)
# Longer than any identifier can be once it is encrypted.
MAXIMUM_LENGTH: Final = 1000

_TERMINATOR: Final = "~"
_ROUNDS: Final = 1024
_BLOCK: Final = 16
_BASE64URL = re.compile(r"[A-Za-z0-9_-]+={0,2}")
_HEXADECIMAL = re.compile(r"([0-9A-Fa-f]{2})+")


class DecryptionError(ValueError):
    """The value was not encrypted with this key."""

    def __init__(self) -> None:
        super().__init__("can't be decrypted with the key of this client.")


def decoder(scheme: str, key: str, salt: str = "") -> Decoder:
    """What decrypts one identifier; it raises ``DecryptionError``.

    Raises ``ValueError`` if key or salt can't be used, saying why.
    """
    if problem := key_problem(scheme, key) or salt_problem(scheme, salt):
        raise ValueError(problem)
    decode = _xor_decoder(key) if scheme == XOR else _spring_decoder(key, salt)

    def decrypt(text: str) -> str:
        if len(text) > MAXIMUM_LENGTH:
            raise DecryptionError
        return decode(text)

    return decrypt


def key_problem(scheme: str, key: str) -> str:
    """Why a key can't be used; empty if it can."""
    if scheme == XOR and len(key) not in XOR_KEY_LENGTHS:
        first, last = XOR_KEY_LENGTHS[0], XOR_KEY_LENGTHS[-1]
        return f"The key of weasis-pacs-connector has {first} to {last} characters."
    return "" if key else "Give the password that the links are encrypted with."


def salt_problem(scheme: str, salt: str) -> str:
    """Why a salt can't be used; empty if it can, or if the scheme has none."""
    if scheme == SPRING and not _HEXADECIMAL.fullmatch(salt):
        return "The salt is hexadecimal: pairs of the digits 0 to 9 and a to f."
    return ""


def _xor_decoder(key: str) -> Decoder:
    """Characters combined with a repeated key by XOR, as Base64 for URLs.

    A message shorter than the key is repeated up to the key's length, with ``~`` where
    the repetition begins. There is no checksum, so that repetition is what tells a
    message of this key from anything else.
    """

    def decode(text: str) -> str:
        if not _BASE64URL.fullmatch(text):
            raise DecryptionError
        unpadded = text.rstrip("=")
        try:
            data = base64.urlsafe_b64decode(unpadded + "=" * (-len(unpadded) % 4))
            scrambled = data.decode()
        except (binascii.Error, UnicodeDecodeError) as error:
            raise DecryptionError from error
        message = _xor(scrambled, key).partition(_TERMINATOR)[0]
        if (
            not message
            or not message.isprintable()
            or _filled(message, key) != (_xor(scrambled, key))
        ):
            raise DecryptionError
        return message

    return decode


def _xor(text: str, key: str) -> str:
    return "".join(
        chr(ord(character) ^ ord(key[index % len(key)]))
        for index, character in enumerate(text)
    )


def _filled(message: str, key: str) -> str:
    """A message as long as the key, or longer."""
    if len(message) >= len(key):
        return message
    repeated = (message * len(key))[: len(key)]
    return message + _TERMINATOR + repeated[len(message) + 1 :]


def _spring_decoder(password: str, salt: str) -> Decoder:
    """Spring Security's ``Encryptors.text``: hexadecimal initial vector and AES-256-CBC.

    The key is derived by PBKDF2 with HMAC-SHA1 from the password and the bytes that the
    salt spells.
    """
    derivation = PBKDF2HMAC(
        algorithm=hashes.SHA1(),  # noqa: S303 - what these links were encrypted with
        length=32,
        salt=bytes.fromhex(salt),
        iterations=_ROUNDS,
    )
    key = derivation.derive(password.encode())

    def decode(text: str) -> str:
        if not _HEXADECIMAL.fullmatch(text):
            raise DecryptionError
        data = bytes.fromhex(text)
        vector, encrypted = data[:_BLOCK], data[_BLOCK:]
        if not encrypted or len(encrypted) % _BLOCK:
            raise DecryptionError
        opened = Cipher(algorithms.AES(key), modes.CBC(vector)).decryptor()
        padded = opened.update(encrypted) + opened.finalize()
        unpadder = PKCS7(8 * _BLOCK).unpadder()
        try:
            message = (unpadder.update(padded) + unpadder.finalize()).decode()
        except ValueError as error:  # wrong padding, or not UTF-8
            raise DecryptionError from error
        if not message or not message.isprintable():
            raise DecryptionError
        return message

    return decode
