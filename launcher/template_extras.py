"""What a launch URL may add to a template: only what its administrator allowed."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from launcher import weasis
from launcher.criteria import CriteriaError, ForbiddenError, LaunchExtras, Problem

_ASK: Final = "Ask the hub's administrator to allow it in the launch template"
_DOTS = re.compile(r"/(?:\.|%2e){1,2}(?:/|$|[?#])", re.IGNORECASE)
# What some servers read as a separator or a dot, or decode twice.
_DISGUISED = re.compile(r"[^?#]*(?:;|%(?:2[ef5]|5c))", re.IGNORECASE)


@dataclass(frozen=True, slots=True, kw_only=True)
class Allowed:
    """Names of properties, whole commands, and beginnings of addresses."""

    properties: tuple[str, ...] = ()
    commands: tuple[str, ...] = ()
    addresses: tuple[str, ...] = ()


def check(extras: LaunchExtras, allowed: Allowed) -> LaunchExtras:
    """The extras in the form that a link takes.

    Raises ``ForbiddenError`` naming all that is not allowed, and ``CriteriaError`` for
    what is allowed but malformed.
    """
    normal = LaunchExtras(
        user=extras.user,
        host=extras.host,
        properties=tuple(map(_normal_property, extras.properties)),
        commands=tuple(map(_normal_command, extras.commands)),
        cdb=extras.cdb.rstrip("/"),
        wcfg=extras.wcfg,
    )
    if forbidden := list(_forbidden(normal, allowed)):
        raise ForbiddenError(forbidden)
    if malformed := list(_malformed(normal)):
        raise CriteriaError(malformed)
    return normal


def _normal_property(text: str) -> str:
    return " ".join(text.split(None, 1))


def _normal_command(text: str) -> str:
    """weasis-pacs-connector lets the dollar sign be left out."""
    command = " ".join(text.split())
    return command if command.startswith("$") else f"${command}"


def _forbidden(extras: LaunchExtras, allowed: Allowed) -> Iterator[Problem]:
    for line in extras.properties:
        name = line.partition(" ")[0]
        if name not in allowed.properties:
            message = f"Links may not set the property {name[:64]}. {_ASK} (pro)."
            yield Problem(field="pro", message=message)
    commands = {_normal_command(command) for command in allowed.commands}
    for command in extras.commands:
        if command not in commands:
            # Only its name: the rest may have a Patient ID.
            name = command.partition(" ")[0][:64]
            message = f"Links may not add this {name} command. {_ASK} (arg)."
            yield Problem(field="arg", message=message)
    for field, address in (("cdb", extras.cdb), ("wcfg", extras.wcfg)):
        if address and not any(_is_below(address, base) for base in allowed.addresses):
            message = f"Links may not name this address. {_ASK} ({field})."
            yield Problem(field=field, message=message)


def _is_below(address: str, base: str) -> bool:
    """Whether an address is ``base`` or below it, not only alike: no host may follow."""
    if _DOTS.search(address) or "\\" in address:
        return False
    root = base.rstrip("/")
    if _DISGUISED.match(address.removeprefix(root)):
        return False
    return address == root or address.startswith((f"{root}/", f"{root}?"))


def _malformed(extras: LaunchExtras) -> Iterator[Problem]:
    for line in extras.properties:
        if problem := weasis.property_problem(line):
            yield Problem(field="pro", message=problem)
    for command in extras.commands:
        if problem := weasis.command_problem(command):
            yield Problem(field="arg", message=problem)
    addresses = {
        "cdb": weasis.code_base_problem(extras.cdb),
        "wcfg": weasis.config_value_problem(extras.wcfg),
    }
    for field, problem in addresses.items():
        if problem:
            yield Problem(field=field, message=problem)


def add(extras: LaunchExtras, options: weasis.LaunchOptions) -> weasis.LaunchOptions:
    """Options with what a link adds; of two with one name, Weasis keeps the first."""
    asked = {line.partition(" ")[0] for line in extras.properties}
    kept = [line for line in options.properties if line.partition(" ")[0] not in asked]
    return weasis.LaunchOptions(
        commands=tuple(dict.fromkeys((*options.commands, *extras.commands))),
        properties=(*extras.properties, *kept),
        cdb=extras.cdb or options.cdb,
        wcfg=extras.wcfg or options.wcfg,
    )
