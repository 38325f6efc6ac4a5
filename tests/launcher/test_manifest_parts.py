"""Manifests in parts, in JSON, with a template's settings, and as they were sent."""

import gzip
import json
from dataclasses import replace

import pytest
from django.test import AsyncClient
from lxml import etree

from archives.entities import (
    Instance,
    InstanceIdentifier,
    Selection,
    Series,
    Study,
)
from launcher import background, store
from launcher.models import Build, Launch, LaunchTemplate
from tests.factories import make_dicomweb_archive, make_dimse_archive, make_launch
from tests.loops import run

pytestmark = [
    pytest.mark.django_db(transaction=True),
    pytest.mark.usefixtures("valkey"),
]

WEASIS = "Weasis/{0} (Linux; 6; amd64; pf:default; rv:{0}) Java/26"
UPLOADED = '<manifest><arcQuery baseUrl="https://ris.example/wado"/></manifest>'


def make_study(uid, date="", accession_number=""):
    instance = Instance(sop_instance_uid=f"{uid}.1.1", instance_number=1)
    series = Series(series_instance_uid=f"{uid}.1", instances=(instance,))
    return Study(
        study_instance_uid=uid,
        study_date=date,
        accession_number=accession_number,
        series=(series,),
    )


STUDIES = (
    make_study("1.1", "20200101", "A1"),
    make_study("1.2", "20260101"),
    make_study("1.3", "20230101"),
)


def answer(started, archive, *studies, state="ok", message=""):
    """What the worker would keep of this archive's answer."""
    found = store.Answer(
        archive_id=archive.pk, state=state, message=message, studies=studies
    )
    background.run(store.save_answer(str(started.launch.build_id), found))


def finish(started):
    background.run(store.finish(str(started.launch.build_id)))


def answered(archive, *studies, **values):
    started = make_launch([archive], **values)
    answer(started, archive, *studies)
    finish(started)
    return started


def fetch(started, part="", version="4.7.2", **headers):
    async def fetch():
        path = "/m/" + started.manifest_url.rpartition("/m/")[2] + part
        sent = {"user-agent": WEASIS.format(version)} | headers
        response = await AsyncClient().get(path, headers=sent)
        if response.streaming:
            return response, b"".join([c async for c in response.streaming_content])
        return response, response.content

    return run(fetch())


def read(body):
    root = etree.fromstring(body)
    for element in root.iter():
        element.tag = etree.QName(element).localname
    return root


def studies_of(started, part):
    root = read(fetch(started, part)[1])
    return [study.get("StudyInstanceUID") for study in root.iter("Study")]


def titles_of(started, part):
    root = read(fetch(started, part)[1])
    return [message.get("title") for message in root.iter("Message")]


# Parts


@pytest.mark.parametrize(
    ("selection", "primary"),
    [
        (Selection(study_instance_uids=("1.3", "1.2", "1.1")), "1.3"),
        (Selection(study_instance_uids=("9.9", "1.1")), "1.1"),
        (Selection(accession_numbers=("A0", "A1")), "1.1"),
        (Selection(), "1.2"),
    ],
)
def test_primary_study_is_the_first_asked_for_or_the_newest(selection, primary):
    started = answered(make_dimse_archive(), *STUDIES, selection=selection)

    assert studies_of(started, "/primary") == [primary]
    rest = {"1.1", "1.2", "1.3"} - {primary}
    assert set(studies_of(started, "/rest")) == rest
    assert len(studies_of(started, "")) == 3
    assert studies_of(started, "/primary") == [primary]  # repeatable


def test_parts_lose_nothing_that_arrives_between_them(settings):
    settings.VIEWERHUB_MANIFEST_DEADLINE = 0.05
    archive, slow = make_dimse_archive(), make_dimse_archive(name="Slow", slug="slow")
    started = make_launch([archive, slow], selection=Selection())
    answer(started, archive, STUDIES[0])
    assert studies_of(started, "/primary") == ["1.1"]
    more = Series(series_instance_uid="1.1.9")
    answer(started, slow, STUDIES[1], replace(STUDIES[0], series=(more,)))
    finish(started)

    root = read(fetch(started, "/rest")[1])

    series = {one.get("SeriesInstanceUID") for one in root.iter("Series")}
    assert series == {"1.2.1", "1.1.9"}


def test_primary_study_of_a_launch_is_not_that_of_another():
    archive = make_dimse_archive()
    template = LaunchTemplate.objects.create(
        name="P", slug="p", opens_primary_study_first=True
    )
    launches = {
        uids[0]: make_launch(
            [archive],
            template=template,
            selection=Selection(study_instance_uids=uids),
        )
        for uids in (("1.1", "1.2"), ("1.2", "1.1"))
    }
    for started in launches.values():
        answer(started, archive, *STUDIES[:2])
        finish(started)

    for uid, started in launches.items():
        assert studies_of(started, "/primary") == [uid]


