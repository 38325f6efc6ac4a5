"""Text as it comes from other programs -> what the user meant by it.

Pasted text brings line ends, quotation marks, blanks and hyphens of word processors, and
characters that nobody sees. Archives compare letter for letter, so that one of them is
enough to find nothing.
"""

from __future__ import annotations

import unicodedata
from typing import Final

# Of quotation marks, those that begin a text with those that end it; one of those has
# become an apostrophe by then.
_QUOTES: Final = {
    '"': '"',
    "'": "'",
    "`": "`'",
    "\u2018": "'",
    "\u201a": "\u2018'",
    "\u201c": "\u201d",
    "\u201e": "\u201c\u201d",
    "\u2039": "\u203a",
    "\u203a": "\u2039",
    "\u00ab": "\u00bb",
    "\u00bb": "\u00ab",
}
_APOSTROPHES: Final = "\u2019\u02bc"
_HYPHENS: Final = "\u2010\u2011\u2012\u2013\u2014\u2212"
# Nothing that is searched for is so long; a longer text is for its field to refuse.
_MAXIMUM: Final = 1000
_BREAKS: Final = "\t\n\v\f\r\x85"
# Full-width forms of ASCII are this far from it.
_WIDE: Final = range(0xFF01, 0xFF5F)
_OFFSET: Final = 0xFF01 - ord("!")


def clean(text: str) -> str:
    """The text without what does not show, in characters that archives hold.

    Blanks of any kind become spaces, digits of any script ASCII ones; quotation marks
    around it go, and commas at its end. Control characters stay: they are no accident.
    Very long texts stay as they are.
    """
    if len(text) > _MAXIMUM:
        return text
    text = "".join(map(_plain, text.replace("\r\n", "\n"))).strip()
    while True:
        shorter = _unquoted(text.rstrip(",;").rstrip())
        if shorter == text:
            return text
        text = shorter


def _plain(one: str) -> str:
    category = unicodedata.category(one)
    if category == "Cf":  # zero width, direction, soft hyphen, byte order
        return ""
    if one in _BREAKS or category in {"Zs", "Zl", "Zp"}:
        return " "
    if ord(one) in _WIDE:
        return chr(ord(one) - _OFFSET)
    if category == "Nd":
        return str(unicodedata.decimal(one))
    if one in _APOSTROPHES:
        return "'"
    return "-" if one in _HYPHENS else one


def _unquoted(text: str) -> str:
    if len(text) > 1 and text[-1] in _QUOTES.get(text[0], ""):
        return text[1:-1].strip()
    return text
