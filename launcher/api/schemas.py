"""What the REST API takes and gives. Names are DICOM keywords in snake case.

Pydantic checks the shape of a request only. Values are checked by
``api_selection`` and by the form of the search page, which name every problem at once;
the schema states the same rules for those who generate clients from it.
"""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any, Final
from uuid import UUID

from django.conf import settings
from pydantic import BaseModel, ConfigDict, Field, StrictInt

from archives.models import Archive
from launcher.api.fields import (
    Count,
    Day,
    DescriptionText,
    Identifier,
    LaunchState,
    Modality,
    ModalityCode,
    Moment,
    OptionalIdentifier,
    OptionalSlug,
    OptionalUid,
    PatientId,
    PersonName,
    SearchText,
    Sex,
    Slug,
    Uid,
    one_of,
)
from launcher.criteria import MAXIMUM_IDENTIFIERS, MAXIMUM_VALUES
from launcher.models import ArchiveOutcome
from launcher.search.asking import AnswerState

ASKING: Final = "asking"
MAXIMUM_CHOICES: Final = 100
IDENTIFIERS: Final = (
    "patients",
    "patient_ids",
    "study_instance_uids",
    "accession_numbers",
    "series",
    "instances",
)


class Request(BaseModel):
    """A field that is not known is a mistake, which would open or find the wrong thing."""

    model_config = ConfigDict(extra="forbid")


class PatientItem(Request):
    patient_id: Identifier
    issuer_of_patient_id: OptionalIdentifier = ""
    universal_entity_id: OptionalIdentifier = Field(
        "", description="The issuer's OID or the like, where it has one."
    )


class SeriesItem(Request):
    series_instance_uid: Uid
    study_instance_uid: OptionalUid = Field(
        "", description="Archives without relational queries need it."
    )


class InstanceItem(Request):
    sop_instance_uid: Uid
    series_instance_uid: OptionalUid = ""
    study_instance_uid: OptionalUid = Field(
        "", description="Archives without relational queries need it and the series."
    )


def _items(description: str, *, maximum: int = MAXIMUM_IDENTIFIERS) -> Any:
    # The list is not read beyond its maximum, whatever was sent.
    return Field(default=[], max_length=maximum, description=description)


class LaunchFilter(Request):
    """Which of the studies to open: those that pass everything given here."""

    modalities_in_study: list[ModalityCode] = _items(
        "Studies with any of these.", maximum=MAXIMUM_VALUES
    )
    description_contains: list[DescriptionText] = _items(
        "Studies with any of these in their description, in any case, with or without "
        "accents.",
        maximum=MAXIMUM_VALUES,
    )
    earliest: Moment | None = Field(
        default=None,
        description="Studies of that day or time and later; local if without zone.",
    )
    latest: Moment | None = Field(
        default=None,
        description="Studies of that day or time and earlier; a day as a whole.",
    )
    most_recent: Count | None = Field(
        default=None,
        description="So many of each patient: the newest.",
    )
    patient_name: PersonName = Field(
        default="",
        description="Checked where an archive tells it, as `DOE^JANE`: studies of others "
        "are left out.",
    )
    patient_birth_date: Day | None = Field(
        default=None, description="Checked like the name."
    )


class LaunchRequest(Request):
    """What to open: the union of everything named, at least one thing.

    At most 500 identifiers in all.
    """

    model_config = ConfigDict(
        json_schema_extra={
            "anyOf": [
                {"required": [name], "properties": {name: {"minItems": 1}}}
                for name in IDENTIFIERS
            ],
            "example": {"patient_ids": ["1CT1"]},
        }
    )

    patients: list[PatientItem] = _items("Every study of these patients.")
    patient_ids: list[PatientId] = _items(
        "The same as `ID`, `ID^^^ISSUER` or `ID^^^NAMESPACE&OID&ISO` (HL7 CX)."
    )
    study_instance_uids: list[Uid] = _items("Whole studies.")
    accession_numbers: list[Identifier] = _items("Studies of these orders.")
    series: list[SeriesItem] = _items("Single series.")
    instances: list[InstanceItem] = _items("Single instances.")
    study_filter: LaunchFilter = Field(
        LaunchFilter(), description="Applied to whatever is named above."
    )
    archives: list[Slug] = _items(
        "Archives to ask. Empty: those of the template, or all you may use.",
        maximum=MAXIMUM_CHOICES,
    )
    template: OptionalSlug = Field(
        "", description="Launch template; empty: the default."
    )


