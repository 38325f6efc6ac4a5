"""What an archive sends for somebody else: whole, or not at all."""

import pytest

from archives.clients import DicomWebEndpoint, Level, Rendering, open_dicomweb
from archives.entities import StudyQuery
from archives.errors import (
    ArchiveError,
    ArchiveResponseError,
    InstanceNotFoundError,
)
from tests.dicomweb_server import (
    BOUNDARY,
    content,
    dicom_file,
    head,
    raw,
    status,
)
from tests.dicomweb_studies import identifier_of, make_study, serving
from tests.loops import run

STUDY = make_study()
FIRST = identifier_of(STUDY)
UID = STUDY.study_instance_uid
SERIES = ("studies", UID, "series", FIRST.series_instance_uid)
INSTANCE = (*SERIES, "instances", FIRST.sop_instance_uid)
MULTIPART = f"multipart/related; boundary={BOUNDARY}"
PARTS = b"--the-boundary\r\nContent-Type: application/dicom\r\n\r\n" + bytes(5000)
END = b"\r\n--the-boundary--\r\n"


def forward(answer, **options):
    """The pieces' sum, the head, and the request that the archive got."""

    async def main():
        async with serving(STUDY) as (client, server):
            if answer:
                server.answer_with("*", answer)
            asked = {"accept": "*/*", **options}
            async with client.forward(SERIES, **asked) as forwarded:
                body = b"".join([piece async for piece in forwarded.body()])
            return body, forwarded, server.requests[-1]

    return run(main())


def closing(body):
    return raw(
        head(200, Content_Type=MULTIPART, Connection="close"), body, then="close"
    )


def test_forward_passes_accept_and_range_on():
    answer = content(b"56", status=206, media_type="image/jp2", Content_Range="x")

    body, forwarded, request = forward(
        answer, accept="image/jp2", byte_range="bytes=5-6", query="quality=50"
    )

    assert (body, forwarded.status, forwarded.content_length) == (b"56", 206, 2)
    assert forwarded.media_type == "image/jp2"
    assert request.query == "quality=50"
    assert request.headers["accept"] == "image/jp2"
    assert request.headers["range"] == "bytes=5-6"
    assert request.headers["accept-encoding"] == "identity"


@pytest.mark.parametrize("code", [204, 400, 404, 406, 416, 500])
def test_forward_leaves_statuses_to_the_caller(code):
    assert forward(status(code))[1].status == code


def test_forward_gives_what_is_whole():
    body, forwarded, _ = forward(closing(PARTS + END))

    assert body == PARTS + END
    assert forwarded.content_length is None


@pytest.mark.parametrize("body", [b"", PARTS, PARTS + END[:-4]])
def test_forward_of_parts_without_an_end_fails(body):
    with pytest.raises(ArchiveResponseError, match="broke off"):
        forward(closing(body))


def ending_with_the_connection(media_type, body):
    start = head(200, Content_Type=media_type, Connection="close")
    return raw(start, body, then="close")


def test_forward_gives_a_file_that_ends_with_its_connection():
    file = dicom_file(FIRST.sop_instance_uid)

    body, _, _ = forward(ending_with_the_connection("application/dicom", file))

    assert body == file


@pytest.mark.parametrize(
    ("media_type", "message"),
    [
        ("application/dicom", "cut short"),
        ("application/octet-stream", "does not say how long"),
        ("image/jpeg", "does not say how long"),
        ("multipart/related", "does not say how long"),  # and it has no boundary
    ],
)
def test_forward_of_what_may_be_cut_short_fails(media_type, message):
    file = dicom_file(FIRST.sop_instance_uid)

    with pytest.raises(ArchiveResponseError, match=message):
        forward(ending_with_the_connection(media_type, file[:-1]))


def objects_of(prepare=lambda server: None):
    async def main():
        async with serving(STUDY) as (client, server):
            prepare(server)
            async with client.metadata((*SERIES, "metadata")) as objects:
                return [each async for each in objects]

    return run(main())


