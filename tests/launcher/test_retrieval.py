"""From where and in which form each version of Weasis is told to fetch images."""

import pytest

from archives.models import Archive
from archives.presets import PRESETS
from launcher.manifest import Form
from launcher.models import LaunchTemplate
from launcher.retrieval import choose, retrieval_of

V4_5, V4_6_6, V4_7_0, V4_7_2 = (4, 5, 0), (4, 6, 6), (4, 7, 0), (4, 7, 2)
VERSIONS = (None, V4_5, V4_6_6, V4_7_0, V4_7_2)
HUB, DIRECT = "hub", "direct"


def dicomweb(**values):
    defaults = {"name": "Web PACS", "images": "direct", "url": "https://a.example/rs"}
    return Archive(protocol=Archive.Protocol.DICOMWEB, **(defaults | values))


def dimse(**values):
    return Archive(name="PACS", protocol=Archive.Protocol.DIMSE, **values)


def decide(archive, version, **template):
    chosen = choose(archive, LaunchTemplate(**template), version)
    return chosen.form, DIRECT if chosen.is_direct else HUB


WADO = "https://a.example/wado"


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("retrieval", ["auto", "wado_uri"])
def test_hub_is_asked_by_wado_uri(version, retrieval):
    archive = dicomweb(images="gateway", wado_uri_url=WADO)

    assert decide(archive, version, retrieval=retrieval) == (Form.WADO_URI, HUB)


@pytest.mark.parametrize(
    ("retrieval", "whole"),
    [
        ("wado_rs", Form.WADO_RS),
        ("wado_rs_series", Form.WADO_RS_SERIES),
        ("wado_rs_study", Form.WADO_RS_STUDY),
    ],
)
@pytest.mark.parametrize("authentication", ["none", "basic"])
@pytest.mark.parametrize("images", [HUB, DIRECT])
def test_template_can_ask_for_wado_rs_everywhere(
    retrieval, whole, authentication, images
):
    """By the hub too, which has the password that viewers don't have."""
    place = DIRECT if (images, authentication) == (DIRECT, "none") else HUB
    chosen = {"images": "direct" if images == DIRECT else "gateway"}
    archive = dicomweb(authentication=authentication, **chosen)

    found = [decide(archive, version, retrieval=retrieval) for version in VERSIONS]

    uri = (Form.WADO_URI, HUB)
    assert found == [uri, uri, uri, (Form.WADO_RS, place), (whole, place)]
    assert decide(dimse(**chosen), V4_7_2, retrieval=retrieval) == uri
    tags = {"override_tags": "0x00100010"}
    assert decide(archive, V4_7_2, retrieval=retrieval, **tags) == uri


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("images", ["gateway", "direct"])
def test_files_come_from_the_hub(version, images):
    archive = dicomweb(images=images)

    assert decide(archive, version, retrieval="files") == (Form.FILES, HUB)


@pytest.mark.parametrize(
    ("retrieval", "wado_uri_url", "expected"),
    [
        ("auto", WADO, [(Form.WADO_URI, DIRECT)] * 5),
        ("auto", "", [(Form.WADO_URI, HUB)] * 3 + [(Form.WADO_RS, DIRECT)] * 2),
        ("wado_uri", WADO, [(Form.WADO_URI, DIRECT)] * 5),
        ("wado_uri", "", [(Form.WADO_URI, HUB)] * 5),
        ("wado_rs", WADO, [(Form.WADO_URI, DIRECT)] * 3 + [(Form.WADO_RS, DIRECT)] * 2),
        ("wado_rs", "", [(Form.WADO_URI, HUB)] * 3 + [(Form.WADO_RS, DIRECT)] * 2),
        (
            "wado_rs_series",
            "",
            [(Form.WADO_URI, HUB)] * 3
            + [(Form.WADO_RS, DIRECT), (Form.WADO_RS_SERIES, DIRECT)],
        ),
    ],
)
def test_direct_images_come_as_the_version_can_fetch_them(
    retrieval, wado_uri_url, expected
):
    archive = dicomweb(wado_uri_url=wado_uri_url)

    found = [decide(archive, version, retrieval=retrieval) for version in VERSIONS]

    assert found == expected


