"""Answers of an archive with the gateway's addresses in them: none of its own is left."""

import json
import re
from urllib.parse import urljoin

import pytest
from hypothesis import given
from hypothesis import strategies as st

from launcher.gateway.dicom_json import Rewriting, dumps
from launcher.gateway.parts import Parts

ORIGIN = "10.20.30.40:8042"
ARCHIVE = f"http://{ORIGIN}/dicom-web"
GATEWAY = "https://hub.example.org/gateway/web/dicom-web"
UIDS = ("1.2", "1.2.3", "1.2.3.4")
BELOW = "studies/1.2/series/1.2.3/instances/1.2.3.4"
METADATA = f"{ARCHIVE}/{BELOW}/metadata"


def rewritten(each, asked=METADATA, uids=UIDS):
    return json.loads(dumps(Rewriting(asked, GATEWAY).rewritten(each, uids)))


def bulk_data(uri, asked=METADATA):
    found = rewritten({"7FE00010": {"vr": "OW", "BulkDataURI": uri}}, asked)
    return found["7FE00010"].get("BulkDataURI")


@pytest.mark.parametrize(
    ("uri", "there"),
    [
        (f"{ARCHIVE}/{BELOW}/bulk/7fe00010", "bulk/7fe00010"),
        (f"http://behind-a-proxy/pacs/{BELOW}/bulkdata/1/2", "bulkdata/1/2"),
        ("bulkdata/7FE00010", "bulkdata/7FE00010"),
        ("./bulkdata", "bulkdata"),
        ("../1.2.3.4/frames/1", "frames/1"),
        (f"/dicom-web/{BELOW}/pixeldata", "pixeldata"),
        (f"//elsewhere:1/{BELOW}/pixeldata", "pixeldata"),
        ("bulkdata?offset=12&length=345", "bulkdata?offset=12&length=345"),
        (f"{ARCHIVE}/{BELOW}/bulkdata?length=-1", "bulkdata?length=-1"),
    ],
)
def test_bulk_data_is_at_the_gateway(uri, there):
    assert bulk_data(uri) == f"{GATEWAY}/{BELOW}/{there}"


def test_relative_address_counts_from_what_was_asked():
    """Of a whole study, it names series and instance itself."""
    relative = BELOW.removeprefix("studies/1.2/") + "/bulkdata/1"
    of_the_study = f"{ARCHIVE}/studies/1.2/metadata"

    assert bulk_data(relative, of_the_study) == f"{GATEWAY}/{BELOW}/bulkdata/1"
    assert bulk_data("bulkdata/1", of_the_study) is None


@pytest.mark.parametrize(
    "uri",
    [
        "",
        "file:/archive/1.dcm?offset=1",
        f"{ARCHIVE}/studies/1.2/series/1.2.3/instances/1.2.3.5/bulkdata/1",
        f"{ARCHIVE}/{BELOW}/metadata",
        f"{ARCHIVE}/{BELOW}/bulkdata/../../secret",
        f"{ARCHIVE}/{BELOW}/bulkdata?token=secret",
        f"{ARCHIVE}/{BELOW}/bulkdata?offset=1&token=secret",
        f"{ARCHIVE}/{BELOW}/bulkdata?offset=http://{ORIGIN}",
        f"{ARCHIVE}/{BELOW}/frames/1?offset=1",
        "http://[half/studies/",
        7,
        None,
    ],
)
def test_bulk_data_that_the_gateway_does_not_have_is_left_out(uri):
    assert bulk_data(uri) is None


def test_addresses_within_sequences_are_the_gateways():
    item = {
        "00081190": {"vr": "UR", "Value": [f"{ARCHIVE}/studies/1.2/series/9"]},
        "0040E010": {"vr": "UT", "Value": [f"http://{ORIGIN}/wado?objectUID=1"]},
        "00080120": {"vr": "UR", "Value": ["urn:oid:1.2.840"]},
        "0008010E": {"vr": "UR", "Value": [f"{ARCHIVE}/codes"]},
        "00081155": {"vr": "UI", "Value": ["9.9"]},
    }

    found = rewritten({"00081115": {"vr": "SQ", "Value": [item]}})

    assert found["00081115"]["Value"] == [
        {
            "00081190": {"vr": "UR", "Value": [f"{GATEWAY}/studies/1.2/series/9"]},
            "0040E010": {"vr": "UT"},
            "00080120": {"vr": "UR", "Value": ["urn:oid:1.2.840"]},
            "0008010E": {"vr": "UR"},
            "00081155": {"vr": "UI", "Value": ["9.9"]},
        }
    ]
    assert found["00081190"]["Value"] == [f"{GATEWAY}/{BELOW}"]