def test_metadata_comes_object_by_object_with_its_numbers():
    body = b'[{"00280010": {"vr": "US", "Value": [512]}}, {"x": 0.5}]'

    found = objects_of(lambda server: server.answer_with("*", content(body)))

    assert found == [{"00280010": {"vr": "US", "Value": [512]}}, {"x": 0.5}]
    assert len(objects_of()) == len(STUDY.series[0].instances)


@pytest.mark.parametrize(
    "answer",
    [
        content(b'[{"x": 1}'),
        content(b"<html>"),
        content(b'[{"x": ' + b"9" * 5000 + b"}]"),
        content(b"[" * 100_000),
        raw(head(200, Content_Length="100"), b"[", then="close"),
        status(500),
    ],
)
def test_metadata_that_is_not_whole_fails(answer):
    with pytest.raises(ArchiveError):
        objects_of(lambda server: server.answer_with("*", answer))


def test_metadata_of_what_is_gone_is_not_found():
    with pytest.raises(InstanceNotFoundError):
        objects_of(lambda server: server.answer_with("*", status(404)))


def test_search_gathers_all_pages_and_keeps_what_was_sent():
    async def main():
        async with serving(STUDY, page_cap=2) as (client, server):
            path = ("studies", UID, "instances")
            keys = [("00080018", FIRST.sop_instance_uid)]
            fields = [("includefield", "00280010")]
            everything = await client.search(Level.INSTANCES, path, [], fields)
            one = await client.search(Level.INSTANCES, path, keys, [])
            return everything, one, server.requests

    everything, one, requests = run(main())

    instances = [each for series in STUDY.series for each in series.instances]
    assert len(everything) == len(instances)
    assert [each["00080018"]["Value"] for each in one] == [[FIRST.sop_instance_uid]]
    assert requests[0].keys["includefield"] == "00280010"
    assert "SOPInstanceUID" in requests[-1].keys


def test_field_of_a_viewer_that_is_refused_changes_no_search_of_the_hub():
    async def main():
        async with serving(STUDY, takes_include_fields=False) as (client, server):
            fields = [("includefield", "nonsense")]
            await client.search(Level.STUDIES, ("studies",), [], fields)
            asked = len(server.requests)
            await client.find_studies(StudyQuery(limit=5, patient_id="1"))
            return server.requests[asked]

    assert "includefield" in run(main()).keys


@pytest.mark.parametrize(
    ("wado", "query"),
    [
        (False, "viewport=256,128&quality=60&window=40,400,linear"),
        (
            True,
            "contentType=image/jpeg&rows=128&columns=256&imageQuality=60"
            "&windowCenter=40&windowWidth=400&frameNumber=3",
        ),
    ],
)
def test_pictures_are_asked_for_as_the_archive_has_them(wado, query):
    wanted = Rendering(
        columns=256, rows=128, quality=60, window=(40, 400), frame_number=3
    )

    async def main():
        async with serving(STUDY) as (client, server):
            if wado:
                url = server.url.replace("/dicom-web", "/wado")
                endpoint = DicomWebEndpoint(name="North", url=url, wado_uri_url=url)
                client = open_dicomweb(endpoint)
            server.answer_with("*", content(b"jpeg", media_type="image/jpeg"))
            picture = await client.rendered(FIRST, wanted)
            server.answer_with("*", content(b"html", media_type="text/html"))
            page = await client.rendered(FIRST, wanted)
            part = ending_with_the_connection("image/jpeg", b"jp")
            server.answer_with("*", part)
            cut = await client.rendered(FIRST, wanted)
            return picture, page, cut, server.requests[0]

    picture, page, cut, request = run(main())

    assert (picture, page, cut) == (b"jpeg", None, None)
    assert request.query.endswith(query)
    assert request.path.endswith("/wado" if wado else "/frames/3/rendered")