def test_messages_are_shown_with_the_primary_study_only():
    archive = make_dimse_archive()
    started = make_launch([archive], selection=Selection())
    answer(started, archive, *STUDIES, state="truncated", message="Some are missing.")
    finish(started)

    assert titles_of(started, "/primary") == ["Main PACS: incomplete"]
    assert titles_of(started, "/rest") == []


def messages_of(started):
    root = read(fetch(started)[1])
    return {one.get("title"): one.get("description") for one in root.iter("Message")}


@pytest.mark.parametrize(
    ("state", "message", "title"),
    [
        ("ok", "", "Backup: some images are left out"),
        ("truncated", "Some are missing.", "Backup: incomplete"),
    ],
)
def test_images_that_the_viewer_would_skip_are_told(state, message, title):
    """It takes a series from one archive only, and each has what the other has not."""
    archives = [make_dimse_archive(), make_dimse_archive(name="Backup", slug="backup")]
    started = make_launch(archives, selection=Selection())
    instances = [Instance(sop_instance_uid=f"1.1.1.{n}") for n in range(16)]
    for archive, part in zip(archives, (instances[4:], instances[:10]), strict=True):
        series = Series(series_instance_uid="1.1.1", instances=tuple(part))
        is_last = archive == archives[-1]
        values = {"state": state, "message": message} if is_last else {}
        answer(started, archive, replace(STUDIES[0], series=(series,)), **values)
    finish(started)

    told = messages_of(started)

    assert list(told) == [title]
    assert f"{message} Backup has 4 more images".strip() in told[title]
    assert "from Main PACS" in told[title]
    assert "from Backup alone" in told[title]


def test_nothing_found_is_said_once():
    started = answered(make_dimse_archive())

    assert titles_of(started, "/primary") == ["No images found"]
    assert titles_of(started, "/rest") == []
    assert fetch(started, "/rest")[0].status_code == 200


def test_messages_come_without_images_for_viewers_that_asked_themselves():
    archive, other = make_dimse_archive(), make_dimse_archive(name="B", slug="b")
    started = make_launch([archive, other], selection=Selection())
    answer(started, archive, *STUDIES)
    answer(started, other, state="unavailable", message="B does not answer.")
    finish(started)

    assert studies_of(started, "/messages") == []
    assert titles_of(started, "/messages") == ["B: not answering"]
    started.launch.refresh_from_db()
    assert started.launch.state == Launch.State.FETCHED


def test_messages_say_that_nothing_was_found_or_nothing_at_all():
    archive = make_dimse_archive()

    assert titles_of(answered(archive), "/messages") == ["No images found"]
    found = answered(archive, *STUDIES, selection=Selection())
    assert titles_of(found, "/messages") == []
    assert studies_of(found, "/messages") == []


def test_part_that_is_none_is_not_found():
    started = answered(make_dimse_archive(), *STUDIES)

    assert fetch(started, "/other")[0].status_code == 404
    assert fetch(started, "/")[0].status_code == 404


# JSON


def test_manifest_is_json_for_those_who_want_that():
    started = answered(make_dimse_archive(), *STUDIES)

    response, body = fetch(started, accept="application/json")
    zipped = fetch(started, **{"accept": "application/json", "accept-encoding": "gzip"})

    assert response["Content-Type"] == "application/json"
    assert "Accept" in response["Vary"]
    [query] = json.loads(body)["manifest"]["arcQuery"]
    assert len(query["Patient"][0]["Study"]) == 3
    assert gzip.decompress(zipped[1]) == body


@pytest.mark.parametrize(
    "accept",
    [
        "application/xml",
        "*/*",
        "text/html, image/gif, image/jpeg, */*; q=0.2",
        "application/xml, application/json",
        "",
    ],
)
def test_manifest_is_xml_for_everybody_else(accept):
    started = answered(make_dimse_archive(), *STUDIES)

    response, body = fetch(started, accept=accept)

    assert response["Content-Type"].startswith("text/xml")
    assert body.startswith(b"<?xml")


def test_manifest_in_json_waits_with_white_space(settings):
    settings.VIEWERHUB_MANIFEST_DEADLINE = 0.05
    started = make_launch([make_dimse_archive()])

    _, body = fetch(started, accept="application/json")

    assert body.startswith(b"   \n")  # gzip is looked for in the first four bytes
    [query] = json.loads(body)["manifest"]["arcQuery"]
    assert query["Message"][0]["title"] == "Main PACS: no answer yet"


