"""The client that all end-to-end tests go through has to be as strict as the viewer."""

from __future__ import annotations

import gzip
import subprocess
import sys
import threading
from base64 import b64encode
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import parse_qs, quote_plus, urlsplit

import pytest
from pydicom.data import get_testdata_file

from tests.dicom_files import DicomFiles, StoredStudy
from tests.weasis_client import WeasisClient, open_uri
from tests.weasis_http import JDK_ACCEPT, DownloadError
from tests.weasis_manifest import Explorer, ManifestError, ManifestReader
from tests.weasis_uri import WeasisError, parse_uri, split_configuration, split_words

Reply = Callable[[BaseHTTPRequestHandler], None]
UID = "1.3.6.1.4.1.5962.1.1.1.1.1.20040119072730.12322"
CT_SMALL = Path(str(get_testdata_file("CT_small.dcm", download=False))).read_bytes()


class Site:
    """A web server on loopback whose pages are functions of this test."""

    def __init__(self) -> None:
        self.pages: dict[str, Reply] = {}
        self.seen: list[tuple[str, dict[str, str]]] = []
        site = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self) -> None:
                site.seen.append((self.path, dict(self.headers)))
                page = site.pages.get(urlsplit(self.path).path)
                if page is None:
                    reply(self, b"", status=404)
                else:
                    page(self)

            def log_message(self, *arguments: object) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.02,))
        self._thread.start()

    def close(self) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()

    def paths(self, prefix: str = "") -> list[str]:
        return [path for path, _ in self.seen if path.startswith(prefix)]


def reply(
    handler: BaseHTTPRequestHandler,
    body: bytes,
    *,
    status: int = 200,
    announced: int | None = None,
    **headers: str,
) -> None:
    handler.send_response(status)
    length = len(body) if announced is None else announced
    handler.send_header("Content-Length", str(length))
    for name, value in headers.items():
        handler.send_header(name.replace("_", "-"), value)
    handler.end_headers()
    handler.wfile.write(body)
    handler.close_connection = announced is not None


def page(body: bytes | str, **options: str) -> Reply:
    content = body.encode() if isinstance(body, str) else body
    return lambda handler: reply(handler, content, **options)  # type: ignore[arg-type]


@pytest.fixture
def site() -> Iterator[Site]:
    opened = Site()
    yield opened
    opened.close()


def manifest(
    site: Site,
    instances: str = f'<Instance SOPInstanceUID="{UID}" InstanceNumber="1"/>',
    *,
    query: str = "",
    tags: str = '<httpTag key="Authorization" value="Bearer t"/>',
    base: str = "/wado",
) -> str:
    return f"""<?xml version="1.0" encoding="UTF-8"?>
        <manifest xmlns="http://www.weasis.org/xsd/2.5">
        <arcQuery arcId="a" baseUrl="{site.url}{base}" {query}>{tags}
        <Patient PatientID="1" PatientName="A^B"><Study StudyInstanceUID="1.2">
        <Series SeriesInstanceUID="1.2.3" Modality="CT">{instances}</Series>
        </Study></Patient></arcQuery></manifest>"""


def weasis_uri(*commands: str) -> str:
    return "weasis://?" + quote_plus(" ".join(commands), safe="")


def get(site: Site, path: str = "/m/1") -> str:
    return weasis_uri(f'$dicom:get -w "{site.url}{path}"')


# The address


def test_uri_is_decoded_once_and_split_into_commands() -> None:
    launch = parse_uri(
        weasis_uri(
            "$dicom:close --all",
            "$dicom:get -w 'http://h/m?a=1%2F2' -w \"http://h/n\"",
            '$weasis:config pro="weasis.user jane doe" cdb="http://h/weasis"',
        )
    )

    assert [command.name for command in launch.commands] == ["dicom:close", "dicom:get"]
    assert launch.commands[0].options == {"all": [""]}
    assert launch.commands[1].values("wado") == ["http://h/m?a=1%2F2", "http://h/n"]
    assert launch.properties == {"weasis.user": "jane doe"}
    assert launch.configuration["cdb"] == ["http://h/weasis"]


