"""Studies to serve over DICOMweb, and a client connected to who serves them."""

from __future__ import annotations

import ssl
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any

from archives.clients.base import Deadlines, DicomWebEndpoint
from archives.clients.dicomweb import DicomWebClient
from archives.clients.dicomweb.memory import memory_of
from archives.clients.pool import close_connections
from archives.entities import (
    Instance,
    InstanceIdentifier,
    Patient,
    Series,
    Study,
    WholeStudies,
)
from tests.dicomweb_server import Behaviour, DicomWebServer

IMPATIENT = Deadlines(first_answer=0.3)  # for tests of silence


def make_study(
    uid: str = "1.1", series: int = 2, instances: int = 3, **values: Any
) -> Study:
    """A study whose UIDs say where they belong: ``1.1``, ``1.1.2``, ``1.1.2.3``."""
    patient = {
        "patient_id": "P1",
        "patient_name": "Doe^Jane",
        **values.pop("patient", {}),
    }
    return Study(
        study_instance_uid=uid,
        patient=Patient(**patient),
        **{"study_date": "20260131", **values},
        series=tuple(
            make_series(f"{uid}.{number}", instances) for number in range(1, series + 1)
        ),
    )


def make_series(uid: str, instances: int) -> Series:
    number = int(uid.rpartition(".")[2])
    return Series(
        series_instance_uid=uid,
        modality="CT",
        series_number=number,
        series_description=f"Series {number}",
        instances=tuple(
            Instance(
                sop_instance_uid=f"{uid}.{number}",
                sop_class_uid="1.2.840.10008.5.1.4.1.1.2",
                instance_number=number,
            )
            for number in range(1, instances + 1)
        ),
    )


def identifier_of(study: Study) -> InstanceIdentifier:
    """Of the first instance of the first series."""
    series = study.series[0]
    return InstanceIdentifier(
        study_instance_uid=study.study_instance_uid,
        series_instance_uid=series.series_instance_uid,
        sop_instance_uid=series.instances[0].sop_instance_uid,
    )


def instances_of(found: WholeStudies) -> dict[str, list[str]]:
    """Series -> instances, in any order but each as often as it was found."""
    return {
        series.series_instance_uid: sorted(
            instance.sop_instance_uid for instance in series.instances
        )
        for study in found.studies
        for series in study.series
    }


def instances_in(*studies: Study) -> dict[str, list[str]]:
    return instances_of(WholeStudies(studies=studies))


@asynccontextmanager
async def serving(
    *studies: Study,
    context: ssl.SSLContext | None = None,
    endpoint: Mapping[str, Any] | None = None,
    **behaviour: Any,
) -> AsyncIterator[tuple[DicomWebClient, DicomWebServer]]:
    """A client for a new server with these studies; ``behaviour`` as in ``Behaviour``."""
    async with DicomWebServer(studies, Behaviour(**behaviour)).running(
        context
    ) as server:
        memory_of.cache_clear()  # ports come back
        options = {"name": "North", "url": server.url}
        try:
            yield (
                DicomWebClient(DicomWebEndpoint(**(options | dict(endpoint or {})))),
                server,
            )
        finally:
            await close_connections()
