"""Verify connection, for DICOMweb: one step after the other, each with its time."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from datetime import UTC, date, datetime, timedelta
from typing import Final
from urllib.parse import urlsplit

from archives.clients.credentials import ClientCredentials, ServiceAccountKey, UserToken
from archives.clients.dicomweb.retrieval import retrieve_instance
from archives.clients.dicomweb.search import DICOM_JSON, Level, Search, path_to
from archives.clients.http import HttpSession
from archives.clients.http_failures import connection_error
from archives.clients.matches import (
    SERIES_INSTANCE_UID,
    SOP_INSTANCE_UID,
    STUDY_DATE,
    STUDY_INSTANCE_UID,
    Attributes,
)
from archives.clients.outgoing import connect
from archives.clients.steps import (
    Action,
    Finding,
    clock_finding,
    image_finding,
    newest_finding,
    take_step,
    tls_finding,
)
from archives.clients.tls import client_context
from archives.entities import InstanceIdentifier, VerificationStep
from archives.errors import ArchiveResponseError

# The newest study is looked for in the last days first: an archive may hold millions.
_DAYS: Final = (7, 365, None)
_STUDIES: Final = 100
_STUDIES_TRIED: Final = 3


async def verify(http: HttpSession) -> tuple[VerificationStep, ...]:
    verification = _Verification(http)
    try:
        return await verification.run()
    finally:
        await verification.close()


async def ask_for_one_study(http: HttpSession) -> None:
    """Whether the archive answers the shortest question there is (PS3.18 10.6)."""
    url = f"{http.endpoint.url}/studies?limit=1"
    async with http.get(url, accept=DICOM_JSON) as answer:
        if answer.status == 404:
            raise ArchiveResponseError(
                f"{http.name} has no DICOMweb service at this address, or no studies: "
                "check the path of the address (HTTP 404).",
                status="404",
            )
        if answer.status >= 400:
            raise ArchiveResponseError(
                f"{http.name} can't answer a search (HTTP {answer.status}). Tell its "
                "administrator.",
                status=str(answer.status),
            )


class _Verification:
    def __init__(self, http: HttpSession) -> None:
        self._http = http
        self._endpoint = http.endpoint
        self._url = urlsplit(http.endpoint.url)
        self._is_https = self._url.scheme == "https"
        self._writer: asyncio.StreamWriter | None = None
        self._studies: list[Attributes] = []

    async def run(self) -> tuple[VerificationStep, ...]:
        """All steps, or those up to the first that fails."""
        actions: list[tuple[str, Action]] = [("Reached", self._reach)]
        if self._is_https:
            actions.append(("TLS", self._start_tls))
        if isinstance(
            self._endpoint.credentials,
            ClientCredentials | ServiceAccountKey | UserToken,
        ):
            actions.append(("Token", self._log_in))
        actions += [
            ("Query", self._query),
            ("Clock", self._compare_clocks),
            ("Image", self._image),
        ]
        steps: list[VerificationStep] = []
        for name, action in actions:
            if name == "Image" and not self._studies:
                break
            steps.append(await take_step(name, action, self._http.deadline()))
            if not steps[-1].is_ok:
                break
        return tuple(steps)

    async def close(self) -> None:
        if self._writer:
            self._writer.close()
            with suppress(OSError):
                await self._writer.wait_closed()

    async def _reach(self) -> Finding:
        host = self._url.hostname or ""
        try:
            port = self._url.port or (443 if self._is_https else 80)
            connection = await connect(
                host,
                port,
                self._endpoint.outgoing,
                timeout=self._endpoint.deadlines.connect,
            )
            _, self._writer = await asyncio.open_connection(sock=connection)
        except (OSError, ValueError, OverflowError) as error:
            raise connection_error(error, self._http.name) from error
        return Finding(f"{host} answers on port {port}.")

    async def _start_tls(self) -> Finding:
        context = client_context(self._endpoint.tls, self._http.name)
        writer = self._writer
        if writer is None:  # steps run in order
            raise ArchiveResponseError(f"{self._http.name} is not connected.")
        try:
            async with asyncio.timeout(self._endpoint.deadlines.association):
                await writer.start_tls(context, server_hostname=self._url.hostname)
        except OSError as error:
            raise connection_error(error, self._http.name) from error
        return tls_finding(writer.get_extra_info("ssl_object"))

    async def _log_in(self) -> Finding:
        await self._http.log_in()
        return Finding("The token server gives the hub a token.")

    async def _query(self) -> Finding:
        for days in _DAYS:
            self._studies = await self._newest(days)
            if self._studies:
                return newest_finding(self._studies[0].get(STUDY_DATE, ""))
        await ask_for_one_study(self._http)
        return Finding("The archive answers, and holds no studies.")

    async def _compare_clocks(self) -> Finding:
        asked = datetime.now(UTC)
        async with self._http.get(
            f"{self._endpoint.url}/studies?limit=1", accept=DICOM_JSON
        ) as answer:
            return clock_finding(answer.header("date"), asked, datetime.now(UTC))

    async def _newest(self, days: int | None) -> list[Attributes]:
        earliest = date.today() - timedelta(days or 0)
        keys = [("StudyDate", f"{earliest:%Y%m%d}-")] if days else []
        answers = await Search(self._http).find(
            Level.STUDIES,
            "studies",
            keys,
            (STUDY_DATE, STUDY_INSTANCE_UID),
            limit=_STUDIES,
        )
        return sorted(
            answers.matches, key=lambda study: study.get(STUDY_DATE, ""), reverse=True
        )

    async def _image(self) -> Finding:
        way = "WADO-URI" if self._endpoint.wado_uri_url else "WADO-RS"
        for study in self._studies[:_STUDIES_TRIED]:
            if identifier := await self._first_instance(study[STUDY_INSTANCE_UID]):
                async with retrieve_instance(self._http, identifier) as stream:
                    size = sum([len(piece) async for piece in stream])
                return image_finding(size, way)
        raise ArchiveResponseError(
            f"{self._http.name} names no image in its newest studies: check that this "
            "account may see series and images."
        )

    async def _first_instance(self, study_uid: str) -> InstanceIdentifier | None:
        path = path_to("studies", study_uid, "series")
        series_uid = await self._first(Level.SERIES, path)
        if not series_uid:
            return None
        path = path_to("studies", study_uid, "series", series_uid, "instances")
        sop_uid = await self._first(Level.INSTANCES, path)
        return InstanceIdentifier(
            study_instance_uid=study_uid,
            series_instance_uid=series_uid,
            sop_instance_uid=sop_uid,
        )

    async def _first(self, level: Level, path: str) -> str:
        tags = (SERIES_INSTANCE_UID, SOP_INSTANCE_UID)
        answers = await Search(self._http).find(level, path, [], tags, limit=1)
        return next((match[level.value] for match in answers.matches), "")