def test_uri_plus_is_a_space() -> None:
    launch = parse_uri("weasis://?%24dicom:close+-p+%22A%2BB%22")

    assert launch.commands[0].values("patient") == ["A+B"]


@pytest.mark.parametrize(
    "uri",
    [
        "WEASIS://?%24dicom%3Aclose+--all",
        "http://example.org/",
        "weasis://?%24dicom%3Aclose+%ZZ",
        weasis_uri('$weasis:config user="jane"'),
        weasis_uri("$weasis:config pro='weasis.user jane' cdb"),
        weasis_uri('$dicom:get -w "http://h/a%20b"'),
        weasis_uri("$dicom:get -w http://h/?a=1"),
        weasis_uri("$dicom:get -w http://h/a&b"),
        weasis_uri('$dicom:get -w "http://h/a'),
        weasis_uri("$dicom:get -w"),
        weasis_uri("$dicom:get http://h/a"),
        weasis_uri("$dicom:get --nothing x"),
        weasis_uri("$dicom:load -w x"),
        weasis_uri('$dicom:get -w "http://h/a"\n$dicom:close --all'),
    ],
)
def test_uri_that_weasis_refuses_is_refused(uri: str) -> None:
    with pytest.raises(WeasisError):
        parse_uri(uri)


def test_uri_with_dollar_in_a_value_falls_apart() -> None:
    with pytest.raises(WeasisError):
        parse_uri(weasis_uri('$dicom:get -w "http://h/$a"'))


def test_windows_drops_the_slash_that_browsers_add() -> None:
    launch = parse_uri(weasis_uri("$dicom:close --all") + "/", windows=True)

    assert launch.commands[0].options == {"all": [""]}


def test_configuration_without_quotes_is_one_argument() -> None:
    assert split_configuration(' cdb=https://a pro="k v"') == [
        'cdb=https://a pro="k v"'
    ]
    assert split_configuration(' cdb="https://a" pro="k v"') == [
        'cdb="https://a"',
        'pro="k v"',
    ]
    launch = parse_uri(weasis_uri('$weasis:config cdb=https://a pro="k v"'))
    assert launch.configuration == {"cdb": ['https://a pro="k v']}


def test_configuration_keeps_single_quotes_and_loses_backslashes() -> None:
    launch = parse_uri(weasis_uri(r"""$weasis:config pro='a b' cdb="C:\x" """))

    assert launch.configuration == {"pro": ["'a b'"], "cdb": ["C:x"]}


def test_configuration_is_used_once_and_arg_is_a_command() -> None:
    launch = parse_uri(
        weasis_uri('$weasis:config arg="dicom:close --all"', "$weasis:ui -v")
    )

    assert [command.name for command in launch.commands] == ["weasis:ui", "dicom:close"]


def test_configuration_rejects_protected_properties_since_4_7_2() -> None:
    uri = weasis_uri(
        r'$weasis:config pro="java.io.tmpdir x" pro="weasis.user A/B" pro="a 1"'
    )

    assert parse_uri(uri).rejected_properties == ["java.io.tmpdir", "weasis.user"]
    assert parse_uri(uri, version=(4, 7, 1)).rejected_properties == []


def test_words_join_quoted_parts() -> None:
    assert list(split_words("""a:b --c="d e"'f'\\%g --h "i" """)) == [
        "a:b",
        "--c=d ef%g",
        "--h",
        "i",
    ]


# The manifest


def read(content: str, version: tuple[int, ...] = (4, 7, 2)) -> Explorer:
    explorer = Explorer(version)
    ManifestReader(explorer).read(content.encode())
    return explorer


