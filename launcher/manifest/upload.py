"""Manifests that other systems made and sent to the hub, checked before it hands them on."""

from __future__ import annotations

import codecs
import re
from pathlib import Path
from typing import Any, Final

from lxml import etree

MAXIMUM_UPLOAD: Final = 10 * 2**20
GRAMMAR: Final = Path(__file__).with_name("manifest.xsd")

_BYTE_ORDER_MARKS: Final = {
    codecs.BOM_UTF8: "utf-8-sig",
    codecs.BOM_UTF16_LE: "utf-16",
    codecs.BOM_UTF16_BE: "utf-16",
}
_ENCODINGS: Final = {"utf-8", "ascii", "iso8859-1", "iso8859-15", "cp1252"}
_NAMESPACES = re.compile(
    r"|http://www\.weasis\.org/xsd/.*|http://www\.w3\.org/2001/XMLSchema-instance"
)
_DECLARATION = re.compile(r"\A\s*<\?xml\s[^?>]*\?>")
_ENCODING = re.compile(rb"""\A\s*<\?xml[^>]{0,200}?encoding\s*=\s*["']([\w.-]+)""")
_NAME = re.compile(r"[A-Za-z0-9._:-]{1,40}")
_MESSAGE = re.compile(r"Element '(?P<element>[^']*)'(?:, attribute '(?P<name>[^']*)')?")


class ManifestError(ValueError):
    """A manifest that can't be handed on: ``line`` counts from 1, ``reason`` is a sentence.

    The reason holds names of elements and attributes, but no values.
    """

    def __init__(self, line: int, reason: str) -> None:
        super().__init__(f"Line {line}: {reason}")
        self.line = line
        self.reason = reason


def check_upload(body: bytes, charset: str = "") -> str:
    """The text of a manifest as it was sent, but without its XML declaration.

    ``charset`` is the encoding of a text that does not say itself what it is in. Nothing outside ``body`` is read, and no entity but the five of XML is known. Raises
    ``ManifestError`` for the first thing that is wrong.
    """
    if len(body) > MAXIMUM_UPLOAD:
        raise ManifestError(1, "The manifest is larger than 10 MB.")
    text = _decode(body, charset)
    declares = text.find("<!DOCTYPE")
    if declares >= 0:
        line = text.count("\n", 0, declares) + 1
        raise ManifestError(line, "A manifest may not have a document type (DOCTYPE).")
    declaration = _DECLARATION.match(text)
    content = text[declaration.end() :] if declaration else text
    # Its line breaks count, but for the parser the encoding is another one now.
    lines = declaration[0].count("\n") if declaration else 0
    # Behind a space, neither another declaration nor a mark is taken for a beginning.
    root = _parse(" " + "\n" * lines + content)
    _refuse_active(root)
    _validate(root)
    return content.strip()


def _decode(body: bytes, charset: str) -> str:
    """Text in the encoding its mark or declaration names, or else its sender, or UTF-8."""
    marked = [name for mark, name in _BYTE_ORDER_MARKS.items() if body.startswith(mark)]
    declared = _ENCODING.match(body)
    encoding = declared[1].decode() if declared else charset or "utf-8"
    try:
        if not marked and not _is_known(encoding):
            raise LookupError
        return body.decode(marked[0] if marked else encoding)
    except LookupError:
        raise ManifestError(1, "Send the manifest in UTF-8.") from None
    except UnicodeDecodeError as error:
        line = body.count(b"\n", 0, error.start) + 1
        reason = "The text is not in the encoding it says. Send it in UTF-8."
        raise ManifestError(line, reason) from None


def _is_known(encoding: str) -> bool:
    is_name = _NAME.fullmatch(encoding)
    return bool(is_name) and codecs.lookup(encoding).name in _ENCODINGS


def _parse(text: str) -> etree._Element:
    parser = etree.XMLParser(
        encoding="utf-8", resolve_entities=False, no_network=True, load_dtd=False
    )
    try:
        return etree.fromstring(text.encode(), parser)
    except etree.XMLSyntaxError as error:
        raise ManifestError(error.lineno or 1, _syntax(error)) from None


def _syntax(error: etree.XMLSyntaxError) -> str:
    """The parser's reason without its position; it names elements, never values."""
    reason = str(error.msg or "").partition(", line ")[0]
    return f"This is not well-formed XML: {reason or 'there is no element'}."


def _refuse_active(root: etree._Element) -> None:
    """Refuse what a browser would follow or run, were it shown the manifest as a page."""
    found: Any = root.getroottree().xpath("//processing-instruction()")
    if found:
        reason = "A manifest may not have processing instructions."
        raise ManifestError(found[0].sourceline, reason)
    elements: Any = root.iter(etree.Element)  # its stubs know no lines
    for element in elements:
        for name in (element.tag, *element.attrib):
            if not _NAMESPACES.fullmatch(etree.QName(name).namespace or ""):
                reason = "A manifest may have no namespaces but those of Weasis."
                raise ManifestError(element.sourceline, reason)


def _validate(root: etree._Element) -> None:
    """Check names and places of elements as Weasis does: whatever their namespace."""
    for element in root.iter(etree.Element):
        element.tag = etree.QName(element).localname
        for name in [name for name in map(str, element.attrib) if name[0] == "{"]:
            del element.attrib[name]
    grammar = etree.XMLSchema(etree.parse(GRAMMAR))  # threads can't share its errors
    if not grammar.validate(root):
        found: Any = grammar.error_log  # its stubs know no items
        first = found[0]
        raise ManifestError(max(first.line, 1), _reason(first.message))


def _reason(message: str) -> str:
    """The validator's message; one about a value tells where it stands instead."""
    found = _MESSAGE.match(message)
    if found and found["name"]:
        return f"{found['name']} of {found['element']} has a value Weasis can't read."
    return message.strip()
