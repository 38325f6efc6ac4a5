"""Manifests of other systems: what is taken, and the line of what is not."""

from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st
from lxml import etree

from launcher.manifest import ManifestError, check_upload
from launcher.manifest.upload import MAXIMUM_UPLOAD

NAMESPACE = "http://www.weasis.org/xsd/2.5"
EXAMPLE = f"""<?xml version="1.0" encoding="UTF-8" ?>
<manifest xmlns="{NAMESPACE}" xmlns:xsi="http://www.w3.org/2001/XMLSchema-instance">
  <arcQuery additionnalParameters="" arcId="1001" baseUrl="http://archive.example.org/wado"
            requireOnlySOPInstanceUID="false">
    <Patient PatientID="H13885_9M" PatientName="TEST" PatientSex="F">
      <Study AccessionNumber="" ReferringPhysicianName="" StudyDate="20130711"
             StudyInstanceUID="2.16.756" StudyTime="170013">
        <Series Modality="US" SeriesInstanceUID="1.2.40" SeriesNumber="2">
          <Instance InstanceNumber="107" SOPInstanceUID="1.2.40.1"/>
        </Series>
      </Study>
    </Patient>
  </arcQuery>
</manifest>
"""
INSTANCE = '<Instance InstanceNumber="107" SOPInstanceUID="1.2.40.1"/>'
QUERY = '<arcQuery baseUrl="https://a.example/wado">'


def whole(*inside: str) -> bytes:
    return f"<manifest>{QUERY}{''.join(inside)}</arcQuery></manifest>".encode()


def test_upload_is_handed_on_as_it_is():
    text = check_upload(EXAMPLE.encode())

    assert text == EXAMPLE.partition("?>\n")[2].strip()


@pytest.mark.parametrize(
    "encoding", ["utf-8", "utf-8-sig", "utf-16", "iso-8859-1", "windows-1252"]
)
def test_upload_is_read_in_its_encoding(encoding):
    name = encoding.removesuffix("-sig")
    text = EXAMPLE.replace("UTF-8", name).replace("TEST", "Müller")

    assert 'PatientName="Müller"' in check_upload(text.encode(encoding))


@pytest.mark.parametrize(
    "body",
    [
        whole(),
        whole('<httpTag key="A" value="b"/><Message title="a" description="b"/>'),
        whole('<Patient PatientID="1"/><Message title="a" description="b"/>'),
        whole('<Patient PatientID="1" other="x"><!-- a --></Patient>'),
        EXAMPLE.replace("<manifest", '<manifest xsi:schemaLocation="a b"').encode(),
        EXAMPLE.replace(
            "</manifest>", "<selections>a</selections></manifest>"
        ).encode(),
        EXAMPLE.replace("http://archive.example.org/wado", "").encode(),
    ],
)
def test_upload_may_hold_what_weasis_reads_or_ignores(body):
    assert check_upload(body).startswith("<manifest")


