"""Launch parameters that somebody sends in error, or to break in."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from itertools import product
from urllib.parse import quote, urlencode

import pytest
from django.http import HttpResponse
from django.test import Client

from launcher.models import Build, Launch
from tests.factories import make_dimse_archive

pytestmark = [
    pytest.mark.django_db(transaction=True),
    pytest.mark.usefixtures("valkey"),
]

NOT_UIDS = (
    "1.2.840.x",
    "1..2",
    ".1.2",
    "1.2.",
    "1.2.840 10008",
    "1.2;DROP TABLE launcher_launch",
    "1.2' OR '1'='1",
    "1.2*",
    "*",
    "1.2?",
    "1.2\\1.3",
    "1.2\x00",
    "1.2\n1.3",
    "1.2\r\nSet-Cookie: a=b",
    "../../etc/passwd",
    "1.2/../3",
    "1" * 65,
    "1." * 33 + "1",
    "-1.2",
    "+1.2",
    "1.2e3",
    "\u0661.\u0662",
    "\uff11.\uff12",
    "${7*7}",
    "{{7*7}}",
    "%{7*7}",
    "<script>alert(1)</script>",
    '"$dicom:close --all',
    "1.2&studyUID",
    "0x1.2",
    "null",
    "[object Object]",
    "1.2\u202e3",
    "1.2\u2028",
)
NOT_IDENTIFIERS = (
    "*",
    "**",
    "?",
    "12*",
    "1?2",
    "A\\B",
    "A\x00B",
    "A\x07B",
    "A\x1bB",
    "A\x7fB",
    "A\nB",
    "A\r\nLocation: https://evil.example",
    "A\tB",
    "A\u0085B",
    "A\u2028B",
    "X" * 65,
    "^^^ISSUER\\OTHER",
    "ID^^^*",
    "ID^^^HOSP?",
    "ID^^^\x1b$B",
    "\\\\server\\share",
)
NOT_DATES = (
    "yesterday",
    "2026-13-01",
    "2026-02-30",
    "2026-00-10",
    "20261301",
    "2026-01-01T25:00:00",
    "2026-01-01T12:61",
    "2026-01-01T12:00:00+99:00",
    "0000-01-01",
    "99999-01-01",
    "-2026-01-01",
    "2026-01-01' OR 1=1",
    "1e9",
    "NaN",
    "now()",
    "2026-01-01\x00",
    "\u0662\u0660\u0662\u0666-01-01",
    "2026/01/01",
    "20260101-20261231",
    "*",
)
NOT_COUNTS = (
    "0",
    "-1",
    "1.5",
    "two",
    "1e3",
    "0x10",
    "\u0663",
    "9" * 30,
    "1;2",
    "1 2",
    "*",
    "\x00",
    "NaN",
    "true",
)
NOT_MODALITIES = (
    "CT\\MR",
    "*",
    "C?",
    "C\x00T",
    "X" * 17,
    "<b>",
    "CT' OR 1=1",
    "C\nT",
    "$dicom",
)
NOT_NAMES = (
    "nowhere",
    "main'; DROP TABLE archives_archive; --",
    "../main",
    "main\x00",
    "MAIN/..",
    "*",
    "%2e%2e",
    "{{archive}}",
    "<svg onload=alert(1)>",
    "main\nmain",
    "http://169.254.169.254/",
    "file:///etc/passwd",
    "\ud800",
    "x" * 5000,
)
FORBIDDEN = (
    ("pro", "weasis.user mallory"),
    ("pro", "java.library.path /tmp"),
    ("pro", "user.home /tmp"),
    ("pro", "felix.config.properties http://evil.example/base.json"),
    ("pro", 'a b" $dicom:close --all'),
    ("pro", "a $dicom:get -w http://evil.example/m"),
    ("pro", "a b\nc d"),
    ("pro", "a\x00b c"),
    ("arg", "$dicom:close --all"),
    ("arg", "dicom:get -w http://evil.example/m"),
    ("arg", "exec calc.exe"),
    ("arg", "$gosh:exec calc"),
    ("arg", "$weasis:config cdb=http://evil.example"),
    ("cdb", "http://evil.example/weasis"),
    ("cdb", "file:///C:/evil"),
    ("cdb", 'http://a" pro="java.home x'),
    ("wcfg", "http://evil.example/config"),
    ("wcfg", "javascript:alert(1)"),
    ("wcfg", "http://169.254.169.254/latest/meta-data/"),
)
NOT_PERSONS = (
    "DOE*",
    "D?E",
    "DOE\\JANE",
    "DOE\x00",
    "DOE\n^JANE",
    "\x1b$B;3ED\x1b(B",
    "X" * 195,
    "\ud800",
)
NOT_TEXTS = ("\x00", "a\nb", "a\rb", "a\x7fb", "a\u0085b", "\ud800", "x" * 5000)
NOT_FLAGS = ("1", "yes", "TRUE", "tru", "false;true", "\x00", "\u0442rue", "\ud800")
NOT_TYPES = ("SERIES", "patient", "STUDY*", "PATIENT\x00", "", "<b>", "\ud800")
NOT_SIGNATURES = (
    "",
    "0",
    "0" * 64,
    "g" * 64,
    "0" * 65,
    "\x00",
    "\uff10" * 64,
    "\ud800",
)
NOT_MOMENTS = ("", "0", "-1", "soon", "9" * 30, "1e9", "\u0661", "\x00", "\ud800")
SEARCH = {"patientID": "1CT1"}
PATIENT = {"requestType": "PATIENT", **SEARCH}
SIGNED = {**SEARCH, "client": "ris", "exp": "1", "nonce": "12345678", "sig": "0" * 64}

CASES: list[list[tuple[str, str]]] = [
    *([(name, text)] for name, text in product(("studyUID", "seriesUID"), NOT_UIDS)),
    *([("objectUID", "1.2"), ("objectUID", text)] for text in NOT_UIDS),
    *(
        [(name, text)]
        for name, text in product(("patientID", "accessionNumber"), NOT_IDENTIFIERS)
        if name == "patientID" or "^^^" not in text or "\\" in text
    ),
    *(
        [*SEARCH.items(), (name, text)]
        for name, text in product(("lowerDateTime", "upperDateTime"), NOT_DATES)
    ),
    *([*SEARCH.items(), ("mostRecentResults", text)] for text in NOT_COUNTS),
    *([*SEARCH.items(), ("modalitiesInStudy", text)] for text in NOT_MODALITIES),
    *(
        [*SEARCH.items(), (name, text)]
        for name, text in product(("archive", "template", "viewer"), NOT_NAMES)
    ),
    *([*SEARCH.items(), pair] for pair in FORBIDDEN),
    *([*SEARCH.items(), ("containsInDescription", text)] for text in ("\x00", "a\nb")),
    *([*SEARCH.items(), ("patientBirthDate", text)] for text in NOT_DATES),
    *([*SEARCH.items(), ("patientName", text)] for text in NOT_PERSONS),
    *(
        [*SEARCH.items(), (name, text)]
        for name, text in product(("user", "host"), NOT_TEXTS)
    ),
    # A client that is not known is a label; it must not get in the way, either.
    *([("patientID", "*"), ("client", text)] for text in NOT_NAMES),
    *([*{**SIGNED, "client": text}.items()] for text in NOT_NAMES),
    *([*{**SIGNED, "exp": text}.items()] for text in NOT_MOMENTS),
    *([*{**SIGNED, "sig": text}.items()] for text in NOT_SIGNATURES),
    *([*SEARCH.items(), ("requestType", text)] for text in NOT_TYPES),
    *([*PATIENT.items(), ("viewerType", text)] for text in NOT_NAMES),
    *([*PATIENT.items(), ("diagnosticQuality", text)] for text in NOT_FLAGS),
    *([*PATIENT.items(), ("keyImagesOnly", text)] for text in (*NOT_FLAGS, "true")),
    [],
    [("patientID", "")],
    [("patientID", " ")],
    [("patientID", ",,,")],
    [("studyUID", ""), ("archive", "main")],
    [("patientid", "1CT1")],
    [("unknown", "1")],
    [("studyUID", ",".join(f"1.2.{number}" for number in range(10_000)))],
    [("studyUID", f"1.2.{number}") for number in range(10_000)],
    [("x", "1")] * 30_000,
]
RAW = (
    "studyUID=%",
    "studyUID=%zz",
    "studyUID=%00",
    "studyUID=1.2%0d%0aSet-Cookie:%20a=b",
    "patientID=%ff%fe",
    "patientID=%c0%80",
    "patientID=%ed%a0%80",
    "=&=&=",
    "&&&&",
    "studyUID[]=1.2",
    "studyUID%00=1.2",
    quote("studyUID=1.2"),
    "patientID=" + "A" * 100_000,
)


HOSTILE_JSON = (
    *(json.dumps({**SEARCH, name: "\ud800"}) for name in ("archive", "template", "x")),
    *(json.dumps({"studyUID": "1.2", name: "\ud800"}) for name in ("viewer", "user")),
    '{"\\ud800": {}}',
    '{"\\ud800": "1", "patientID": "1CT1"}',
    '{"patientID": ["1CT1", "\\udfff"]}',
    b'{"patientID": "\xed\xa0\x80"}',
    '{"patientID": {"\\ud800": "1"}}',
    '{"patientID": NaN}',
    '{"patientID": 1e999}',
    '{"patientID": ' + "9" * 5000 + "}",
    '"patientID"',
)
JSON = {"Accept": "application/json"}
HTML = {"Accept": "text/html"}
# What /manifest leaves to viewers, and what an upload reads.
FOR_VIEWERS = {"viewer", "viewerType", "user", "host", "pro", "arg", "cdb", "wcfg"}
OF_UPLOADS = {"template", "user", "host", "pro", "arg", "cdb", "wcfg", "sig", "exp"}
MANIFEST = b"""<manifest xmlns="http://www.weasis.org/xsd/2.5">
<arcQuery arcId="1" baseUrl="https://pacs.example.org/wado"/></manifest>"""


@pytest.fixture(scope="module", autouse=True)
def enough_of_them():
    assert len(CASES) + len(RAW) >= 300


@pytest.fixture
def client(settings):
    settings.VIEWERHUB_TRUSTED_NETWORKS = ["127.0.0.0/8"]
    make_dimse_archive(slug="main")
    return Client()


Case = list[tuple[str, str]]


def query(case: Case) -> str:
    return urlencode(case, errors="surrogatepass")


def body(case: Case) -> str:
    """The JSON of a case; ``json`` escapes what is no text."""
    values: dict[str, list[str]] = {}
    for name, text in case:
        values.setdefault(name, []).append(text)
    return json.dumps(values)


def share(door: int) -> list[Case]:
    """A part of the cases for one of several doors."""
    return CASES[door % 3 :: 3]


def is_for_viewers(case: Case) -> bool:
    return any(name in FOR_VIEWERS for name, _ in case)


def is_posted(case: Case) -> bool:
    """Signatures stand in addresses."""
    return all(name != "sig" for name, _ in case)


def with_type(case: Case) -> Case:
    """As a request of the profile."""
    names = {name for name, _ in case}
    kind = "PATIENT" if "patientID" in names else "STUDY"
    return case if "requestType" in names else [("requestType", kind), *case]


def expect_refusals(responses: Iterable[tuple[str | bytes, HttpResponse]]) -> None:
    count = 0
    for text, response in responses:
        count += 1
        wishes = {"viewerType", "keyImagesOnly"} & set(re.findall(r"\w+", str(text)))
        allowed = {400, 403, 406} if wishes else {400, 403}
        assert response.status_code in allowed, (response.status_code, text[:200])
        assert "Location" not in response, text[:200]
        if "html" in response["Content-Type"]:
            assert b"<script>alert" not in response.content
            assert b"<svg onload" not in response.content
        assert "Set-Cookie" not in str(response.headers), text[:200]
    assert count > 50
    assert not Launch.objects.exists()
    assert not Build.objects.exists()


def test_hostile_parameters_are_refused_and_nothing_is_stored(client):
    texts = [*map(query, CASES), *RAW]

    expect_refusals(
        (text, client.get(f"/weasis?{text}", headers=HTML)) for text in texts
    )


# Every door gets its share of each parameter's cases, and all of them together every case


@pytest.mark.parametrize(
    ("door", "path"), [(0, "/display"), (1, "/weasis-pacs-connector/weasis")]
)
def test_hostile_parameters_are_refused_everywhere(client, door, path):
    texts = [*map(query, share(door)), *RAW]

    expect_refusals(
        (text, client.get(f"{path}?{text}", headers=JSON)) for text in texts
    )


@pytest.mark.parametrize(
    ("door", "path"),
    [(2, "/IHEInvokeImageDisplay"), (3, "/display/IHEInvokeImageDisplay")],
)
def test_hostile_requests_of_the_profile_are_refused(client, door, path):
    texts = [*map(query, map(with_type, share(door))), *RAW]

    expect_refusals(
        (text, client.get(f"{path}?{text}", headers=JSON)) for text in texts
    )


def test_hostile_parameters_make_no_manifest(client):
    cases = (case for case in share(4) if not is_for_viewers(case))
    texts = [*map(query, cases), *RAW]

    expect_refusals(
        (text, client.get(f"/manifest?{text}", headers=JSON)) for text in texts
    )


def test_hostile_json_is_refused(client):
    bodies = [*map(body, filter(is_posted, share(5))), *HOSTILE_JSON]

    expect_refusals(
        (text, client.post("/display", text, "application/json", headers=HTML))
        for text in bodies
    )


def test_hostile_forms_are_refused(client):
    texts = [*map(query, filter(is_posted, share(6))), *RAW]
    kind = "application/x-www-form-urlencoded"

    expect_refusals(
        (text, client.post("/display", text, kind, headers=JSON)) for text in texts
    )


def test_hostile_parameters_of_an_upload_are_refused(client):
    texts = [query(case) for case in CASES if case and case[-1][0] in OF_UPLOADS]
    path = "/weasis?upload=manifest"

    expect_refusals(
        (text, client.post(f"{path}&{text}", MANIFEST, "text/xml", headers=JSON))
        for text in texts
    )
