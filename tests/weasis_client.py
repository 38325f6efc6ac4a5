"""A client that does what Weasis does with a ``weasis://`` address, without a screen.

    python tests/weasis_client.py 'weasis://?...' [--save DIR] [--version 4.7.2]

Reads the commands, fetches the manifests, asks for thumbnails one after the other, then
downloads all images, three series of four images at a time, and checks each of them.
Prints a short report; the exit status is 1 if anything failed. See ``weasis_uri``,
``weasis_manifest`` and ``weasis_http`` for the rules.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import re
import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any
from urllib.parse import quote_plus

if __package__ in {None, ""}:
    sys.path[0] = str(Path(__file__).resolve().parent.parent)

from tests.weasis_addresses import (
    COUNT,
    INSTANCE_FIELDS,
    SERIES_FIELDS,
    STUDY_FIELDS,
    image_url,
    patient_query,
    qido_value,
    repeated_fields,
    request_paths,
    thumbnail_urls,
)
from tests.weasis_http import (
    WADO_RS_ACCEPT,
    DownloadError,
    HttpClient,
    split_multipart,
)
from tests.weasis_manifest import (
    Explorer,
    Instance,
    ManifestError,
    ManifestReader,
    Patient,
    Series,
    Study,
    WadoParameters,
    inline_manifest,
    patient_key,
    request_headers,
)
from tests.weasis_result import Result, check_dicom, report, uid_of
from tests.weasis_uri import Command, Launch, WeasisError, parse_uri

SERIES_AT_ONCE = 3
IMAGES_AT_ONCE = 4
DICOM_JSON = {"Accept": "application/dicom+json"}
Headers = dict[str, str]
HIDDEN = frozenset({"KO", "PR", "SEG", "RTSTRUCT", "RTPLAN", "RTDOSE", "RTRECORD"})


@dataclass
class WeasisClient:
    """One running viewer: ``open`` may be called again, as a second launch does."""

    version: tuple[int, ...] = (4, 7, 2)
    user: str = "radiologist"
    fetch_images: bool = True

    def __post_init__(self) -> None:
        self.explorer = Explorer(self.version)
        self.http = HttpClient(self.version, self.user)
        self.result = Result(Launch([]))
        self._seen: set[str] = set()
        self._found: set[str] = set()  # series of $dicom:rs, until they are fetched
        self._repeats_fields = False

    def open(self, uri: str) -> Result:
        """Run the commands of a URI in their order, to the last image."""
        launch = parse_uri(uri, version=self.version)
        timeout = launch.properties.get("UrlReadTimeout", "")
        if timeout.isdecimal():
            self.http.read_timeout = int(timeout) / 1000
        self.http.user = launch.properties.get("weasis.user", self.user)
        accepted = launch.properties.get("weasis.manifest.accept")
        self.http.wants_json = accepted == "json"
        repeats = launch.properties.get("dicom.qido.query.multi.params")
        self._repeats_fields = repeats == "true"
        self.result = Result(launch, self.explorer.patients, self.explorer.messages)
        self.result.requests = self.http.requests
        self.result.warnings = self.explorer.warnings
        try:
            for command in launch.commands:
                self._run(command)
        finally:
            self.http.close()
        return self.result

    def _run(self, command: Command) -> None:
        match command.name:
            case "dicom:get":
                self._load(command)
            case "dicom:rs":
                self._query(command)
            case "dicom:close":
                self._close(command)

    # $dicom:get

    def _load(self, command: Command) -> None:
        """All manifests of one command are read before its images are asked for."""
        for data in command.values("iwado"):
            self._read(self.http._unzipped("", inline_manifest(data)))
        urls = command.values("wado")
        for attempt in (1, 2):  # one silent retry of the whole list
            try:
                for url in urls:
                    self._read(self.http.get_manifest(url))
                break
            except DownloadError as error:
                if attempt == 2 or not error.is_stream_error:
                    self.result.dialogs.append(f"manifest: {error}")
                    break
        self._download()

    def _read(self, content: bytes) -> None:
        try:
            ManifestReader(self.explorer, self._end_of_arc_query).read(content)
        except ManifestError as error:
            self.result.dialogs.append(str(error))

    def _end_of_arc_query(self, wado: WadoParameters) -> None:
        if wado.is_dicom_web and self.version >= (4, 7, 2):
            self._complete(wado)
        for series in self.explorer.all_series():
            self._thumbnail(series, wado)

    def _thumbnail(self, series: Series, wado: WadoParameters) -> None:
        """Asked from the arcQuery just read, even for series of another one."""
        if series.attributes.get("Modality") in HIDDEN:
            return
        for url in thumbnail_urls(series, wado):
            try:
                answer = self.http.get("thumbnail", url, request_headers(wado))
            except DownloadError:
                continue  # harmless: it is made from the pixels later
            if answer.status == 200:
                self.result.thumbnails[series.series_instance_uid] = answer.body
                return
        if wado.is_dicom_web and wado.is_series_retrieve and not series.instances:
            self._middle_thumbnail(series, wado)

    def _middle_thumbnail(self, series: Series, wado: WadoParameters) -> None:
        """Of a series fetched whole that has no thumbnail: its middle image, rendered."""
        uid = series.series_instance_uid
        root = f"{wado.base_url}/studies/{series.study_instance_uid}/series"
        query = f"{root}?0020000E={uid}&includefield={COUNT}"
        count = self._qido(query, wado, DICOM_JSON)
        middle = sum(int(qido_value(one, COUNT) or 0) for one in count) // 2
        query = f"{root}/{uid}/instances?includefield=00080018&limit=1&offset={middle}"
        for found in self._qido(query, wado, DICOM_JSON):
            url = f"{root}/{uid}/instances/{qido_value(found, '00080018')}/rendered"
            url += "?viewport=256%2C256"
            with contextlib.suppress(DownloadError):
                answer = self.http.get("thumbnail", url, request_headers(wado))
                if answer.status == 200:
                    self.result.thumbnails[uid] = answer.body

    def _complete(self, wado: WadoParameters) -> None:
        """Ask by QIDO-RS for what a DICOM_WEB manifest left out."""
        for patient in list(self.explorer.patients.values()):
            if patient.wado is wado and not patient.studies:
                self._add_studies(patient, wado)
            for study in patient.studies.values():
                if study.wado is wado and not study.series:
                    self._add_series(study, wado, DICOM_JSON)

    def _add_studies(self, patient: Patient, wado: WadoParameters) -> None:
        issuer = quote_plus(patient.attributes.get("IssuerOfPatientID", ""))
        key = patient_query(f"{patient.attributes['PatientID']}^^^{issuer}")
        url = f"{wado.base_url}/studies?{key}&includefield={STUDY_FIELDS}"
        for found in self._qido(url, wado, DICOM_JSON):
            uid = qido_value(found, "0020000D")
            patient.studies[uid] = Study(uid, {}, wado)

    def _add_series(
        self, study: Study, wado: WadoParameters, headers: Headers, extra: str = ""
    ) -> None:
        url = f"{wado.base_url}/studies/{study.study_instance_uid}/series"
        url += f"?includefield={SERIES_FIELDS}{extra}"
        for found in self._qido(url, wado, headers):
            series = self._add_found_series(study, found, wado)
            if self.version < (4, 7, 2):
                self._add_instances(series, headers, extra)

    def _add_instances(self, series: Series, headers: Headers, extra: str) -> None:
        """Before 4.7.2 no series is fetched whole: its images are asked for."""
        url = f"{series.wado.base_url}/studies/{series.study_instance_uid}/series/"
        url += f"{series.series_instance_uid}/instances?includefield={INSTANCE_FIELDS}"
        for found in self._qido(f"{url}{extra}", series.wado, headers):
            self._add_instance(series, found)

    def _add_instance(self, series: Series, found: dict[str, Any]) -> None:
        uid = qido_value(found, "00080018")
        path = f"/studies/{series.study_instance_uid}/series/"
        path += f"{series.series_instance_uid}/instances/{uid}"
        series.instances[uid] = Instance(uid, None, path)

    def _add_found_series(
        self, study: Study, found: dict[str, Any], wado: WadoParameters
    ) -> Series:
        """Retrieve it from where the archive says, else from where it was found."""
        root, studies, _ = qido_value(found, "00081190").partition("/studies/")
        if studies:
            wado = replace(wado, base_url=root)
        uid = qido_value(found, "0020000E")
        attributes = {"Modality": qido_value(found, "00080060")}
        headers = request_headers(wado)
        new = Series(uid, study.study_instance_uid, attributes, wado, headers)
        return study.series.setdefault(uid, new)

    # $dicom:close and $dicom:rs

    def _close(self, command: Command) -> None:
        patients = self.explorer.patients
        closed = set(command.values("patient"))
        for key, patient in list(patients.items()):
            if command.values("all") or patient.attributes.get("PatientID") in closed:
                del patients[key]
                continue
            for uid in command.values("study"):
                patient.studies.pop(uid, None)
            for study in patient.studies.values():
                for uid in command.values("series"):
                    study.series.pop(uid, None)
        kept = {uid for one in self.explorer.all_series() for uid in one.instances}
        self._seen &= kept

    def _query(self, command: Command) -> None:
        if not command.values("url") or not command.values("request"):
            raise WeasisError("dicom:rs needs --url and -r")
        base_url = command.values("url")[0].removesuffix("/")
        both = command.values("header")
        query = header_options([*both, *command.values("query-header")])
        wado = WadoParameters(
            base_url,
            is_dicom_web=True,
            is_series_retrieve=True,
            http_tags=header_options([*both, *command.values("retrieve-header")]),
        )
        extra = "".join(command.values("query-ext")[:1])
        for request in command.values("request"):
            for path in request_paths(request):
                for found in self._qido(f"{base_url}{path}{extra}", None, query):
                    self._add_found(found, wado, query, extra)
        for series in self.explorer.all_series():
            self._thumbnail(series, series.wado)
        self._download()

    def _add_found(
        self, found: dict[str, Any], wado: WadoParameters, headers: Headers, extra: str
    ) -> None:
        """A study with all its series, or only the series that was named."""
        tags = {"PatientID": "00100020", "IssuerOfPatientID": "00100021"}
        tags |= {"PatientName": "00100010"}
        attributes = {name: qido_value(found, tag) for name, tag in tags.items()}
        key = patient_key(attributes)
        patient = self.explorer.patients.setdefault(key, Patient(key, attributes, wado))
        uid = qido_value(found, "0020000D")
        study = patient.studies.setdefault(uid, Study(uid, {}, wado))
        if not qido_value(found, "0020000E"):
            self._add_series(study, wado, headers, extra)
            return
        series = self._add_found_series(study, found, wado)
        self._found.add(series.series_instance_uid)
        if qido_value(found, "00080018"):
            self._add_instance(series, found)
        elif self.version < (4, 7, 2):
            self._add_instances(series, headers, extra)

    def _qido(
        self, url: str, wado: WadoParameters | None, headers: Headers
    ) -> list[dict[str, Any]]:
        """Errors are only logged by Weasis: the user sees nothing."""
        sent = {**headers, **(request_headers(wado) if wado else {})}
        if self._repeats_fields:
            url = repeated_fields(url)
        try:
            answer = self.http.get("query", url, sent)
            if answer.status != 200:
                raise DownloadError(f"status {answer.status}")
            return list(json.loads(answer.body))
        except (DownloadError, ValueError) as error:
            self.result.warnings.append(f"query {url}: {error}")
            return []

    # Images

    def _download(self) -> None:
        """Series whose answers were cut are asked once more for what is missing."""
        if not self.fetch_images:
            return
        with ThreadPoolExecutor(SERIES_AT_ONCE) as pool:
            repeated = list(pool.map(self._download_series, self.explorer.all_series()))
            list(pool.map(self._download_series, filter(None, repeated)))

    def _download_series(self, series: Series) -> Series | None:
        """Returns the series if it has to be repeated."""
        if self._is_bulk(series):
            return series if self._download_bulk(series) else None
        wanted = [
            one for one in series.in_order() if one.sop_instance_uid not in self._seen
        ]
        with ThreadPoolExecutor(IMAGES_AT_ONCE) as pool:
            failed = list(pool.map(lambda one: self._image(series, one), wanted))
        return series if any(failed) else None

    def _image(self, series: Series, instance: Instance) -> bool:
        """Download one; whether its answer was cut."""
        uid = instance.sop_instance_uid
        headers = dict(series.headers)
        if series.wado.is_dicom_web:
            headers.setdefault("Accept", WADO_RS_ACCEPT)
        try:
            answer = self.http.get_ok("image", image_url(series, instance), headers)
            content = answer.body
            # Tags are overwritten in what is taken for a file, parts or not.
            if series.wado.is_dicom_web and not series.wado.overrides_tags:
                parts = split_multipart(answer)
                if len(parts) != 1:
                    raise DownloadError(f"{len(parts)} parts instead of one")
                content = parts[0]
            check_dicom(content, uid)
        except DownloadError as error:
            self.result.images[uid] = error
            return error.is_stream_error
        self.result.images[uid] = content
        self._seen.add(uid)
        return False

    def _is_bulk(self, series: Series) -> bool:
        """Whether it is fetched whole, at first: of $dicom:rs even if images are known."""
        wado, uid = series.wado, series.series_instance_uid
        is_whole = wado.is_dicom_web and wado.is_series_retrieve
        is_new = not series.instances or uid in self._found
        return is_whole and is_new and self.version >= (4, 7, 2)

    def _download_bulk(self, series: Series) -> bool:
        """A whole series as one multipart answer; what it lacks is asked one by one."""
        root = f"{series.wado.base_url}/studies/{series.study_instance_uid}/series"
        uid = series.series_instance_uid
        self._found.discard(uid)
        query = f"{root}?0020000E={uid}&includefield={COUNT}"
        count = self._qido(query, series.wado, DICOM_JSON)
        expected = sum(int(qido_value(one, COUNT) or 0) for one in count)
        headers = {"Accept": WADO_RS_ACCEPT, **series.headers}
        url = f"{root}/{uid}{series.wado.additional_parameters}"
        try:
            parts = split_multipart(self.http.get_ok("image", url, headers))
            received = {uid_of(part): part for part in parts}
        except DownloadError as error:
            received = {}
            self.result.warnings.append(f"series {uid}: {error}")
        self.result.images.update(received)
        self._seen |= received.keys()
        if len(received) >= expected:
            return False
        fields = "includefield=00080016,00080018,00200013&offset=0&limit=1000"
        if not series.instances:
            url = f"{root}/{uid}/instances?{fields}"
            for found in self._qido(url, series.wado, DICOM_JSON):
                self._add_instance(series, found)
        return bool(series.instances)


def header_options(texts: list[str]) -> Headers:
    """``Name: value`` of ``-H``, ``--query-header`` and ``--retrieve-header``."""
    pairs = (text.partition(":")[::2] for text in texts)
    return {name.strip().lower(): value.strip() for name, value in pairs}


def open_uri(uri: str, version: str = "4.7.2", *, fetch_images: bool = True) -> Result:
    """Start a viewer of this version with this address, and let it finish."""
    numbers = tuple(map(int, version.split(".")))
    return WeasisClient(numbers, fetch_images=fetch_images).open(uri)


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description="Open a weasis:// address.")
    parser.add_argument("uri")
    parser.add_argument("--save", type=Path, help="write the images to this directory")
    parser.add_argument("--version", default="4.7.2", help="the version of Weasis")
    options = parser.parse_args(arguments)
    try:
        result = open_uri(options.uri, options.version)
    except WeasisError as error:
        print(f"Weasis refuses the address: {error}")
        return 1
    if options.save:
        options.save.mkdir(parents=True, exist_ok=True)
        for uid, content in result.downloaded.items():
            name = re.sub(r"[^0-9.]", "_", uid)
            (options.save / f"{name}.dcm").write_bytes(content)
    return report(result)


if __name__ == "__main__":
    sys.exit(main())
