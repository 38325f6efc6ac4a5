"""How Weasis takes a ``weasis://`` URI apart: commands, arguments, configuration.

Written from the behaviour of the viewer, without code of the product under test.
What Weasis would refuse, or understand differently than it looks, raises
``WeasisError`` here.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from urllib.parse import unquote_plus

CONFIG_NAMES = frozenset({"cdb", "wcfg", "pro", "arg", "auth"})
PROTECTED_PROPERTIES = frozenset(
    {"weasis.source.id", "weasis.path", "weasis.codebase.local", "weasis.config.hash"}
)
PROTECTED_PREFIXES = ("java.", "javax.", "jdk.", "sun.", "os.", "user.")
FORBIDDEN_IN_USER = re.compile(r'[\\/:*?"<>|\x00-\x1f]|^\.+$')
# Characters that gogo takes as syntax outside quotes.
GOGO_SYNTAX = frozenset("&=?#;|()[]{}*<>~`\"'%$\\")
PLAIN = re.compile(r"[A-Za-z0-9:./_-]+")
OPTIONS: dict[str, dict[str, str]] = {
    "dicom:get": {"l": "local", "p": "portable", "r": "remote", "w": "wado"}
    | {"z": "zip", "i": "iwado"},
    "dicom:close": {"a": "all", "p": "patient", "y": "study", "s": "series"},
    "dicom:rs": {"u": "url", "r": "request", "H": "header"},
    "image:get": {"u": "url", "f": "file"},
    "weasis:ui": {"v": "visible"},
}
LONG_ONLY = {
    "dicom:rs": {"query-header", "retrieve-header", "query-ext", "retrieve-ext"}
    | {"accept-ext", "auth-uid", "show-whole-study"},
}
FLAGS = frozenset({"all", "portable", "visible", "show-whole-study"})


class WeasisError(Exception):
    """Weasis would not start, or not run this command."""


@dataclass(frozen=True, slots=True)
class Command:
    """A gogo command: its name and the values given to each long option."""

    name: str
    options: dict[str, list[str]]

    def values(self, option: str) -> list[str]:
        return self.options.get(option, [])


@dataclass(slots=True)
class Launch:
    """What a URI makes a newly started Weasis do."""

    commands: list[Command]
    configuration: dict[str, list[str]] = field(default_factory=dict)
    properties: dict[str, str] = field(default_factory=dict)
    rejected_properties: list[str] = field(default_factory=list)


def parse_uri(
    uri: str, *, version: tuple[int, ...] = (4, 7, 2), windows: bool = False
) -> Launch:
    """Decode once, split on ``$``, take the first configuration, parse the rest."""
    if not re.match(r"^weasis(-.*)?://.*?", uri):
        raise WeasisError("not a weasis:// address")
    if re.search(r"%(?![0-9A-Fa-f]{2})", uri):
        raise WeasisError("the address has a % that is no escape")
    decoded = unquote_plus(uri, errors="replace")
    if windows:
        decoded = decoded.removesuffix("/")
    texts = decoded.split("$")[1:]
    launch = Launch([])
    configurations = [text for text in texts if text.startswith("weasis:config")]
    if configurations:
        texts.remove(configurations[0])
        _configure(launch, configurations[0].removeprefix("weasis:config"), version)
    texts += launch.configuration.get("arg", [])
    launch.commands = [parse_command(text) for text in texts if text.strip()]
    return launch


def _configure(launch: Launch, text: str, version: tuple[int, ...]) -> None:
    for argument in split_configuration(text):
        name, equals, value = argument.partition("=")
        if name not in CONFIG_NAMES or not equals:
            raise WeasisError(f"unexpected value {name!r} in weasis:config")
        value = re.sub(r'^"|"$', "", value)
        launch.configuration.setdefault(name, []).append(value)
    for value in launch.configuration.get("pro", []):
        key, _, content = value.partition(" ")
        if version >= (4, 7, 2) and _is_protected(key, content.strip()):
            launch.rejected_properties.append(key)
        else:
            launch.properties.setdefault(key, content.strip())


def _is_protected(key: str, value: str) -> bool:
    if key in {"weasis.user", "weasis.profile"}:
        return bool(FORBIDDEN_IN_USER.search(value))
    return key in PROTECTED_PROPERTIES or key.startswith(PROTECTED_PREFIXES)


def split_configuration(text: str) -> list[str]:
    """Arguments end only at a closing quote: plain spaces do not separate them.

    A backslash disappears, because the text is used as a replacement in a pattern.
    """
    arguments, start = [], 0
    for match in re.finditer(r"'[^']*'|\"[^\"]*\"", text):
        quoted = re.sub(r"\\(.)", r"\1", match[0])
        arguments.append(text[start : match.start()] + quoted)
        start = match.end()
    arguments.append(text[start:])
    return [argument.strip() for argument in arguments if argument.strip()]


def parse_command(text: str) -> Command:
    """A command line of gogo, as far as launches use it."""
    words = list(split_words(text))
    name, rest = words[0], words[1:]
    if name in OPTIONS:
        return Command(name, _options(name, rest))
    if name.startswith("dicom:") or not re.fullmatch(r"\w+:\w+", name):
        raise WeasisError(f"unknown command {name!r}")
    return Command(name, {"": rest})  # of a viewer plug-in


def _options(name: str, words: list[str]) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    remaining = iter(words)
    for word in remaining:
        option, equals, value = word.removeprefix("--").partition("=")
        if not word.startswith("--"):
            option, equals = word.removeprefix("-"), ""
            if not word.startswith("-") or len(option) != 1:
                raise WeasisError(f"{name} has a stray argument {word!r}")
        option = _long_name(name, option)
        if option in FLAGS:
            value = ""
        elif not equals:
            value = next(remaining, "")
            if not value:
                raise WeasisError(f"{name} --{option} has no value")
        found.setdefault(option, []).append(value)
    return found


def _long_name(command: str, option: str) -> str:
    known = OPTIONS[command]
    if option in known:
        return known[option]
    names = {*known.values(), *LONG_ONLY.get(command, ())}
    candidates = {option} & names or {one for one in names if one.startswith(option)}
    if len(candidates) != 1:
        raise WeasisError(f"{command} has no option {option!r}")
    return candidates.pop()


def split_words(text: str) -> Iterator[str]:
    """Words as gogo's tokenizer and expander make them (quotes, ``\\`` and ``%``)."""
    if "\n" in text or "\r" in text:
        raise WeasisError("a command ends at the end of its line")
    word: str | None = None
    position = 0
    while position < len(text):
        character = text[position]
        if character.isspace():
            if word is not None:
                yield word
            word, position = None, position + 1
            continue
        if plain := PLAIN.match(text, position):
            word, position = (word or "") + plain[0], plain.end()
            continue
        part, position = _part(text, position, is_assignment=_long_option(word))
        word = (word or "") + part
    if word is not None:
        yield word


