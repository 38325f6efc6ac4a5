"""The two schemes, against encoders written as the peers' are."""

from __future__ import annotations

import base64
import contextlib
import hashlib
import os

import pytest
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from hypothesis import assume, example, given
from hypothesis import strategies as st

from launcher.legacy_encryption import (
    DecryptionError,
    decoder,
    key_problem,
    salt_problem,
)

KEY = "paraphrasefortest"
SALT = "5c0744940b5c369b"
IDENTIFIERS = st.text(
    st.characters(min_codepoint=33, max_codepoint=126, exclude_characters="~"),
    min_size=1,
    max_size=64,
)


def xor_encrypted(message: str, key: str = KEY) -> str:
    """Character by character, as the connector's loop does it."""
    length = max(len(message), len(key))
    characters = [
        ord(message[i % len(message)]) ^ ord(key[i % len(key)]) for i in range(length)
    ]
    if len(message) < len(key):
        characters[len(message)] = ord("~") ^ ord(key[len(message)])
    text = "".join(map(chr, characters))
    return base64.urlsafe_b64encode(text.encode()).decode()


def spring_encrypted(message: str, password: str = KEY, salt: str = SALT) -> str:
    key = hashlib.pbkdf2_hmac(
        "sha1", password.encode(), bytes.fromhex(salt), 1024, dklen=32
    )
    vector = os.urandom(16)
    data = message.encode()
    missing = 16 - len(data) % 16
    encryptor = Cipher(algorithms.AES(key), modes.CBC(vector)).encryptor()
    sealed = encryptor.update(data + bytes([missing]) * missing) + encryptor.finalize()
    return (vector + sealed).hex()


@given(IDENTIFIERS)
@example("3")
@example("1.2.840.113619.2.1.1.322987881.621.736170080.681")
def test_xor_gives_back_what_was_encrypted(message):
    assert decoder("xor", KEY)(xor_encrypted(message)) == message
    assert decoder("xor", KEY)(xor_encrypted(message).rstrip("=")) == message


@given(IDENTIFIERS | st.text(min_size=1, max_size=40).filter(str.isprintable))
def test_spring_gives_back_what_was_encrypted(message):
    assert SPRING(spring_encrypted(message)) == message


SPRING = decoder("spring", KEY, SALT)


def test_spring_reads_what_openssl_wrote():
    """Key by ``openssl kdf`` (PBKDF2), value by ``openssl enc -aes-256-cbc``."""
    sealed = "000102030405060708090a0b0c0d0e0f" + "f51ddd6cf9539acc5e6ffa6f26124994"

    assert SPRING(sealed) == SPRING(sealed.upper()) == "1.2.840.10008"


def test_xor_reads_a_value_worked_out_by_hand():
    # 42~2424242 and 0123456789, byte by byte: 04 03 4c 01 00 07 02 05 0c 0b
    assert decoder("xor", "0123456789")("BANMAQAHAgUMCw==") == "42"


@given(IDENTIFIERS)
@example("1CT1")
@example("12345678")
@example("1.2.3")
@example("deadbeef")
@example("ab" * 16)
def test_plain_identifier_is_refused(plain):
    for decode in (decoder("xor", KEY), SPRING):
        with pytest.raises(DecryptionError):
            decode(plain)


@given(IDENTIFIERS, st.text("abcdefghijklmnop0123456789", min_size=10, max_size=30))
def test_short_message_of_another_xor_key_is_refused(message, other):
    assume(len(message) + 4 < min(len(other), len(KEY)) and other[:17] != KEY)
    assume(other[len(message) : len(KEY)] != KEY[len(message) : len(other)])

    try:
        found = decoder("xor", KEY)(xor_encrypted(message, other))
    except DecryptionError:
        return
    assert found != message


def test_spring_of_another_key_or_salt_is_refused():
    for number in range(40):
        sealed = spring_encrypted("4711", salt=f"{number:016x}")
        with contextlib.suppress(DecryptionError):
            assert SPRING(sealed) != "4711"


@pytest.mark.parametrize(
    "text", ["", "!", "zz", "a", "=" * 8, "A" * 2000, "\u00e9\u00e9"]
)
def test_text_of_no_scheme_is_refused(text):
    for decode in (decoder("xor", KEY), SPRING):
        with pytest.raises(DecryptionError):
            decode(text)


def test_identifier_with_a_tilde_is_refused_rather_than_cut():
    with pytest.raises(DecryptionError):
        decoder("xor", KEY)(xor_encrypted("AB~CD"))


def test_message_with_control_characters_is_refused():
    for text in (xor_encrypted("4711\n"), xor_encrypted("\x0047")):
        with pytest.raises(DecryptionError):
            decoder("xor", KEY)(text)
    with pytest.raises(DecryptionError):
        SPRING(spring_encrypted("47\x1b11"))


def test_keys_that_can_not_be_used_are_named():
    assert "10 to 30" in key_problem("xor", "short")
    assert key_problem("spring", "")
    assert "hexadecimal" in salt_problem("spring", "salt")
    assert key_problem("xor", KEY) == salt_problem("xor", "") == ""
    with pytest.raises(ValueError, match="hexadecimal"):
        decoder("spring", KEY, "salt")