def test_manifest_ignores_namespace_but_not_case(site: Site) -> None:
    assert len(read(manifest(site)).all_series()) == 1
    assert (
        read(
            manifest(site)
            .replace("Patient ", "patient ")
            .replace("</Patient>", "</patient>")
        ).patients
        == {}
    )


def test_manifest_header_after_the_patient_is_not_used(site: Site) -> None:
    early = manifest(site)
    tag = '<httpTag key="Authorization" value="Bearer t"/>'
    late = early.replace(tag, "").replace("</Patient>", f"</Patient>{tag}")

    assert read(early).all_series()[0].headers == {"Authorization": "Bearer t"}
    assert read(late).all_series()[0].headers == {}


def test_manifest_web_login_replaces_authorization(site: Site) -> None:
    text = manifest(site, query='webLogin="dTpw"')

    assert read(text).all_series()[0].headers == {"Authorization": "Basic dTpw"}


@pytest.mark.parametrize(
    ("version", "attribute"),
    [((4, 6, 6), "additionnalParameters"), ((4, 7, 0), "additionalParameters")],
)
def test_manifest_additional_parameters_changed_their_spelling(
    site: Site, version: tuple[int, ...], attribute: str
) -> None:
    other = {"additionnalParameters", "additionalParameters"} - {attribute}
    text = manifest(site, query=f'{attribute}="&amp;a=1" {other.pop()}="&amp;b=2"')

    assert read(text, version).all_series()[0].wado.additional_parameters == "&a=1"


@pytest.mark.parametrize(
    "text",
    [
        "",
        "<html>",
        " <?xml version='1.0'?><manifest/>",
        "<manifest><arcQuery arcId='a'/></manifest>",
        "<manifest><arcQuery baseUrl='http://h/{x}'/></manifest>",
        "<manifest><arcQuery baseUrl=''><httpTag key='a b' value=''/></arcQuery></manifest>",
        "<!DOCTYPE m [<!ENTITY e 'x'>]><manifest>&e;</manifest>",
    ],
)
def test_manifest_that_shows_a_dialog_raises(text: str) -> None:
    with pytest.raises(ManifestError):
        read(text)


def test_manifest_keeps_what_came_before_an_error(site: Site) -> None:
    explorer = Explorer()
    with pytest.raises(ManifestError):
        ManifestReader(explorer).read(manifest(site).encode()[:-20])

    assert len(explorer.all_series()) == 1


def test_manifest_messages_need_title_and_description() -> None:
    explorer = read(
        """<manifest><Message title="t" description="d"/><arcQuery baseUrl="">
        <Message title="t" description=" "/>
        <Message title="t" description="d" severity="ERROR"/>
        <Message title="t" description="e" severity="error"/></arcQuery></manifest>"""
    )

    assert [(one.description, one.severity) for one in explorer.messages] == [
        ("d", "ERROR"),
        ("e", "WARN"),
    ]


def test_manifest_patients_are_one_by_id_issuer_and_name(site: Site) -> None:
    explorer = read(manifest(site))
    again = manifest(site).replace('"A^B"', '" a^b "')
    ManifestReader(explorer).read(again.encode())
    assert len(explorer.patients) == 1

    issuer = manifest(site).replace('"A^B"', '"A^B" IssuerOfPatientID="X"')
    ManifestReader(explorer).read(issuer.encode())
    assert len(explorer.patients) == 2


def test_manifest_series_of_another_base_url_is_skipped(site: Site) -> None:
    explorer = read(manifest(site))
    other = manifest(site, '<Instance SOPInstanceUID="9.9"/>', base="/other")
    ManifestReader(explorer).read(other.encode())

    [series] = explorer.all_series()
    assert list(series.instances) == [UID]
    assert "unique within a DICOM Series" in explorer.warnings[0]


