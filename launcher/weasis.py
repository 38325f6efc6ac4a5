"""``weasis://`` URIs, built by a fixed grammar.

Weasis decodes the whole URI once, splits it at every ``$`` into commands, and gives
each to a shell (Apache Felix gogo) that has a syntax of its own. There is no escaping to
rely on at every step, so values that can't be carried safely are refused here.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Final
from urllib.parse import quote, unquote_plus

from archives.entities import PatientIdentifier, Selection

# Windows cuts or refuses launch URLs near 2,083 characters.
MAXIMUM_URI_LENGTH: Final = 1800

_COMMAND = re.compile(r"\$[a-z][a-z0-9]*:[A-Za-z][A-Za-z0-9]*(?: (?P<arguments>.+))?")
_ARGUMENTS = re.compile(
    r'(?:[^"\'$%\\\x00-\x1f\x7f&=?#;|(){}\[\]*<>`~!]|"[^"$%\\\x00-\x1f\x7f]*")+'
)
# Weasis takes the query of wcfg apart and puts it together again, and a percent-encoded
# &, = or + does not survive that; no other value needs a %, either.
_CONFIG_VALUE = re.compile(r"[^\"'$%\\\x00-\x1f\x7f]*")
_PROPERTY = re.compile(r"(?P<name>[A-Za-z][A-Za-z0-9._-]*) +(?P<value>\S.*)")
# Printable ASCII without what is syntax in a link, in gogo or in both.
_ADDRESS = re.compile(r"[!#&(-\[\]-~]+")
_HEADER_NAME = re.compile(r"[A-Za-z0-9_-]+")
_HEADER_VALUE = re.compile(r"[!#&-\[\]-~](?:[ !#&-\[\]-~]*[!#&-\[\]-~])?")
_RS_VALUE = re.compile(r"[A-Za-z0-9._:/-]+")
_RS_PATIENT = re.compile(r"[A-Za-z0-9._^:/-](?:[A-Za-z0-9._^:/ -]*[A-Za-z0-9._^:/-])?")
_REPEATED_PARAMETERS: Final = "dicom.qido.query.multi.params true"
# Universal matching (PS3.4 C.2.2.2.3): all studies there are.
_EVERYTHING: Final = ("studyUID=*",)
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


class TooLongError(NotCarriableError):
    """All of it together: ``over`` is how many characters it is too long."""

    def __init__(self, over: int) -> None:
        super().__init__("The command is too long for Windows.")
        self.over = over


@dataclass(frozen=True, slots=True, kw_only=True)
class LaunchOptions:
    """What goes beside the load command; see ``LaunchTemplate``."""

    commands: tuple[str, ...] = ()
    properties: tuple[str, ...] = ()
    cdb: str = ""
    wcfg: str = ""


@dataclass(frozen=True, slots=True)
class RsArchive:
    """A DICOMweb archive that Weasis searches itself.

    ``query_extension`` is added to each of its queries (``&includedefaults=false``).
    ``repeats_parameters`` is for archives that want one ``includefield`` for each field.
    ``headers`` are names and values that Weasis sends it. One that ``holds_launch_only``
    has nothing but what the launch opens, so that Weasis asks it for everything.
    """

    url: str
    query_extension: str = ""
    repeats_parameters: bool = False
    headers: tuple[tuple[str, str], ...] = ()
    holds_launch_only: bool = False


def open_manifest(manifest_url: str, options: LaunchOptions | None = None) -> str:
    """The URI that makes Weasis fetch a manifest. Raises ``NotCarriableError``."""
    return open_manifests([manifest_url], options)


def open_manifests(
    manifest_urls: Sequence[str], options: LaunchOptions | None = None
) -> str:
    """The URI that makes Weasis fetch manifests, each with a command of its own.

    The images of one are loaded while the next is still awaited; see
    ``primary_first``. Raises ``NotCarriableError``.
    """
    load = [_get_command(url) for url in manifest_urls]
    return _uri(load, options or LaunchOptions())


def _get_command(manifest_url: str) -> str:
    if not _ADDRESS.fullmatch(manifest_url):
        raise NotCarriableError(
            "The manifest's address has characters Weasis can't read."
        )
    return f'$dicom:get -w "{manifest_url}"'


def primary_first(manifest_url: str) -> tuple[str, str]:
    """Addresses of one launch's primary study and of all else, for ``open_manifests``."""
    return f"{manifest_url}/primary", f"{manifest_url}/rest"


def messages_of(manifest_url: str) -> str:
    """The address of what a launch's user has to be told, without any image."""
    return f"{manifest_url}/messages"


