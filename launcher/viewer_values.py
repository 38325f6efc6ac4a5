"""What a launch tells a viewer: values for the placeholders of its address."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from archives.entities import Selection, Study


def values_of(
    selection: Selection, studies: Sequence[Study] | None = None
) -> dict[str, str | tuple[str, ...]]:
    """What is known of a launch: from its request, and from the ``studies`` found.

    Without studies, the request names what to open only if it has one kind of
    identifier and no filter; otherwise the archives have to be asked first.
    """
    lists = dict(_lists(selection, studies))
    singles = {
        "study_uid": "study_uids",
        "series_uid": "series_uids",
        "object_uid": "object_uids",
        "patient_id": "patient_ids",
        "issuer": "issuers",
        "accession_number": "accession_numbers",
    }
    values: dict[str, str | tuple[str, ...]] = {
        name: lists[name]
        for name in ("study_uids", "series_uids", "object_uids")
        if lists.get(name)
    }
    for single, name in singles.items():
        if len(found := lists.get(name, ())) == 1:
            values[single] = found[0]
    return values


def _lists(
    selection: Selection, studies: Sequence[Study] | None
) -> Iterator[tuple[str, tuple[str, ...]]]:
    kinds = [
        bool(selection.patients),
        bool(selection.study_instance_uids),
        bool(selection.accession_numbers),
        bool(selection.series),
        bool(selection.instances),
    ]
    is_simple = sum(kinds) == 1
    if is_simple:
        series = [item.series_instance_uid for item in selection.series]
        series += [item.series_instance_uid for item in selection.instances]
        yield "series_uids", _unique(series)
        yield "object_uids", _unique(i.sop_instance_uid for i in selection.instances)
    if studies is not None:
        yield "study_uids", _unique(study.study_instance_uid for study in studies)
        yield "accession_numbers", _unique(study.accession_number for study in studies)
        # Pairs, so that two patients with one ID in two hospitals remain two.
        people = {study.patient.patient_id: study.patient for study in studies}
        issuers = {s.patient.issuer_of_patient_id for s in studies}
        if len(people) == 1 and len(issuers - {""}) <= 1:
            yield "patient_ids", _unique(people)
            yield "issuers", _unique(issuers)
    elif is_simple and not selection.study_filter:
        uids = [
            *selection.study_instance_uids,
            *(item.study_instance_uid for item in selection.series),
            *(item.study_instance_uid for item in selection.instances),
        ]
        yield "study_uids", _unique(uids) if all(uids) else ()
        yield "accession_numbers", selection.accession_numbers
        yield "patient_ids", tuple(p.patient_id for p in selection.patients)
        yield "issuers", tuple(p.issuer_of_patient_id for p in selection.patients)


def _unique(values: Iterable[str]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(filter(None, values)))
