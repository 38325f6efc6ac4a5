"""Signatures of links: what is signed, and that nothing else is accepted."""

from __future__ import annotations

import contextlib
import hashlib
import hmac
import random
import re
import time
from pathlib import Path

import pytest

from launcher import signed_links
from launcher.signed_links import LinkError

DOCUMENTATION = Path(__file__).parents[2] / "docs" / "integration.md"
SECRET = "a secret of the client"
NOW = 1_800_000_000
PARAMETERS = [("patientID", "4711^^^HOSP"), ("archive", "main"), ("x", "é & +")]


def link(**values) -> str:
    defaults = {
        "client": "ris",
        "secret": SECRET,
        "expires": NOW + 60,
        "nonce": "abcd1234",
    }
    return signed_links.sign("/weasis", PARAMETERS, **(defaults | values))


def accept(text: str, *, secret=SECRET, now=NOW, lifetime=300):
    path, _, query = text.partition("?")
    found = signed_links.read(path, query)
    signed_links.verify(found, secret=secret, now=now, lifetime=lifetime)
    return found


def test_link_that_was_signed_is_accepted():
    found = accept(link())

    assert (found.client, found.expires) == ("ris", NOW + 60)
    assert found.body_sha256 == ""


def test_signature_is_what_the_documentation_says():
    text = "/weasis?studyUID=1.2.3&client=ris&exp=1800000060&nonce=abcd1234"
    signature = hmac.new(SECRET.encode(), text.encode(), hashlib.sha256).hexdigest()

    assert accept(f"{text}&sig={signature}").signature == signature


LINK = link()


def test_mutated_links_are_refused():
    """Others in each run."""
    generator = random.Random()
    accepted = []
    for _ in range(10_000):
        mutated = LINK
        while mutated == LINK:
            mutated = _mutated(LINK, generator)
        with contextlib.suppress(LinkError):
            accept(mutated)
            accepted.append(mutated)

    assert accepted == []


def _mutated(text: str, generator: random.Random) -> str:
    at = generator.randrange(len(text))
    end = generator.randrange(at, len(text)) + 1
    character = generator.choice("0123456789abcdefABCDEF&=%+?/.,^é \x00")
    parts = text.split("&")
    generator.shuffle(parts)
    return generator.choice(
        [
            text[:at] + character + text[at + 1 :],
            text[:at] + character + text[at:],
            text[:at] + text[end:],
            text[:at] + text[at:end] * 2 + text[end:],
            text[:at] + text[at:end].swapcase() + text[end:],
            text + generator.choice(["&", "&patientID=2", "&sig=", "&exp=9999999999"]),
            "&".join(parts),
            text.replace(
                "/weasis", generator.choice(["/display", "/manifest", "/WEASIS"])
            ),
            text.replace("%5E", "^"),
            text.replace("+", "%20"),
        ]
    )


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"expires": NOW}, "expired"),
        ({"expires": NOW - 1000}, "expired"),
        ({"expires": NOW + 301}, "300 seconds"),
        ({"client": "not a slug"}, "client="),
        ({"nonce": "short"}, "nonce="),
        ({"nonce": "a" * 65}, "nonce="),
        ({"secret": "another"}, "not right"),
    ],
)
def test_link_that_breaks_a_rule_is_refused(values, message):
    with pytest.raises(LinkError, match=message):
        accept(link(**values))


@pytest.mark.parametrize("name", ["client=x", "exp=1800000070", "nonce=other-one"])
def test_parameter_of_the_signature_given_twice_is_refused(name):
    key, _, value = name.partition("=")
    text = signed_links.sign(
        "/weasis",
        [*PARAMETERS, (key, value)],
        client="ris",
        secret=SECRET,
        expires=NOW + 60,
        nonce="abcd1234",
    )

    with pytest.raises(LinkError, match=key):
        accept(text)


def test_client_without_secret_accepts_nothing():
    with pytest.raises(LinkError):
        accept(link(secret=""), secret="")


def test_function_in_the_documentation_signs_links():
    text = DOCUMENTATION.read_text()
    [code] = re.findall(r"```python\n(.*?def signed_link.*?)```", text, re.DOTALL)
    scope = {}
    exec(code, scope)

    made = scope["signed_link"]("/weasis", PARAMETERS, "ris", SECRET)

    assert accept(made, now=int(time.time())).client == "ris"
    assert made != scope["signed_link"]("/weasis", PARAMETERS, "ris", SECRET)


@pytest.mark.parametrize("query", ["sig=", "a=b&sig", "sig=x&a=b", "a=b&sig=zz"])
def test_query_with_a_signature_anywhere_is_a_signed_link(query):
    assert signed_links.is_signed(query)
    with pytest.raises(LinkError):
        signed_links.read("/weasis", query)


@pytest.mark.parametrize("query", ["", "signature=1", "a=sig", "design=1"])
def test_query_without_a_signature_is_none(query):
    assert not signed_links.is_signed(query)
