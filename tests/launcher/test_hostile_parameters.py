"""Launch parameters that somebody sends in error, or to break in."""

from __future__ import annotations

from itertools import product
from urllib.parse import quote, urlencode

import pytest
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
SEARCH = {"patientID": "1CT1"}

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
    *([*SEARCH.items(), ("patientBirthDate", text)] for text in NOT_DATES[:10]),
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


@pytest.fixture(scope="module", autouse=True)
def enough_of_them():
    assert len(CASES) + len(RAW) >= 300


@pytest.fixture
def client(settings):
    settings.VIEWERHUB_TRUSTED_NETWORKS = ["127.0.0.0/8"]
    make_dimse_archive(slug="main")
    return Client()


def query(case: list[tuple[str, str]]) -> str:
    return urlencode(case, errors="surrogatepass")


@pytest.mark.parametrize(
    ("path", "accept"), [("/weasis", "text/html"), ("/display", "application/json")]
)
def test_hostile_parameters_are_refused_and_nothing_is_stored(client, path, accept):
    for text in [*map(query, CASES), *RAW]:
        response = client.get(f"{path}?{text}", headers={"Accept": accept})

        assert response.status_code in {400, 403}, text[:200]
        assert "evil.example" not in response.get("Location", "")
        if "html" in response["Content-Type"]:
            assert b"<script>alert" not in response.content
            assert b"<svg onload" not in response.content
        assert "Set-Cookie" not in str(response.headers), text[:200]
    assert not Launch.objects.exists()
    assert not Build.objects.exists()
