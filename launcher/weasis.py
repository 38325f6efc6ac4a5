"""``weasis://`` URIs, built by a fixed grammar.

Weasis decodes the whole URI once, splits it at every ``$`` into commands, and gives
each to a shell (Apache Felix gogo) that has a syntax of its own. There is no escaping to
rely on at every step, so values that can't be carried safely are refused here.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final
from urllib.parse import quote, unquote_plus

from archives.entities import Selection

# Windows cuts or refuses launch URLs near 2,083 characters.
MAXIMUM_URI_LENGTH: Final = 1800

_COMMAND = re.compile(r"\$[a-z][a-z0-9]*:[A-Za-z][A-Za-z0-9]*(?: (?P<arguments>.+))?")
_ARGUMENTS = re.compile(
    r'(?:[^"\'$%\\\x00-\x1f\x7f&=?#;|(){}\[\]*<>`~!]|"[^"$%\\\x00-\x1f\x7f]*")+'
)
_CONFIG_VALUE = re.compile(r"[^\"'$\\\x00-\x1f\x7f]*")
_PROPERTY = re.compile(r"(?P<name>[A-Za-z][A-Za-z0-9._-]*) +(?P<value>\S.*)")
_RS_VALUE = re.compile(r"[A-Za-z0-9._^:/ -]+")
_NUMBERS = r"([0-9]{1,4})\.([0-9]{1,4})\.([0-9]{1,4})(?![0-9])"
_VERSION = re.compile(rf"weasis(?:-[a-z]+)?/{_NUMBERS}", re.IGNORECASE)
_RUNNING_VERSION = re.compile(rf"rv:{_NUMBERS}")

# Refused by Weasis since 4.7.2, and dangerous before.
_PROTECTED_PREFIXES = ("java.", "javax.", "jdk.", "sun.", "os.", "user.")
_PROTECTED_NAMES = {
    "weasis.source.id",
    "weasis.path",
    "weasis.codebase.local",
    "weasis.config.hash",
}


class NotCarriableError(ValueError):
    """A value that a ``weasis://`` URI can't hold."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LaunchOptions:
    """What goes beside the load command; see ``LaunchTemplate``."""

    commands: tuple[str, ...] = ()
    properties: tuple[str, ...] = ()
    cdb: str = ""
    wcfg: str = ""


def open_manifest(manifest_url: str, options: LaunchOptions | None = None) -> str:
    """The URI that makes Weasis fetch a manifest. Raises ``NotCarriableError``."""
    if set(manifest_url) & set("\"'$%\\ "):
        raise NotCarriableError(
            "The manifest's address has characters Weasis can't read."
        )
    return _uri([f'$dicom:get -w "{manifest_url}"'], options or LaunchOptions())


def open_dicom_rs(
    base_urls: Sequence[str], selection: Selection, options: LaunchOptions | None = None
) -> str:
    """The URI that makes Weasis search DICOMweb archives itself.

    Weasis sends ``-r`` values as they are, so only plain ones can be carried; it also
    has no way to name a series together with its study. Raises ``NotCarriableError``.
    """
    requests = " ".join(f'-r "{request}"' for request in _rs_requests(selection))
    for url in base_urls:
        if set(url) & set("\"'$%\\ "):
            raise NotCarriableError("The archive's address can't be put in a command.")
    commands = [f'$dicom:rs --url "{url}" {requests}' for url in base_urls]
    uri = _uri(commands, options or LaunchOptions())
    if len(uri) > MAXIMUM_URI_LENGTH:
        raise NotCarriableError("The command is too long for Windows.")
    return uri


def _rs_requests(selection: Selection) -> Iterable[str]:
    pairs: list[tuple[str, str]] = []
    for patient in selection.patients:
        issuer = patient.issuer_of_patient_id
        if " " in issuer:
            raise NotCarriableError("An issuer with a space breaks Weasis's query.")
        suffix = f"^^^{issuer}" if issuer else ""
        pairs.append(("patientID", patient.patient_id + suffix))
    pairs += [("studyUID", uid) for uid in selection.study_instance_uids]
    pairs += [("accessionNumber", number) for number in selection.accession_numbers]
    pairs += [("seriesUID", series.series_instance_uid) for series in selection.series]
    pairs += [("objectUID", item.sop_instance_uid) for item in selection.instances]
    for name, value in pairs:
        if not _RS_VALUE.fullmatch(value) or (name != "patientID" and " " in value):
            raise NotCarriableError(f"A {name} has characters a command can't carry.")
        yield f"{name}={value}"


def _uri(load: Sequence[str], options: LaunchOptions) -> str:
    """Commands before the load, the load, then the configuration; percent-encoded."""
    values = [
        *((("cdb", options.cdb),) if options.cdb else ()),
        *((("wcfg", options.wcfg),) if options.wcfg else ()),
        *(("pro", _normal_property(line)) for line in options.properties),
    ]
    # Weasis ends an argument only at a closing quote: every value is quoted.
    config = " ".join(f'{name}="{value}"' for name, value in values)
    tail = [f"$weasis:config {config}"] if config else []
    return "weasis://?" + quote(" ".join([*options.commands, *load, *tail]), safe="")


def _normal_property(line: str) -> str:
    return " ".join(line.split(None, 1))


def command_problem(line: str) -> str:
    """Why a command of a template can't be carried; empty if it can."""
    match = _COMMAND.fullmatch(line)
    if not match:
        return "a command begins with $, such as $dicom:close --all"
    if line.startswith("$weasis:config"):
        return (
            "put settings in the properties, the code base or the remote configuration."
        )
    if match["arguments"] and not _ARGUMENTS.fullmatch(match["arguments"]):
        return (
            "put values with special characters in double quotes; $, %, backslash and "
            "single quotes can't be sent to Weasis."
        )
    return ""


def property_problem(line: str) -> str:
    """Why a property of a template can't be carried; empty if it can."""
    match = _PROPERTY.fullmatch(line)
    if not match:
        return "write the property's name, a space and its value."
    name, value = match["name"], match["value"]
    if name in _PROTECTED_NAMES or name.startswith(_PROTECTED_PREFIXES):
        return f"Weasis doesn't let a link set {name}."
    if name in {"weasis.user", "weasis.profile"} and (
        set(value) & set('\\/:*?"<>|') or not value.strip(".")
    ):
        return f'{name} may not contain any of \\ / : * ? " < > | nor be only dots.'
    return config_value_problem(value)


def config_value_problem(value: str) -> str:
    """Why a value of ``$weasis:config`` can't be carried; empty if it can."""
    if not _CONFIG_VALUE.fullmatch(value):
        return "quotes, $ and backslash can't be sent to Weasis."
    return ""


def example_manifest_url(hub_url: str = "https://viewerhub.example.org") -> str:
    """An address as long as real ones, for previews and length checks."""
    return f"{hub_url}/m/{'0' * 43}"


def decode(uri: str) -> tuple[str, ...]:
    """The commands as Weasis will read them, each with its ``$``."""
    return tuple(f"${command.strip()}" for command in unquote_plus(uri).split("$")[1:])


def version_of(user_agent: str) -> tuple[int, int, int] | None:
    """The version in ``Weasis/4.7.2 (...; rv:4.7.2) Java/...``; ``None`` for others.

    The installed native package sends its own version first; a running plug-in set of
    another version names itself in ``rv:``, and is what reads the manifest.
    """
    running = _RUNNING_VERSION.search(user_agent)
    match = _VERSION.match(user_agent)
    if not match:
        return None
    major, minor, patch = (running or match).groups()
    return int(major), int(minor), int(patch)