def test_manifest_series_of_the_same_base_url_keeps_old_headers(site: Site) -> None:
    explorer = read(manifest(site))
    tags = '<httpTag key="Authorization" value="Bearer new"/>'
    other = manifest(site, '<Instance SOPInstanceUID="9.9"/>', tags=tags)
    ManifestReader(explorer).read(other.encode())

    [series] = explorer.all_series()
    assert list(series.instances) == [UID, "9.9"]
    assert series.headers == {"Authorization": "Bearer t"}


def test_manifest_in_json_since_4_7_2(site: Site) -> None:
    text = f"""{{"manifest": {{"arcQuery": {{"baseUrl": "{site.url}", "Patient":
        {{"PatientID": "1", "Study": [{{"StudyInstanceUID": "1.2", "Series":
        {{"SeriesInstanceUID": "3", "Instance": [{{"SOPInstanceUID": "4"}}]}}}}]}},
        "httpTag": {{"key": "a", "value": "b"}}}}}}}}"""

    assert read(text).all_series()[0].headers == {"a": "b"}
    with pytest.raises(ManifestError):
        read(text, (4, 7, 1))


# Fetching it


@pytest.mark.parametrize("version", ["4.5.0", "4.6.6", "4.7.0", "4.7.2"])
def test_client_downloads_with_the_headers_of_its_version(
    site: Site, version: str
) -> None:
    site.pages = {"/m/1": page(manifest(site)), "/wado": page(CT_SMALL)}

    result = open_uri(get(site), version)

    assert result.failures == []
    assert result.downloaded == {UID: CT_SMALL}
    (_, asked), _, (path, image) = site.seen
    assert asked["User-Agent"].startswith(f"Weasis/{version} (")
    assert f"rv:{version})" in asked["User-Agent"]
    assert asked["Weasis-User"] == "radiologist"
    assert asked.get("Accept-Encoding") == ("gzip" if version == "4.7.2" else None)
    assert (asked["Accept"] == "application/xml") == (version == "4.7.2")
    assert path == (
        f"/wado?requestType=WADO&studyUID=1.2&seriesUID=1.2.3&objectUID={UID}"
        "&contentType=application%2Fdicom"
    )
    assert image["Authorization"] == "Bearer t"
    assert "Accept" not in image
    assert ("Upgrade" in image) == (version >= "4.7")


def test_client_asks_thumbnails_first_with_their_odd_parameters(site: Site) -> None:
    query = 'additionalParameters="&amp;transferSyntax=x&amp;y=1"'
    query += ' requireOnlySOPInstanceUID="true"'
    site.pages = {"/m/1": page(manifest(site, query=query)), "/wado": page(CT_SMALL)}

    open_uri(get(site))

    [_, thumbnail, image] = site.paths()
    assert thumbnail == (
        f"/wado?requestType=WADO&studyUID=&seriesUID=&objectUID={UID}"
        "&contentType=image/jpeg&imageQuality=75&rows=256&columns=256&&y=1"
    )
    assert image.endswith(
        f"WADO&objectUID={UID}&contentType=application%2Fdicom&transferSyntax=x&y=1"
    )


def test_client_asks_every_archive_for_thumbnails_of_all_before(site: Site) -> None:
    first = manifest(site)
    second = first.replace("/wado", "/other").replace("1.2", "5.6").replace(UID, "7.8")
    body = second[second.index("<arcQuery") : second.index("</manifest>")]
    site.pages = {"/m/1": page(first.replace("</manifest>", body + "</manifest>"))}

    open_uri(get(site))

    thumbnails = [path for path in site.paths() if "image/jpeg" in path]
    assert [urlsplit(path).path for path in thumbnails] == ["/wado", "/other", "/other"]


def test_client_asks_no_thumbnail_of_hidden_series(site: Site) -> None:
    text = manifest(site).replace('"CT"', '"KO"')
    site.pages = {"/m/1": page(text), "/wado": page(CT_SMALL)}

    open_uri(get(site))

    assert len(site.paths("/wado")) == 1