# Settings of template and archive


def arc_query_of(archive, version="4.7.2", **template):
    chosen = LaunchTemplate.objects.create(name="T", slug="t", **template)
    started = answered(archive, *STUDIES, template=chosen)
    return read(fetch(started, version=version)[1]).find("arcQuery")


DIRECT = {"images": "direct", "wado_uri_url": "https://a.example/wado/"}


def test_settings_reach_archives_that_are_asked_directly():
    archive = make_dicomweb_archive(
        "https://a.example/rs",
        wado_parameters="anonymize=yes&name=a b",
        wado_needs_only_object=True,
        **DIRECT,
    )

    query = arc_query_of(
        archive,
        transfer_syntax="1.2.840.10008.1.2.4.50",
        compression_rate=75,
        override_tags="0x00100010, 0x00100020",
        http_tags="X-Site: north\nAuthorization: Bearer site",
    )

    assert query.get("baseUrl") == "https://a.example/wado"
    assert query.get("additionalParameters") == "&anonymize=yes&name=a%20b"
    assert query.get("additionnalParameters") == "&anonymize=yes&name=a%20b"
    assert query.get("requireOnlySOPInstanceUID") == "true"
    assert query.get("overrideDicomTagsList") == "0x00100010,0x00100020"
    tags = [(tag.get("key"), tag.get("value")) for tag in query.iter("httpTag")]
    assert tags == [("X-Site", "north"), ("Authorization", "Bearer site")]
    series = query.find(".//Series")
    assert series.get("WadoTransferSyntaxUID") == "1.2.840.10008.1.2.4.50"
    assert series.get("WadoCompressionRate") == "75"


def test_settings_for_direct_images_never_reach_the_hub():
    archive = make_dicomweb_archive(
        "https://a.example/rs", wado_parameters="&a=b", wado_needs_only_object=True
    )

    query = arc_query_of(archive, http_tags="Authorization: Bearer site\nX-Site: a")

    assert query.get("baseUrl") == "http://127.0.0.1:8000/gateway/web/wado"
    assert query.get("additionalParameters") == ""
    assert query.get("requireOnlySOPInstanceUID") == "false"
    [tag] = query.iter("httpTag")
    assert tag.get("value").startswith("Bearer ")
    assert tag.get("value") != "Bearer site"


@pytest.mark.parametrize("is_dicomweb", [False, True])
def test_transfer_syntax_is_asked_for_where_it_may_be_had(is_dicomweb):
    archive = make_dimse_archive()
    if is_dicomweb:
        archive = make_dicomweb_archive("https://pacs.example.org/rs")
    template = LaunchTemplate.objects.create(
        name="T", slug="t", transfer_syntax="1.2.840.10008.1.2.4.50"
    )
    started = answered(archive, *STUDIES, selection=Selection(), template=template)

    series = read(fetch(started)[1]).find(".//{*}Series")

    assert ("WadoTransferSyntaxUID" in series.attrib) is is_dicomweb


def test_series_of_which_instances_were_named_are_listed():
    archive = make_dicomweb_archive("https://a.example/rs", images="direct")
    template = LaunchTemplate.objects.create(
        name="T", slug="t", retrieval="wado_rs_series"
    )
    named = STUDIES[0].series[0].instances[0].sop_instance_uid
    selection = Selection(
        instances=(InstanceIdentifier(sop_instance_uid=named),),
        study_instance_uids=("1.2",),
    )
    started = answered(archive, *STUDIES[:2], template=template, selection=selection)

    query = read(fetch(started)[1]).find("arcQuery")

    assert query.get("seriesRetrieve") == "true"
    counts = {one.get("SeriesInstanceUID"): len(one) for one in query.iter("Series")}
    assert counts == {"1.1.1": 1, "1.2.1": 0}


def test_launch_without_its_template_gets_a_manifest():
    started = answered(make_dimse_archive(), *STUDIES)
    Launch.objects.update(template=None)

    assert len(studies_of(started, "")) == 3


# Uploaded manifests


@pytest.mark.parametrize("part", ["", "/primary"])
def test_uploaded_manifest_is_delivered_as_it_is(part):
    started = make_launch([make_dimse_archive()])
    build = Build.objects.get()
    build.uploaded_manifest = UPLOADED
    build.save()

    response, body = fetch(started, part, accept="application/json")

    assert response["Content-Type"].startswith("text/xml")
    assert body.partition(b"?>\n")[2] == UPLOADED.encode()
    started.launch.refresh_from_db()
    assert started.launch.state == Launch.State.FETCHED
    assert not list(read(fetch(started, "/rest")[1]).iter("Patient"))