def open_dicom_rs(
    archives: Sequence[RsArchive],
    selection: Selection,
    options: LaunchOptions | None = None,
    *,
    messages_url: str = "",
) -> str:
    """The URI that makes Weasis search DICOMweb archives itself.

    Weasis sends ``-r`` values as they are, so only plain ones can be carried; it has no
    way to name a series together with its study, and reads the names of its date filters
    the wrong way round. What goes wrong it only logs: ``messages_url`` is a manifest that
    says so. Raises ``NotCarriableError``: a manifest carries everything.
    """
    if not archives:
        raise NotCarriableError("There is no archive to be asked.")
    load = [_rs_command(archive, selection) for archive in archives]
    if messages_url:
        load.append(_get_command(messages_url))
    chosen = options or LaunchOptions()
    repeats = any(archive.repeats_parameters for archive in archives)
    if repeats:
        properties = (_REPEATED_PARAMETERS, *chosen.properties)
        chosen = replace(chosen, properties=properties)
    return _uri(load, chosen, configures_first=repeats)


def _rs_command(archive: RsArchive, selection: Selection) -> str:
    url, extension = archive.url.rstrip("/"), archive.query_extension
    if not _ADDRESS.fullmatch(url):
        raise NotCarriableError("The archive's address can't be put in a command.")
    if extension and not _ADDRESS.fullmatch(extension):
        raise NotCarriableError("The archive's query can't be put in a command.")
    requests = _EVERYTHING if archive.holds_launch_only else _rs_requests(selection)
    parts = [f'$dicom:rs --url "{url}"', *(f'-r "{each}"' for each in requests)]
    if extension:
        parts.append(f'--query-ext "{extension}"')
    headers = [_header(name, value) for name, value in archive.headers]
    return " ".join([*parts, *headers])


def _header(name: str, value: str) -> str:
    if not _HEADER_NAME.fullmatch(name) or not _HEADER_VALUE.fullmatch(value):
        raise NotCarriableError(f"The header {name!r} can't be put in a command.")
    return f'-H "{name}: {value}"'


def _rs_requests(selection: Selection) -> list[str]:
    """Values of ``-r``: Weasis encodes a Patient ID, and nothing else."""
    if selection.study_filter:
        raise NotCarriableError("Weasis can't apply these filters: the hub has to.")
    requests = [f"patientID={_rs_patient(patient)}" for patient in selection.patients]
    pairs = [
        *(("studyUID", uid) for uid in selection.study_instance_uids),
        *(("accessionNumber", number) for number in selection.accession_numbers),
        *(("seriesUID", series.series_instance_uid) for series in selection.series),
        *(("objectUID", item.sop_instance_uid) for item in selection.instances),
    ]
    for name, value in pairs:
        if not _RS_VALUE.fullmatch(value):
            raise NotCarriableError(f"A {name} has characters a command can't carry.")
        requests.append(f"{name}={value}")
    if not requests:
        raise NotCarriableError("There is nothing to ask.")
    return requests


def _rs_patient(patient: PatientIdentifier) -> str:
    patient_id, issuer = patient.patient_id, patient.issuer_of_patient_id
    if not _RS_PATIENT.fullmatch(patient_id) or "^^^" in patient_id:
        raise NotCarriableError("A patientID has characters a command can't carry.")
    if not issuer:
        if patient.universal_entity_id:
            raise NotCarriableError("Weasis can't ask for an issuer by its identifier.")
        return patient_id
    if not _RS_VALUE.fullmatch(issuer):
        raise NotCarriableError("An issuer has characters that break Weasis's query.")
    return f"{patient_id}^^^{issuer}"


def _uri(
    load: Sequence[str], options: LaunchOptions, *, configures_first: bool = False
) -> str:
    """Commands before the load, the load, and the configuration; percent-encoded.

    Weasis uses the configuration before any command, wherever it stands. Raises
    ``NotCarriableError``, and ``TooLongError`` beyond ``MAXIMUM_URI_LENGTH``.
    """
    _check(options)
    values = [
        *((("cdb", options.cdb),) if options.cdb else ()),
        *((("wcfg", options.wcfg),) if options.wcfg else ()),
        *(("pro", _normal_property(line)) for line in options.properties),
    ]
    # Weasis ends an argument only at a closing quote: every value is quoted.
    config = " ".join(f'{name}="{value}"' for name, value in values)
    tail = [f"$weasis:config {config}"] if config else []
    commands = [*options.commands, *load]
    commands = [*tail, *commands] if configures_first else [*commands, *tail]
    uri = "weasis://?" + quote(" ".join(commands), safe="")
    if len(uri) > MAXIMUM_URI_LENGTH:
        raise TooLongError(len(uri) - MAXIMUM_URI_LENGTH)
    return uri


def _check(options: LaunchOptions) -> None:
    """Raises ``NotCarriableError`` for the first option that can't be carried."""
    problems = (
        *map(command_problem, options.commands),
        *map(property_problem, options.properties),
        *map(config_value_problem, (options.cdb, options.wcfg)),
    )
    for problem in filter(None, problems):
        raise NotCarriableError(problem[0].upper() + problem[1:])


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
        return "quotes, $, % and backslash can't be sent to Weasis."
    return ""


def code_base_problem(address: str) -> str:
    """Why ``cdb`` can't be an address; empty if it can. Weasis adds paths to it."""
    if set("?#") & set(address):
        return "Weasis adds paths to the code base: leave out what begins with ? or #."
    return config_value_problem(address)


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