@pytest.mark.parametrize(
    ("version", "path", "is_read"),
    [
        ("4.7.2", "/m/1", True),
        ("4.7.2", "/m/1.xml", True),
        ("4.6.6", "/m/1", True),
        ("4.6.6", "/m/1.xml", False),
    ],
)
def test_client_unzips_by_the_rules_of_its_version(
    site: Site, version: str, path: str, is_read: bool
) -> None:
    text = gzip.compress(manifest(site).encode())
    site.pages = {path: page(text), "/wado": page(CT_SMALL)}

    result = open_uri(get(site, path), version)

    assert bool(result.downloaded) == is_read
    assert bool(result.dialogs) != is_read


def test_client_repeats_a_failed_list_once(site: Site) -> None:
    replies = [page(b"", status=503), page(manifest(site))]  # type: ignore[arg-type]
    site.pages = {"/m/1": lambda handler: replies.pop(0)(handler)}
    site.pages["/wado"] = page(CT_SMALL)
    assert open_uri(get(site)).failures == []

    result = open_uri(get(site, "/nothing"))

    assert len(site.paths("/nothing")) == 2
    assert result.dialogs == ["manifest: server response: 404"]


def test_client_repeats_when_the_body_is_cut(site: Site) -> None:
    text = manifest(site).encode()
    replies = [
        lambda handler: reply(handler, text[:50], announced=len(text)),
        page(text),
    ]
    site.pages = {"/m/1": lambda handler: replies.pop(0)(handler)}
    site.pages["/wado"] = page(CT_SMALL)

    assert open_uri(get(site)).failures == []


def test_client_follows_redirects_of_the_manifest(site: Site) -> None:
    site.pages = {
        "/m/1": page(b"", status=302, Location="/m/2"),  # type: ignore[arg-type]
        "/m/2": page(manifest(site)),
        "/wado": page(CT_SMALL),
    }

    assert open_uri(get(site)).failures == []


def test_client_shows_a_dialog_for_an_empty_manifest(site: Site) -> None:
    site.pages = {"/m/1": page(b"", status=204)}  # type: ignore[arg-type]

    result = open_uri(get(site))

    assert len(result.dialogs) == 1
    assert len(site.seen) == 1


def test_client_gives_up_after_silence(site: Site) -> None:
    release = threading.Event()
    site.pages = {"/m/1": lambda handler: release.wait(20) and None}
    client = WeasisClient()
    client.http.read_timeout = 0.05

    result = client.open(get(site))
    release.set()

    assert "timed out" in result.dialogs[0]
    assert len(site.seen) == 2


def test_client_reads_a_manifest_that_dribbles(site: Site) -> None:
    def dribble(handler: BaseHTTPRequestHandler) -> None:
        declaration, _, rest = manifest(site).partition("\n")
        handler.send_response(200)
        handler.send_header("Transfer-Encoding", "chunked")
        handler.end_headers()
        for piece in (declaration, " ", "\n  ", rest):
            handler.wfile.write(f"{len(piece.encode()):x}\r\n{piece}\r\n".encode())
        handler.wfile.write(b"0\r\n\r\n")

    site.pages = {"/m/1": dribble, "/wado": page(CT_SMALL)}

    assert open_uri(get(site)).failures == []


def test_client_takes_inline_manifests(site: Site) -> None:
    site.pages = {"/wado": page(CT_SMALL)}
    data = b64encode(gzip.compress(manifest(site).encode())).decode()

    result = open_uri(weasis_uri(f'$dicom:get -i "{data}"'))

    assert list(result.downloaded) == [UID]


# Images


@pytest.mark.parametrize("status", [204, 206, 401, 404, 500])
def test_client_counts_only_status_200(site: Site, status: int) -> None:
    site.pages = {
        "/m/1": page(manifest(site)),
        "/wado": page(b"" if status == 204 else CT_SMALL, status=status),  # type: ignore[arg-type]
    }

    result = open_uri(get(site))

    assert str(status) in str(result.images[UID])
    assert len(site.paths("/wado")) == 2  # a thumbnail, and no second try


