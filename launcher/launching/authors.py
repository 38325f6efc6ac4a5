"""The external systems whose links are followed, and how their links are to be read.

Whose link it is gives no rights. It says what dates mean, and how identifiers are
encrypted while an installation moves from another hub.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from django.core.validators import slug_re

from launcher import legacy_encryption
from launcher.criteria import IDENTIFIERS, CriteriaError, Problem
from launcher.launching.callers import Caller
from launcher.launching.refusals import RefusedError
from launcher.legacy_encryption import DecryptionError
from launcher.models import ApiClient

Parameters = Sequence[tuple[str, str]]

NAME = "client"


def author_of(caller: Caller, parameters: Parameters) -> ApiClient | None:
    """Who made a link: the client that calls, the one it names, or the only one whose
    links are encrypted.

    A ``client`` that is not known here is a label, as in ViewerHub. Raises
    ``CriteriaError`` where several systems encrypt and the link names none.
    """
    if caller.api_client:
        return caller.api_client
    named = {value for name, value in parameters if name == NAME}
    if slugs := [value for value in named if slug_re.fullmatch(value)]:
        active = ApiClient.objects.active()
        if client := active.filter(slug__in=slugs[:10]).first():
            return client
    encrypting = ApiClient.objects.exclude(encryption=ApiClient.Encryption.NONE)
    if not encrypting.exists():  # as mostly; it takes less than to read those there are
        return None
    found = list(encrypting.active()[:2])
    if len(found) > 1:
        message = (
            "Links of several systems are encrypted here. Say whose this one is: the "
            "short name of its API client."
        )
        raise CriteriaError([Problem(field=NAME, message=message)])
    return found[0] if found else None


def decrypted(parameters: Parameters, author: ApiClient | None) -> Parameters:
    """Parameters with plain identifiers, one by one; raises ``CriteriaError``.

    Every identifier of an author whose links are encrypted has to be.
    """
    if author is None or author.encryption == ApiClient.Encryption.NONE:
        return parameters
    decode = _decoder(author)
    problems: list[Problem] = []
    plain: list[tuple[str, str]] = []
    for name, value in parameters:
        if name not in IDENTIFIERS:
            plain.append((name, value))
            continue
        for part in _parts(value):
            try:
                plain.append((name, decode(part)))
            except DecryptionError as error:
                message = (
                    f"{error} Links are read as those of “{author.name}”; if this is "
                    f"another's, it has to name it by {NAME}=…"
                )
                problems.append(Problem(field=name, message=message))
    if problems:
        raise CriteriaError(dict.fromkeys(problems))
    return plain


def _parts(value: str) -> Iterable[str]:
    return filter(None, map(str.strip, value.split(",")))


def _decoder(author: ApiClient) -> legacy_encryption.Decoder:
    try:
        return legacy_encryption.decoder(
            author.encryption, author.encryption_key, author.encryption_salt
        )
    except ValueError as error:
        message = (
            f"The key for the encrypted links of “{author.name}” can't be used. Tell "
            "the hub's administrator."
        )
        raise RefusedError(503, [Problem(field=NAME, message=message)]) from error