@pytest.mark.parametrize("product", [slug for slug in PRESETS if slug != "dimse"])
def test_automatic_is_the_first_way_of_the_product(product):
    archive = dicomweb(wado_uri_url=WADO, preset=product)
    modes = PRESETS[product].launch_modes
    ways = [mode for mode in modes if mode in ("wado_uri", "wado_rs")]

    form, place = decide(archive, V4_7_2)

    assert (form.value.lower(), place) == (ways[0], DIRECT) if ways else place == HUB
    if ways:  # what every version can do is there for those that can't do better
        assert decide(archive, V4_5) == (Form.WADO_URI, DIRECT)


@pytest.mark.parametrize(
    "values",
    [
        {"authentication": Archive.Authentication.BASIC},
        {"authentication": Archive.Authentication.BEARER},
        {"client_certificate": "PEM"},
        {"url": "https://a.example/{1}"},
    ],
)
def test_viewers_are_not_sent_where_they_can_not_go(values):
    archive = dicomweb(**values)

    for images in ("", "direct"):
        found = decide(archive, V4_7_2, images=images)
        assert found == (Form.WADO_URI, HUB)


def test_template_overrides_where_images_come_from():
    assert decide(dicomweb(), V4_7_2, images="gateway") == (Form.WADO_URI, HUB)
    hidden = dicomweb(images="gateway")
    assert decide(hidden, V4_7_2, images="direct") == (Form.WADO_RS, DIRECT)


def test_dimse_archive_gives_images_by_wado_uri_alone():
    archive = dimse(images="direct", wado_uri_url=WADO)

    assert decide(archive, V4_7_2, retrieval="wado_rs") == (Form.WADO_URI, DIRECT)
    assert decide(dimse(images="direct"), V4_7_2) == (Form.WADO_URI, HUB)


def test_tags_are_overwritten_where_weasis_can():
    assert decide(dicomweb(), V4_7_2, override_tags="0x00100010") == (
        Form.WADO_URI,
        HUB,
    )


@pytest.mark.parametrize(
    ("archive", "template", "version", "why"),
    [
        (dicomweb(), {}, V4_7_2, "image by image: the archive has no WADO-URI address"),
        (
            dicomweb(),
            {},
            V4_6_6,
            "Weasis 4.6.6 can't fetch by WADO-RS, and the archive",
        ),
        (dicomweb(), {}, None, "not known whether the viewer can"),
        (dicomweb(wado_uri_url=WADO), {}, None, "every version of Weasis reads it"),
        (dicomweb(images="gateway"), {}, V4_7_2, "the archive's settings say so"),
        (dicomweb(), {"images": "gateway"}, V4_7_2, "the template says so"),
        (dicomweb(), {"retrieval": "files"}, V4_7_2, "asks for files"),
        (
            dimse(images="gateway"),
            {"transfer_syntax": "1.2"},
            V4_7_2,
            "in no other transfer syntax",
        ),
        (
            dicomweb(images="gateway"),
            {"transfer_syntax": "1.2"},
            V4_7_2,
            "it can't send in the transfer syntax",
        ),
        (dicomweb(authentication="basic"), {}, V4_7_2, "need its password"),
        (dimse(images="direct"), {}, V4_7_2, "can't fetch images by DIMSE"),
        (
            dicomweb(),
            {"retrieval": "wado_rs_series"},
            V4_7_0,
            "only Weasis 4.7.2 fetches whole series",
        ),
        (
            dicomweb(images="gateway"),
            {"retrieval": "wado_rs_study"},
            V4_7_2,
            "go through the hub, by WADO-RS, whole studies at a time",
        ),
        (
            dicomweb(images="gateway"),
            {"retrieval": "wado_rs"},
            V4_6_6,
            "the archive's settings say so, and Weasis 4.6.6 can't fetch by WADO-RS",
        ),
    ],
)
def test_decision_says_why(archive, template, version, why):
    form, reason = retrieval_of(archive, LaunchTemplate(**template), version)

    assert isinstance(form, Form)
    assert why in reason
    assert archive.name in reason
    assert reason.endswith(".")