def test_client_refuses_another_instance_and_no_dicom(site: Site) -> None:
    text = manifest(site, '<Instance SOPInstanceUID="1.2.3.4"/>')
    site.pages = {"/m/1": page(text), "/wado": page(CT_SMALL)}
    assert "another instance" in str(open_uri(get(site)).images["1.2.3.4"])

    site.pages["/wado"] = page("<html>Please log in</html>")
    assert "not DICOM" in str(open_uri(get(site)).images["1.2.3.4"])


def test_client_repeats_a_cut_image_once(site: Site) -> None:
    images = [
        lambda handler: reply(handler, CT_SMALL[:999], announced=len(CT_SMALL)),
        page(CT_SMALL),
    ]
    site.pages = {
        "/m/1": page(manifest(site).replace('"CT"', '"KO"')),
        "/wado": lambda handler: images.pop(0)(handler),
    }

    assert list(open_uri(get(site)).downloaded) == [UID]
    assert images == []


def test_client_cannot_send_restricted_headers(site: Site) -> None:
    text = manifest(site, tags='<httpTag key="Host" value="h"/>')
    site.pages = {"/m/1": page(text), "/wado": page(CT_SMALL)}

    assert "restricted" in str(open_uri(get(site)).images[UID])


def test_client_asks_twelve_images_at_a_time(site: Site) -> None:
    together = threading.Barrier(12, timeout=10)
    series = "".join(
        f'<Series SeriesInstanceUID="1.{number}" Modality="KO">'
        + "".join(f'<Instance SOPInstanceUID="{number}.{n}"/>' for n in range(4))
        + "</Series>"
        for number in range(3)
    )
    text = manifest(site).partition("<Series")[0] + series
    text += "</Study></Patient></arcQuery></manifest>"

    def image(handler: BaseHTTPRequestHandler) -> None:
        together.wait()  # breaks unless all twelve are here
        reply(handler, CT_SMALL)

    site.pages = {"/m/1": page(text), "/wado": image}

    result = open_uri(get(site))

    assert len(site.paths("/wado")) == 12
    assert all("another instance" in str(one) for one in result.images.values())


def test_client_asks_present_images_only_once(site: Site) -> None:
    site.pages = {"/m/1": page(manifest(site)), "/wado": page(CT_SMALL)}
    client = WeasisClient()
    client.open(get(site))
    before = len([path for path in site.paths("/wado") if "dicom" in path])

    client.open(get(site))
    after = len([path for path in site.paths("/wado") if "dicom" in path])
    client.open(weasis_uri("$dicom:close -y 1.2", f'$dicom:get -w "{site.url}/m/1"'))
    closed = len([path for path in site.paths("/wado") if "dicom" in path])

    assert (before, after, closed) == (1, 1, 2)


def multipart(*contents: bytes) -> Reply:
    body = b"".join(
        b"--b\r\nContent-Type: application/dicom\r\n\r\n" + one + b"\r\n"
        for one in contents
    )
    kind = 'multipart/related; type="application/dicom"; boundary=b'
    return page(body + b"--b--\r\n", Content_Type=kind)


def test_client_takes_wado_rs_per_instance(site: Site) -> None:
    path = f"/studies/1.2/series/1.2.3/instances/{UID}"
    instance = f'<Instance SOPInstanceUID="{UID}" DirectDownloadFile="{path}"/>'
    text = manifest(site, instance, query='queryMode="DICOM_WEB"', base="/rs")
    site.pages = {"/m/1": page(text), f"/rs{path}": multipart(CT_SMALL)}

    result = open_uri(get(site))

    assert result.downloaded == {UID: CT_SMALL}
    assert site.paths("/rs")[:2] == [
        f"/rs{path}/thumbnail?viewport=256%2C256",
        f"/rs{path}/rendered?viewport=256%2C256",
    ]
    assert site.seen[-1][1]["Accept"].startswith("multipart/related;")
    assert "not DICOM" in str(open_uri(get(site), "4.6.6").images[UID])