def test_everything_else_stays_as_it_is():
    each = {
        "00080005": {"vr": "CS", "Value": ["ISO_IR 192"]},
        "00100010": {
            "vr": "PN",
            "Value": [{"Alphabetic": "A^B", "Ideographic": "山田"}],
        },
        "00280030": {"vr": "DS", "Value": [0.5, None, 1e-7]},
        "00280010": {"vr": "US", "Value": [512]},
        "00080090": {"vr": "PN"},
        "00204000": {"vr": "LT", "Value": ["See https://example.org//manual"]},
        "00091001": {"vr": "OB", "InlineBinary": "AAECAw=="},
        "00400275": {"vr": "SQ", "Value": [{"00080100": {"vr": "SH"}}, {}]},
    }

    found = rewritten(each)

    del found["00081190"]
    assert found == each
    assert rewritten({"00280010": {"vr": "US", "Value": 1}})["00280010"] == {
        "vr": "US",
        "Value": [1],
    }


# Whatever archives send

tags = st.sampled_from(
    ["00081190", "0040E010", "0040e010", "00081115", "00204000", "7FE00010", "7fe0"]
) | st.from_regex(r"[0-9A-Fa-f]{8}", fullmatch=True)
origins = st.sampled_from(
    [f"http://{ORIGIN}", f"HTTPS://{ORIGIN}", f"//{ORIGIN}", f"http://u:p@{ORIGIN}"]
)
paths = st.sampled_from(
    [
        f"/dicom-web/{BELOW}",
        f"/dicom-web/{BELOW}/bulkdata/1",
        f"/dicom-web/{BELOW}/bulkdata?offset=1",
        f"/studies/{ORIGIN}/series/2",
        f"/studies/1/series/{ORIGIN}",
        "/wado?requestType=WADO",
        "",
    ]
)
addresses = st.builds("{}{}".format, origins, paths)
texts = (
    addresses
    | st.builds("urn:{}".format, addresses)
    | st.builds("see {} there".format, addresses)
    | st.builds(urljoin, st.just(METADATA), st.text())
    | st.text()
)
scalars = st.none() | st.booleans() | st.integers() | texts


def elements(values):
    return st.fixed_dictionaries(
        {},
        optional={
            "vr": st.sampled_from(["UR", "UT", "SQ", "PN", "LO", "OB", "UN"]) | texts,
            "Value": st.lists(values, max_size=3) | values,
            "BulkDataURI": scalars,
            "InlineBinary": st.just("AAECAw=="),
            "Extra": values,
        },
    )


anything = st.recursive(
    scalars,
    lambda values: (
        st.lists(values, max_size=2)
        | st.dictionaries(tags | texts, values | elements(values), max_size=3)
        | st.dictionaries(st.sampled_from(["Alphabetic", "Phonetic"]), texts)
    ),
    max_leaves=12,
)
objects = st.dictionaries(tags | texts, elements(anything) | anything, max_size=4)


@given(objects, st.sampled_from([METADATA, f"{ARCHIVE}/studies"]))
def test_no_address_of_the_archive_survives(each, asked):
    text = json.dumps(rewritten(each, asked), ensure_ascii=False)

    assert not re.search(rf"//(\S*@)?{re.escape(ORIGIN)}", text)


# Bodies of several parts

BOUNDARY = "b-o+u"
MULTIPART = f'multipart/related; type="application/octet-stream"; boundary="{BOUNDARY}"'
PARTS = [
    b"pixels",
    b"--b-o+",
    b"Content-Location: http://in.pixels\r\n\r\n",
    bytes(300),
]


def body_of(location):
    head = (
        f"\r\n--{BOUNDARY}\r\nContent-Type: application/octet-stream\r\n"
        f"content-location:{location}\r\nMIME-Version: 1.0\r\n\r\n"
    ).encode()
    return head.join([b"", *PARTS]) + f"\r\n--{BOUNDARY}--\r\n".encode()


@given(st.lists(st.integers(0, 900), max_size=20))
def test_parts_have_no_address(cuts):
    """However they are cut into pieces; and their bytes and length are the same."""
    location = f" http://{ORIGIN}/dicom-web/{BELOW}/frames/1"
    body, ends = body_of(location), sorted(cuts)
    parts = Parts(MULTIPART)
    pieces = [
        parts.feed(body[start:end])
        for start, end in zip([0, *ends], [*ends, None], strict=True)
    ]

    sent = b"".join(pieces) + parts.close()

    assert sent == body_of(" " * len(location))


def test_body_of_one_part_is_passed_on_at_once():
    parts = Parts("application/octet-stream")

    assert parts.feed(b"Content-Location: a\r\n--") == b"Content-Location: a\r\n--"
    assert parts.close() == b""


def test_head_without_end_is_not_kept():
    parts = Parts(MULTIPART)
    head = f"--{BOUNDARY}\r\nContent-Location: http://{ORIGIN}".encode()

    sent = parts.feed(head + bytes(20_000)) + parts.close()

    assert len(sent) == len(head) + 20_000
    assert ORIGIN.encode() not in sent
