""" "Verify connection", step by step, on associations of its own."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Final

from archives.clients import matches as tags
from archives.clients.base import DimseEndpoint
from archives.clients.dimse.association import Association
from archives.clients.dimse.connection import connect
from archives.clients.dimse.keys import (
    IMAGE,
    INSTANCE_KEYS,
    SERIES,
    SERIES_KEYS,
    STUDY,
    STUDY_KEYS,
    Keys,
    date_range,
)
from archives.clients.dimse.negotiation import query_proposal
from archives.clients.dimse.operations import echo
from archives.clients.dimse.queries import Queries, within
from archives.clients.dimse.retrievals import retrieve_instance
from archives.clients.matches import Attributes
from archives.clients.steps import (
    Action,
    Finding,
    image_finding,
    newest_finding,
    take_step,
    tls_finding,
)
from archives.entities import InstanceIdentifier, VerificationStep
from archives.errors import ArchiveResponseError

# The newest study is looked for in the last days first: an archive may hold millions.
_DAYS: Final = (30, 365, None)
_STUDIES: Final = 100


async def verify(endpoint: DimseEndpoint) -> tuple[VerificationStep, ...]:
    """All steps, or those up to the first that fails."""
    verification = _Verification(endpoint)
    try:
        return await verification.run()
    finally:
        await verification.close()


async def ask_for_echo(endpoint: DimseEndpoint) -> None:
    """C-ECHO (PS3.4 A.4) on an association of its own."""
    association = await connect(endpoint, query_proposal(endpoint.root))
    try:
        await association.negotiate()
        await echo(association)
    finally:
        await association.release()


class _Verification:
    def __init__(self, endpoint: DimseEndpoint) -> None:
        self._endpoint = endpoint
        self._association: Association | None = None
        self._newest: Attributes | None = None

    async def run(self) -> tuple[VerificationStep, ...]:
        actions: list[tuple[str, Action]] = [("Reached", self._reach)]
        if self._endpoint.tls is not None:
            actions.append(("TLS", self._tls))
        actions += [
            ("Association", self._associate),
            ("Echo", self._echo),
            ("Query", self._query),
            ("Image", self._image),
        ]
        steps: list[VerificationStep] = []
        for name, action in actions:
            if name == "Image" and self._newest is None:
                break
            steps.append(await take_step(name, action, within(self._endpoint)))
            if not steps[-1].is_ok:
                break
        return tuple(steps)

    async def close(self) -> None:
        if self._association is not None:
            await self._association.release()

    async def _reach(self) -> Finding:
        endpoint = self._endpoint
        proposal = query_proposal(endpoint.root)
        self._association = await connect(endpoint, proposal)
        secure = " with TLS" if endpoint.tls is not None else ""
        return Finding(f"{endpoint.host} answers on port {endpoint.port}{secure}.")

    async def _tls(self) -> Finding:
        assert self._association is not None  # noqa: S101 - the step before made it
        return tls_finding(self._association.tls)

    async def _associate(self) -> Finding:
        assert self._association is not None  # noqa: S101 - the step before made it
        await self._association.negotiate()
        endpoint = self._endpoint
        return Finding(
            f"{endpoint.called_ae_title} accepts {endpoint.calling_ae_title}."
        )

    async def _echo(self) -> Finding:
        assert self._association is not None  # noqa: S101 - an earlier step made it
        await echo(self._association)
        return Finding("C-ECHO succeeded.")

    async def _query(self) -> Finding:
        for days in _DAYS:
            studies = await self._find(STUDY, STUDY_KEYS | _since(days), limit=_STUDIES)
            if studies:
                self._newest = max(studies, key=_study_date)
                return newest_finding(_study_date(self._newest))
        return Finding(
            "C-FIND works. The archive has no studies yet, so no image was tried."
        )

    async def _image(self) -> Finding:
        identifier = await self._any_instance()
        size = 0
        async with retrieve_instance(self._endpoint, identifier) as stream:
            async for piece in stream:
                size += len(piece)
        service = self._endpoint.retrieval.upper()
        return image_finding(size, service)

    async def _any_instance(self) -> InstanceIdentifier:
        """The first instance of the newest study."""
        assert self._newest is not None  # noqa: S101 - else this step is left out
        study = {tags.STUDY_INSTANCE_UID: self._newest.get(tags.STUDY_INSTANCE_UID, "")}
        series = await self._find(SERIES, SERIES_KEYS | study, limit=1)
        parents = study | _uid(series, tags.SERIES_INSTANCE_UID)
        instances = await self._find(IMAGE, INSTANCE_KEYS | parents, limit=1)
        found = parents | _uid(instances, tags.SOP_INSTANCE_UID)
        if not all(found.values()):
            raise ArchiveResponseError(
                f"{self._endpoint.name} lists no image for its newest study. Ask its "
                "administrator whether SERIES and IMAGE level queries are supported."
            )
        return InstanceIdentifier(
            study_instance_uid=found[tags.STUDY_INSTANCE_UID],
            series_instance_uid=found[tags.SERIES_INSTANCE_UID],
            sop_instance_uid=found[tags.SOP_INSTANCE_UID],
        )

    async def _find(self, level: str, keys: Keys, *, limit: int) -> list[Attributes]:
        return await Queries(self._endpoint).attributes(level, keys, limit=limit)


def _since(days: int | None) -> Keys:
    if days is None:
        return {}
    first = datetime.now(UTC).date() - timedelta(days=days)
    return {tags.STUDY_DATE: date_range(first, None)}


def _study_date(study: Attributes) -> str:
    return study.get(tags.STUDY_DATE, "")


def _uid(found: list[Attributes], tag: int) -> Keys:
    return {tag: found[0].get(tag, "") if found else ""}