def test_client_takes_parts_for_a_file_where_it_overwrites_tags(site: Site) -> None:
    path = f"/studies/1.2/series/1.2.3/instances/{UID}"
    instance = f'<Instance SOPInstanceUID="{UID}" DirectDownloadFile="{path}"/>'
    query = 'queryMode="DICOM_WEB" overrideDicomTagsList="0x00100010"'
    text = manifest(site, instance, query=query, base="/rs")
    site.pages = {"/m/1": page(text), f"/rs{path}": multipart(CT_SMALL)}

    assert "not DICOM" in str(open_uri(get(site)).images[UID])


@pytest.mark.parametrize(
    ("version", "accept"), [("4.7.2", "application/json"), ("4.7.1", JDK_ACCEPT)]
)
def test_client_asks_for_json_where_it_is_told_to(
    site: Site, version: str, accept: str
) -> None:
    site.pages = {"/m/1": page(manifest(site)), "/wado": page(CT_SMALL)}
    command = f'$dicom:get -w "{site.url}/m/1"'

    open_uri(
        weasis_uri(command, '$weasis:config pro="weasis.manifest.accept json"'), version
    )

    assert site.seen[0][1]["Accept"] == accept


def test_client_repeats_parameters_where_it_is_told_to(site: Site) -> None:
    site.pages = {"/rs/studies": qido()}
    command = f'$dicom:rs --url "{site.url}/rs" -r "studyUID=1.2" --query-ext "&a=b"'

    open_uri(
        weasis_uri('$weasis:config pro="dicom.qido.query.multi.params true"', command)
    )

    query = parse_qs(urlsplit(site.seen[0][0]).query)
    assert len(query["includefield"]) == 13
    assert query["a"] == ["b"]


@pytest.mark.parametrize(("name", "count"), [("seriesUID", 5), ("objectUID", 7)])
def test_client_appends_a_list_to_repeated_parameters(
    site: Site, name: str, count: int
) -> None:
    site.pages = {"/rs/series": qido(), "/rs/instances": qido()}
    command = f'$dicom:rs --url "{site.url}/rs" -r "{name}=1.2"'

    open_uri(
        weasis_uri('$weasis:config pro="dicom.qido.query.multi.params true"', command)
    )

    fields = parse_qs(urlsplit(site.seen[0][0]).query)["includefield"]
    assert len(fields) == 13
    assert [len(each.split(",")) for each in fields] == [1] * 12 + [count]


def test_client_refuses_a_multipart_without_its_end(site: Site) -> None:
    path = f"/studies/1.2/series/1.2.3/instances/{UID}"
    instance = f'<Instance SOPInstanceUID="{UID}" DirectDownloadFile="{path}"/>'
    text = manifest(site, instance, query='queryMode="DICOM_WEB"', base="/rs")
    kind = "multipart/related; boundary=b"
    cut = b"--b\r\n\r\n" + CT_SMALL
    site.pages = {"/m/1": page(text), f"/rs{path}": page(cut, Content_Type=kind)}

    assert isinstance(open_uri(get(site)).images[UID], DownloadError)


def qido(*found: dict[str, str]) -> Reply:
    items = ",".join(
        "{"
        + ",".join(f'"{t}":{{"vr":"UI","Value":["{v}"]}}' for t, v in one.items())
        + "}"
        for one in found
    )
    return page(f"[{items}]", Content_Type="application/dicom+json")