def _long_option(word: str | None) -> bool:
    """``--option=`` is one word; elsewhere a bare = is an assignment."""
    return bool(word and re.fullmatch(r"--[a-z-]+", word))


def _part(text: str, position: int, *, is_assignment: bool) -> tuple[str, int]:
    """One character outside quotes, or a whole quoted part, and where it ends."""
    character = text[position]
    if character == "'":
        end = text.find("'", position + 1)
        if end < 0:
            raise WeasisError("a single quote is not closed")
        return text[position + 1 : end], end + 1
    if character == '"':
        return _double_quoted(text, position + 1)
    if character == "\\" and position + 1 < len(text):
        return text[position + 1], position + 2
    if character == "=" and is_assignment:
        return character, position + 1
    if character in GOGO_SYNTAX:
        raise WeasisError(f"{character!r} outside quotes is syntax")
    return character, position + 1


def _double_quoted(text: str, position: int) -> tuple[str, int]:
    content = ""
    while position < len(text):
        character = text[position]
        if character == '"':
            return content, position + 1
        if character == "%":
            raise WeasisError("bad expression: % inside double quotes")
        if character == "\\" and position + 1 < len(text):
            position += 1
            character = text[position]
        content += character
        position += 1
    raise WeasisError("a double quote is not closed")
