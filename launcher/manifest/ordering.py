"""Which archive a series is taken from, and the order things stand in a manifest."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace

from archives.entities import Instance, Patient, Series, Study


def by_patient(studies: Sequence[Study]) -> Iterator[tuple[Patient, list[Study]]]:
    """Studies of each patient, newest first; patients in the order of their newest.

    Two patients are one only when both the ID and its issuer agree. Without an ID
    nothing tells that they are the same, so the name must agree too.
    """
    grouped: dict[tuple[str, ...], list[Study]] = {}
    for study in newest_first(studies):
        patient = study.patient
        key: tuple[str, ...] = (patient.patient_id, patient.issuer_of_patient_id)
        if not patient.patient_id:
            key += (patient.patient_name, patient.patient_birth_date)
        grouped.setdefault(key, []).append(study)
    for group in grouped.values():
        yield group[0].patient, group


def newest_first(studies: Iterable[Study]) -> list[Study]:
    return sorted(
        sorted(studies, key=lambda study: study.study_instance_uid),
        key=lambda study: (study.study_date, study.study_time),
        reverse=True,
    )


def series_order(series: Series) -> tuple[bool, int, str]:
    number = series.series_number
    return number is None, number or 0, series.series_instance_uid


def instance_order(instance: Instance) -> tuple[bool, int, str]:
    number = instance.instance_number
    return number is None, number or 0, instance.sop_instance_uid


@dataclass(frozen=True, slots=True, kw_only=True)
class Folded:
    """What is listed of one archive's answer.

    ``left_out`` is how many of its instances are listed nowhere, since their series are
    taken from the archives at the places ``elsewhere``.
    """

    studies: tuple[Study, ...]
    left_out: int = 0
    elsewhere: tuple[int, ...] = ()


def fold_duplicates(answers: Sequence[tuple[Study, ...]]) -> tuple[Folded, ...]:
    """Keep each series in one archive only: the one with most of its instances.

    Weasis skips a series it already got from another base URL, so a complete copy must
    not lose to a partial one that comes first. Ties go to the earlier archive.
    """
    best: dict[str, tuple[int, Series]] = {}
    for index, series in _placed(answers):
        known = best.get(series.series_instance_uid)
        if known is None or len(series.instances) > len(known[1].instances):
            best[series.series_instance_uid] = index, series

    def kept(index: int, study: Study) -> Study:
        series = [
            series
            for series in study.series
            if best[series.series_instance_uid][0] == index
        ]
        return replace(study, series=tuple(series))

    lost: list[dict[int, int]] = [{} for _ in answers]
    for index, series in _placed(answers):
        place, other = best[series.series_instance_uid]
        if place != index and (count := _count_missing(series, other)):
            lost[index][place] = lost[index].get(place, 0) + count
    return tuple(
        Folded(
            studies=tuple(
                folded
                for study in studies
                if (folded := kept(index, study)).series or not study.series
            ),
            left_out=sum(lost[index].values()),
            elsewhere=tuple(sorted(lost[index])),
        )
        for index, studies in enumerate(answers)
    )


def _placed(answers: Sequence[tuple[Study, ...]]) -> Iterator[tuple[int, Series]]:
    """All series, with the place of their archive."""
    for index, studies in enumerate(answers):
        for study in studies:
            for series in study.series:
                yield index, series


def _count_missing(series: Series, other: Series) -> int:
    """How many instances of a series its other copy has not."""
    there = {instance.sop_instance_uid for instance in other.instances}
    return len({one.sop_instance_uid for one in series.instances} - there)