def test_client_completes_a_manifest_of_studies(site: Site) -> None:
    query = 'queryMode="DICOM_WEB" seriesRetrieve="true"'
    text = manifest(site, query=query, base="/rs")
    text = text[: text.index("<Series")] + text[text.index("</Study>") :]
    site.pages = {
        "/m/1": page(text),
        "/rs/studies/1.2/series": qido(
            {"0020000E": "1.2.3", "00080060": "CT", "00201209": "1"}
        ),
        "/rs/studies/1.2/series/1.2.3": multipart(CT_SMALL),
    }

    assert open_uri(get(site)).downloaded == {UID: CT_SMALL}
    assert open_uri(get(site), "4.7.1").images == {}


def test_client_queries_by_dicom_rs(site: Site) -> None:
    site.pages = {
        "/rs/studies": qido({"0020000D": "1.2", "00100020": "A"}),
        "/rs/studies/1.2/series": qido(
            {"0020000E": "1.2.3", "00080060": "CT", "00201209": "1"}
        ),
        "/rs/studies/1.2/series/1.2.3": multipart(CT_SMALL),
    }
    command = f'$dicom:rs --url "{site.url}/rs/" -r "patientID=A B^^^HOSP"'
    command += ' -H "Authorization: Bearer x" --query-ext "&limit=9"'

    result = open_uri(weasis_uri(command))

    assert result.downloaded == {UID: CT_SMALL}
    path, headers = site.seen[0]
    query = parse_qs(urlsplit(path).query)
    assert query["00100020"] == ["A B"]
    assert query["00100021"] == ["HOSP"]
    assert query["limit"] == ["9"]
    assert "Accept" not in headers
    assert all(sent["authorization"] == "Bearer x" for _, sent in site.seen)


def test_client_asks_one_by_one_for_what_the_bulk_lacked(site: Site) -> None:
    site.pages = {
        "/rs/studies": qido({"0020000D": "1.2"}),
        "/rs/studies/1.2/series": qido({"0020000E": "1.2.3", "00201209": "1"}),
        "/rs/studies/1.2/series/1.2.3": multipart(),
        "/rs/studies/1.2/series/1.2.3/instances": qido({"00080018": UID}),
        f"/rs/studies/1.2/series/1.2.3/instances/{UID}": multipart(CT_SMALL),
    }

    result = open_uri(weasis_uri(f'$dicom:rs --url "{site.url}/rs" -r "studyUID=1.2"'))

    assert result.downloaded == {UID: CT_SMALL}


# As a program


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    script = Path(__file__).with_name("weasis_client.py")
    command = [sys.executable, str(script), *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=60)


def test_program_saves_images(site: Site, tmp_path: Path) -> None:
    site.pages = {"/m/1": page(manifest(site)), "/wado": page(CT_SMALL)}

    done = run(get(site), "--save", str(tmp_path), "--version", "4.7.0")

    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == (
        "Patients: 1, studies: 1, series: 1; 1 of 1 images downloaded and right\n"
    )
    assert (tmp_path / f"{UID}.dcm").read_bytes() == CT_SMALL


def test_program_fails_with_a_message(site: Site) -> None:
    text = """<manifest><arcQuery baseUrl=""><Message title="PACS" severity="ERROR"
        description="is down"/></arcQuery></manifest>"""
    site.pages = {"/m/1": page(text)}

    done = run(get(site))

    assert done.returncode == 1
    assert "ERROR: PACS: is down" in done.stdout


def test_program_refuses_what_weasis_refuses() -> None:
    done = run(weasis_uri('$weasis:config user="jane"'))

    assert done.returncode == 1
    assert "refuses" in done.stdout


# Against a real archive


@pytest.mark.parametrize("key", ["ct", "compressed", "us"])
def test_client_reads_an_archive_by_dicom_rs(orthanc, key: str) -> None:  # type: ignore[no-untyped-def]
    files: DicomFiles = orthanc.dataset
    study: StoredStudy = files.study(key)
    command = f'$dicom:rs --url "{orthanc.dicomweb_url}"'
    command += f' -r "studyUID={study.study_instance_uid}"'

    result = open_uri(weasis_uri(command))

    assert result.downloaded.keys() == study.sop_instance_uids