class StudyFilters(Request):
    """The filters of the search page, combined with "and"."""

    quick: SearchText = Field(
        "", description="A name, Patient ID, accession number or Study Instance UID."
    )
    patient_name: SearchText = ""
    patient_id: SearchText = Field("", description="`ID` or `ID^^^ISSUER`.")
    accession_number: SearchText = ""
    study_date_from: Day | None = None
    study_date_to: Day | None = None
    modalities: list[Modality] = _items("Any of these.", maximum=MAXIMUM_CHOICES)
    study_description: SearchText = Field("", description="Is found anywhere within.")
    referring_physician_name: SearchText = ""
    patient_birth_date: Day | None = None
    patient_sex: Sex = ""
    archives: list[Slug] = _items("Empty: all you may use.", maximum=MAXIMUM_CHOICES)
    limit: int = Field(
        settings.VIEWERHUB_SEARCH_LIMIT,
        ge=1,
        le=settings.VIEWERHUB_SEARCH_LIMIT,
        description="Most studies in the answer, and from each archive.",
    )


class StudySearch(StudyFilters):
    model_config = ConfigDict(json_schema_extra={"example": {"patient_id": "1CT1"}})

    limit: StrictInt = StudyFilters.model_fields["limit"]  # type: ignore[assignment]


class LaunchCreated(BaseModel):
    """A launch and its addresses, which are told this once."""

    id: UUID
    state: LaunchState
    weasis_uri: str = Field(description="Opens Weasis: send the user's browser here.")
    manifest_url: str = Field(description="What Weasis fetches. Whoever has it can.")
    launch_url: str = Field(description="The launch's page, for staff.")
    expires: datetime = Field(description="Until when the addresses open something.")
    archives: list[Slug] = Field(description="Archives that are asked.")


class LaunchArchive(BaseModel):
    """How far one archive is; `message` says what is wrong and what to do."""

    archive: Slug
    name: str
    state: Annotated[str, one_of([ASKING, *ArchiveOutcome.State.values])]
    message: str
    studies: int
    series: int
    instances: int
    total_series: int | None = Field(description="Where the archive said so.")
    total_instances: int | None


class LaunchStatus(BaseModel):
    """`state` is `ready` when the images can be opened, `fetched` once Weasis did."""

    id: UUID
    state: LaunchState
    created: datetime
    expires: datetime
    fetched: datetime | None
    viewer: str = Field(description="Which viewer fetched it, such as `Weasis 4.7.2`.")
    launch_url: str
    studies: int
    series: int
    instances: int
    archives: list[LaunchArchive]


class FoundPatient(BaseModel):
    patient_id: str
    issuer_of_patient_id: str
    patient_name: str = Field(description="PN, with `^` between its components.")
    patient_birth_date: str = Field(description="DA, such as `19700131`; may be empty.")
    patient_sex: str


class FoundStudy(BaseModel):
    """A study, merged from all archives that hold it."""

    study_instance_uid: str
    patient: FoundPatient
    study_date: str = Field(description="DA, such as `20260131`; may be empty.")
    study_time: str = Field(description="TM, such as `142530`; may be empty.")
    accession_number: str
    study_id: str
    study_description: str
    referring_physician_name: str
    modalities_in_study: list[str]
    number_of_study_related_series: int | None
    number_of_study_related_instances: int | None
    archives: list[Slug] = Field(description="Archives that hold it, best first.")
    other_patients: list[Slug] = Field(
        description="Those of them that hold it under another Patient ID."
    )


class SearchedArchive(BaseModel):
    """How one archive answered; `message` says what is wrong and what to do."""

    archive: Slug
    name: str
    state: Annotated[str, one_of(AnswerState)]
    message: str
    studies: int = Field(description="Studies in its answer.")
    has_more: bool = Field(description="It holds more than it was asked for.")
    left_out: int = Field(description="Answers that did not satisfy the search.")
    milliseconds: int


class StudySearchResult(BaseModel):
    """Studies newest first, and how each archive answered."""

    studies: list[FoundStudy]
    has_more: bool = Field(description="There are more: narrow the search.")
    archives: list[SearchedArchive]


class ListedArchive(BaseModel):
    slug: Slug
    name: str
    protocol: Annotated[str, one_of(Archive.Protocol.values)]
    images: Annotated[str, one_of(Archive.Images.values)]
    enabled: bool


class ArchiveList(BaseModel):
    archives: list[ListedArchive]


class ProblemError(BaseModel):
    field: str = Field(description="Such as `series[0].series_instance_uid`.")
    message: str


class ProblemDetails(BaseModel):
    """Problem details (RFC 9457). `errors` names every problem at once."""

    type: str
    title: str
    status: int
    detail: str
    errors: list[ProblemError]
