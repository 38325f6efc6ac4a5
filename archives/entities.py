"""What archives are asked for and what they answer, as immutable values.

Field names are DICOM keywords in snake case (PS3.6). Values are kept as the archive
sent them, without padding: dates are DA (``20260131``), times TM, names PN with ``^``
between components and ``=`` between groups. A missing value is ``""`` (text) or
``None`` (numbers and counts); a malformed number is ``None``, a malformed date is kept.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Patient:
    patient_id: str = ""
    issuer_of_patient_id: str = ""
    patient_name: str = ""
    patient_birth_date: str = ""
    patient_sex: str = ""
    universal_entity_id: str = ""  # of the issuer; only where it was asked for


@dataclass(frozen=True, slots=True, kw_only=True)
class Instance:
    """A match at IMAGE level (PS3.4 Table C.6-4)."""

    sop_instance_uid: str
    sop_class_uid: str = ""
    instance_number: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Series:
    """A match at SERIES level (PS3.4 Table C.6-3), with the instances below it if asked."""

    series_instance_uid: str
    modality: str = ""
    series_number: int | None = None
    series_description: str = ""
    series_date: str = ""
    series_time: str = ""
    number_of_series_related_instances: int | None = None
    instances: tuple[Instance, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Study:
    """A match at STUDY level (PS3.4 Table C.6-2), with the series below it if asked."""

    study_instance_uid: str
    patient: Patient = Patient()
    study_date: str = ""
    study_time: str = ""
    accession_number: str = ""
    study_id: str = ""
    study_description: str = ""
    referring_physician_name: str = ""
    modalities_in_study: tuple[str, ...] = ()
    number_of_study_related_series: int | None = None
    number_of_study_related_instances: int | None = None
    series: tuple[Series, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class StudyQuery:
    """Matching keys of a STUDY level query; empty means "not a key".

    Text keys are matched as PS3.4 C.2.2.2 says: ``*`` and ``?`` are wildcards. Keys are
    combined with AND; several modalities or UIDs are alternatives. Archives ignore keys
    they do not support, so callers check the answer again.
    """

    patient_name: str = ""
    patient_id: str = ""
    issuer_of_patient_id: str = ""
    patient_birth_date: date | None = None
    patient_sex: str = ""
    accession_number: str = ""
    study_instance_uids: tuple[str, ...] = ()
    study_date_from: date | None = None
    study_date_to: date | None = None
    modalities_in_study: tuple[str, ...] = ()
    study_description: str = ""
    referring_physician_name: str = ""
    limit: int = 100


@dataclass(frozen=True, slots=True, kw_only=True)
class StudyMatches:
    """Answer to a ``StudyQuery``: at most ``limit`` studies; ``has_more`` if some were cut."""

    studies: tuple[Study, ...] = ()
    has_more: bool = False


@dataclass(frozen=True, slots=True, kw_only=True, order=True)
class PatientIdentifier:
    """A Patient ID, and what it is unique in where that is known.

    The issuer is a name; ``universal_entity_id`` an OID, UUID or the like that means the
    same (Issuer of Patient ID Qualifiers Sequence, PS3.3 C.7.1.1).
    """

    patient_id: str
    issuer_of_patient_id: str = ""
    universal_entity_id: str = ""


@dataclass(frozen=True, slots=True, kw_only=True, order=True)
class SeriesIdentifier:
    """A series; without its study, the archive must support relational queries."""

    series_instance_uid: str
    study_instance_uid: str = ""


@dataclass(frozen=True, slots=True, kw_only=True, order=True)
class InstanceIdentifier:
    """An instance; without its parents, the archive must support relational queries."""

    sop_instance_uid: str
    series_instance_uid: str = ""
    study_instance_uid: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class StudyFilter:
    """Which of the selected studies to keep: all that pass everything given here.

    Modalities are exact codes, and one of them is enough; so is one of the texts in the
    description, without regard to case and accents. Dates are inclusive and in the
    archive's local time; a study without a date passes only where ``keeps_undated``.
    ``most_recent`` keeps so many studies of each patient, the newest, after the rest.
    ``patient_name`` and ``patient_birth_date`` (DA) check who the studies are of, where
    the archive says: others do not belong to the selection.
    """

    modalities_in_study: tuple[str, ...] = ()
    description_contains: tuple[str, ...] = ()
    earliest: datetime | None = None
    latest: datetime | None = None
    keeps_undated: bool = False
    most_recent: int | None = None
    patient_name: str = ""
    patient_birth_date: str = ""

    def __bool__(self) -> bool:
        return self != StudyFilter()


@dataclass(frozen=True, slots=True, kw_only=True)
class Selection:
    """What to open: the union of everything named here, if it passes the filter.

    Order is kept.
    """

    patients: tuple[PatientIdentifier, ...] = ()
    study_instance_uids: tuple[str, ...] = ()
    accession_numbers: tuple[str, ...] = ()
    series: tuple[SeriesIdentifier, ...] = ()
    instances: tuple[InstanceIdentifier, ...] = ()
    study_filter: StudyFilter = StudyFilter()

    def __bool__(self) -> bool:
        return bool(
            self.patients
            or self.study_instance_uids
            or self.accession_numbers
            or self.series
            or self.instances
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class WholeStudies:
    """Answer to a ``Selection``: studies with every selected series and instance.

    A study named by one of its series or instances holds only those, and one that does
    not pass the filter is not there. ``is_truncated``
    is true when a cap, or a limit of the archive's own, cut the answer: the instances
    listed are right, but fewer than the archive counts. ``missing_instances`` is how
    many, as far as the archive's counts tell. ``dropped_studies`` counts answers that
    did not belong to the selection (another patient, say) and were left out.
    """

    studies: tuple[Study, ...] = ()
    is_truncated: bool = False
    missing_instances: int = 0
    dropped_studies: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class VerificationStep:
    """One line of "Verify connection"; a warning is one that works, but not for long.

    One that neither worked nor failed is unknown: there was nothing to look at.
    ``state`` of one that failed is ``unavailable``, ``refused`` or ``failed``.
    """

    name: str
    is_ok: bool
    message: str
    milliseconds: float
    is_warning: bool = False
    is_unknown: bool = False
    state: str = ""