@pytest.mark.parametrize(
    ("old", "new", "line", "reason"),
    [
        ("</Study>", "", 12, "not well-formed"),
        ("</manifest>", "", 15, "not well-formed"),
        ("<manifest", "<!DOCTYPE manifest><manifest", 2, "DOCTYPE"),
        ('="TEST"', '="&name;"', 5, "not well-formed"),
        (INSTANCE, "<instance/>", 9, "not expected"),
        (INSTANCE, '<Instance InstanceNumber="1"/>', 9, "SOPInstanceUID"),
        ('SOPInstanceUID="1.2.40.1"', 'SOPInstanceUID=" "', 9, "SOPInstanceUID"),
        ('InstanceNumber="107"', 'InstanceNumber="x"', 9, "InstanceNumber"),
        ('baseUrl="http://archive.example.org/wado"', "", 4, "baseUrl"),
        ("archive.example.org", "archive {1}", 4, "baseUrl of arcQuery"),
        ("</Patient>", '</Patient><httpTag key="a" value="b"/>', 12, "httpTag"),
        ("</Patient>", "</Patient>text", 4, "Character content"),
        ("<Patient ", '<httpTag key="a b" value="c"/><Patient ', 5, "key of httpTag"),
        ("manifest", "wado_query", 2, "wado_query"),
        ("<manifest", '<?xml-stylesheet href="a"?><manifest', 2, "instructions"),
        ("</Study>", "<?a b?></Study>", 11, "instructions"),
        ("</manifest>\n", "</manifest><?a b?>", 14, "instructions"),
        (NAMESPACE, "http://www.w3.org/1999/xhtml", 2, "namespaces"),
        (NAMESPACE, "urn:http://www.weasis.org/xsd/", 2, "namespaces"),
        ("<Patient", '<Patient xmlns="http://www.w3.org/2000/svg"', 5, "namespaces"),
        ("<Series", '<Series xmlns:x="urn:x" x:href="a"', 8, "namespaces"),
        (
            "</arcQuery>",
            '</arcQuery><selections><a xmlns="urn:x"/></selections>',
            13,
            "namespaces",
        ),
    ],
)
def test_upload_that_is_wrong_names_line_and_reason(old, new, line, reason):
    with pytest.raises(ManifestError) as caught:
        check_upload(EXAMPLE.replace(old, new).encode())

    assert (caught.value.line, reason in caught.value.reason) == (line, True)
    assert str(caught.value) == f"Line {line}: {caught.value.reason}"


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b" \n",
        b"not XML",
        b"<manifest/>",
        b"\xff\xfe",
        b"\xff<manifest/>",
        EXAMPLE.replace("UTF-8", "UTF-7").encode(),
        EXAMPLE.replace("UTF-8", "UTF-16").encode(),
        b'<?xml version="1.0"?><?xml version="1.0" encoding="UTF-7"?>' + whole(),
        b'<?xml version="1.0"?>\xef\xbb\xbf' + whole(),
        EXAMPLE.replace("UTF-8", "rot13").encode(),
        b"<!DOCTYPE a SYSTEM 'http://127.0.0.1:9/a'>" + whole(),
        '<!DOCTYPE a [<!ENTITY b "c">]><manifest/>'.encode("utf-16"),
        whole("<Patient PatientID='1'>" * 300 + "</Patient>" * 300),
        whole(" " * MAXIMUM_UPLOAD),
    ],
)
def test_upload_that_is_no_manifest_is_refused(body):
    with pytest.raises(ManifestError):
        check_upload(body)


NAMED = whole('<Patient PatientID="1" PatientName="MÜLLER"/>').decode()


@pytest.mark.parametrize(
    ("body", "charset"),
    [
        (NAMED.encode("iso-8859-1"), "ISO-8859-1"),
        (f'<?xml version="1.0"?>{NAMED}'.encode("cp1252"), "windows-1252"),
        (f'<?xml version="1.0" encoding="UTF-8"?>{NAMED}'.encode(), "ISO-8859-1"),
        (NAMED.encode("utf-16"), "ISO-8859-1"),
        (NAMED.encode("utf-8-sig"), "ISO-8859-1"),
        (NAMED.encode(), ""),
    ],
)
def test_upload_is_in_the_encoding_it_says_or_else_its_sender(body, charset):
    assert "MÜLLER" in check_upload(body, charset)


@pytest.mark.parametrize(
    "charset", ["utf-7", "utf-16", "rot13", "\x00", "é", "x" * 5000, "us-ascii"]
)
def test_upload_in_an_encoding_that_is_not_taken_is_refused(charset):
    with pytest.raises(ManifestError):
        check_upload(NAMED.encode(), charset)


def test_upload_of_ten_megabytes_is_read():
    series = '<Series SeriesInstanceUID="1"/>'
    study = f'<Study StudyInstanceUID="1">{series * (MAXIMUM_UPLOAD // 32)}</Study>'
    body = whole(f'<Patient PatientID="1">{study}</Patient>')

    assert len(body) > 9 * 2**20
    assert check_upload(body)


def test_upload_gives_no_value_away():
    body = EXAMPLE.replace("107", "secret").encode()

    with pytest.raises(ManifestError) as caught:
        check_upload(body)

    assert "secret" not in str(caught.value)


PIECES = st.sampled_from(
    [
        *EXAMPLE.split(" "),
        "<!DOCTYPE a>",
        "&amp;",
        "&#0;",
        "]]>",
        "<!--",
        "\0",
        "\ud800",
    ]
)


@given(st.one_of(st.binary(max_size=200), st.lists(PIECES).map(" ".join)))
def test_upload_is_well_formed_or_refused(content):
    body = content if isinstance(content, bytes) else content.encode(errors="replace")
    with suppress(ManifestError):
        assert etree.fromstring(check_upload(body)).tag.endswith("manifest")
