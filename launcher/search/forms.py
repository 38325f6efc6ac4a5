"""What users may search for and open: the only place where their input is checked."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import date, timedelta
from typing import Any, Final

from django import forms
from django.core.exceptions import ValidationError
from django.utils import timezone
from django.utils.translation import gettext_lazy as _
from django.utils.translation import ngettext, pgettext_lazy

from archives.entities import Selection, SeriesIdentifier
from archives.models import Archive, ArchiveQuerySet
from launcher.criteria import MAXIMUM_IDENTIFIERS
from launcher.identifiers import unique_identifier
from launcher.models import LaunchTemplate
from launcher.search.criteria import (
    MAXIMUM_DAYS,
    MINIMUM_CHARACTERS,
    Recognised,
    SearchCriteria,
)
from launcher.search.pasted import clean

TOO_BROAD: Final = "too_broad"
ANY: Final = "any"
RANGE: Final = "range"
PRESETS: Final = {
    "today": _("Today"),
    "yesterday": _("Yesterday"),
    "3": _("3 days"),
    "7": _("7 days"),
    "30": _("30 days"),
    "365": _("1 year"),
    ANY: pgettext_lazy("date", "Any"),
}
# Defined terms of Modality (PS3.3 C.7.3.1.1.1) that studies are looked for by.
MODALITIES: Final = {
    "CT": _("Computed tomography"),
    "MR": _("Magnetic resonance"),
    "CR": _("Computed radiography"),
    "DX": _("Digital radiography"),
    "US": _("Ultrasound"),
    "MG": _("Mammography"),
    "PT": _("Positron emission tomography"),
    "NM": _("Nuclear medicine"),
    "XA": _("X-ray angiography"),
    "RF": _("Radio fluoroscopy"),
    "IO": _("Intra-oral radiography"),
    "PX": _("Panoramic x-ray"),
    "BMD": _("Bone mineral densitometry"),
    "ES": _("Endoscopy"),
    "XC": _("External-camera photography"),
    "OP": _("Ophthalmic photography"),
    "OPT": _("Ophthalmic tomography"),
    "SM": _("Slide microscopy"),
    "ECG": _("Electrocardiography"),
    "RTSTRUCT": _("Radiotherapy structure set"),
    "RTPLAN": _("Radiotherapy plan"),
    "RTDOSE": _("Radiotherapy dose"),
    "SR": _("Structured report"),
    "KO": _("Key object selection"),
    "PR": _("Presentation state"),
    "DOC": _("Document"),
    "OT": _("Other"),
}
SEXES: Final = [
    ("", pgettext_lazy("sex", "Any")),
    ("F", _("Female")),
    ("M", _("Male")),
    ("O", _("Other")),
]


def period(preset: str, today: date) -> tuple[date | None, date | None]:
    """First and last day of a preset."""
    if preset == "today":
        return today, today
    if preset == "yesterday":
        return today - timedelta(days=1), today - timedelta(days=1)
    if preset.isdecimal():
        return today - timedelta(days=int(preset) - 1), None
    return None, None


class SearchTextField(forms.CharField):
    """Text for a matching key. The backslash separates values in DICOM."""

    def to_python(self, value: Any) -> str:
        return clean(super().to_python(value) or "")

    def validate(self, value: str) -> None:
        super().validate(value)
        if "\\" in value or not value.isprintable():
            raise ValidationError(
                _("Leave out backslashes and control characters."), code="character"
            )


class DateField(forms.DateField):
    widget = forms.DateInput(attrs={"type": "date"}, format="%Y-%m-%d")

    def __init__(self, **options: Any) -> None:
        super().__init__(
            required=False, input_formats=["%Y-%m-%d", "%Y%m%d"], **options
        )


def _text(label: Any, **options: Any) -> SearchTextField:
    return SearchTextField(label=label, required=False, max_length=64, **options)


class StudySearchForm(forms.Form):
    """One quick box, and a filter for each thing a study is looked for by."""

    use_required_attribute = False

    quick = _text(_("Name, patient ID, accession number or UID"))
    # What the user says that the quick box holds, if it was taken for something else.
    quick_as = forms.ChoiceField(
        required=False,
        choices=[(one, one) for one in (Recognised.NAME, Recognised.IDENTIFIER)],
    )
    patient_name = _text(_("Patient name"))
    patient_id = _text(_("Patient ID"))
    accession_number = _text(_("Accession number"))
    preset = forms.ChoiceField(
        label=_("Study date"),
        required=False,
        choices=list(PRESETS.items()),
        widget=forms.RadioSelect,
    )
    study_date_from = DateField(label=_("From"))
    study_date_to = DateField(label=_("To"))
    modalities = forms.MultipleChoiceField(
        label=_("Modality"),
        required=False,
        choices=list(MODALITIES.items()),
        widget=forms.CheckboxSelectMultiple,
    )
    study_description = _text(_("Description contains"))
    referring_physician_name = _text(_("Referring physician"))
    patient_birth_date = DateField(label=_("Birth date"))
    patient_sex = forms.ChoiceField(label=_("Sex"), required=False, choices=SEXES)
    archives = forms.ModelMultipleChoiceField(
        label=_("Archives"),
        required=False,
        queryset=Archive.objects.none(),
        to_field_name="slug",
        widget=forms.CheckboxSelectMultiple,
    )

    def __init__(self, *args: Any, archives: ArchiveQuerySet, **options: Any) -> None:
        super().__init__(*args, **options)
        self.fields["archives"].queryset = archives  # type: ignore[attr-defined]

    def clean(self) -> dict[str, Any]:
        values = super().clean() or self.cleaned_data
        self._check_once(values)
        first, last = values.get("study_date_from"), values.get("study_date_to")
        if first and last and first > last:
            self.add_error("study_date_to", _("This day is before the first one."))
        if not self.errors and not self.criteria().is_selective():
            raise ValidationError(self._advice(), code=TOO_BROAD)
        return values

    def _check_once(self, values: Mapping[str, Any]) -> None:
        """The quick box and a filter may not both name the same thing."""
        fields = {
            Recognised.NAME: ("patient_name",),
            Recognised.PATIENT_ID: ("patient_id",),
            Recognised.IDENTIFIER: ("patient_id", "accession_number"),
        }.get(self._recognised(values), ())
        for field in fields:
            if values.get(field):
                self.add_error(
                    field, _("The search box asks for this too. Clear one of them.")
                )

    def _recognised(self, values: Mapping[str, Any]) -> Recognised:
        quick, quick_as = values.get("quick", ""), values.get("quick_as", "")
        return SearchCriteria(quick=quick, quick_as=quick_as).recognised

    def _advice(self) -> str:
        return ngettext(
            "This search is too broad for the archives. Enter at least %(characters)d "
            "letters or digits of a name, patient ID or accession number, or choose a "
            "period of %(days)d day at most.",
            "This search is too broad for the archives. Enter at least %(characters)d "
            "letters or digits of a name, patient ID or accession number, or choose a "
            "period of %(days)d days at most.",
            MAXIMUM_DAYS,
        ) % {"characters": MINIMUM_CHARACTERS, "days": MAXIMUM_DAYS}

    def is_too_broad(self) -> bool:
        return self.has_error("__all__", TOO_BROAD)

    def criteria(self) -> SearchCriteria:
        values = self.cleaned_data
        first, last = values.get("study_date_from"), values.get("study_date_to")
        if not first and not last:
            first, last = period(values.get("preset", ""), timezone.localdate())
        return SearchCriteria(
            quick=values.get("quick", ""),
            quick_as=values.get("quick_as", ""),
            patient_name=values.get("patient_name", ""),
            patient_id=values.get("patient_id", ""),
            accession_number=values.get("accession_number", ""),
            study_date_from=first,
            study_date_to=last,
            modalities=tuple(values.get("modalities", ())),
            study_description=values.get("study_description", ""),
            referring_physician_name=values.get("referring_physician_name", ""),
            patient_birth_date=values.get("patient_birth_date"),
            patient_sex=values.get("patient_sex", ""),
            archives=tuple(archive.slug for archive in values.get("archives", ())),
        )

    def chosen_preset(self) -> str:
        """The preset that counts: none of them where days are given."""
        values = self.cleaned_data
        if values.get("study_date_from") or values.get("study_date_to"):
            return RANGE
        return values.get("preset") or ANY


def initial(criteria: SearchCriteria, preset: str) -> dict[str, Any]:
    """Values of the form that stated these criteria."""
    values = {name: getattr(criteria, name) for name in criteria.__slots__}
    if preset != RANGE:
        values["study_date_from"] = values["study_date_to"] = None
    return {**values, "preset": preset, "archives": list(criteria.archives)}


class LaunchForm(forms.Form):
    """Studies, or series of one study, and the archives that hold them."""

    template = forms.ModelChoiceField(
        queryset=LaunchTemplate.objects.select_related("viewer"),
        to_field_name="slug",
        required=False,
    )

    def __init__(self, *args: Any, archives: ArchiveQuerySet, **options: Any) -> None:
        super().__init__(*args, **options)
        self.usable_archives = archives

    def clean(self) -> dict[str, Any]:
        values = super().clean() or self.cleaned_data
        get = self.data.getlist  # type: ignore[attr-defined]
        studies = self._uids(get("study_instance_uid"))
        series = self._uids(get("series_instance_uid"))
        if not studies:
            raise ValidationError(_("Choose at least one study."))
        if series and len(studies) > 1:
            raise ValidationError(_("Open series of one study at a time."))
        values["selection"] = self._selection(studies, series)
        values["archives"] = self._archives(get("archive"))
        return values

    def _uids(self, texts: list[str]) -> tuple[str, ...]:
        if len(texts) > MAXIMUM_IDENTIFIERS:
            raise ValidationError(_("Choose fewer studies."))
        try:
            return tuple(dict.fromkeys(map(unique_identifier, texts)))
        except ValueError as error:
            raise ValidationError(_("A study has no valid UID.")) from error

    def _selection(
        self, studies: tuple[str, ...], series: tuple[str, ...]
    ) -> Selection:
        if not series:
            return Selection(study_instance_uids=studies)
        return Selection(
            series=tuple(
                SeriesIdentifier(series_instance_uid=uid, study_instance_uid=studies[0])
                for uid in series
            )
        )

    def _archives(self, slugs: list[str]) -> list[Archive]:
        usable = list(self.usable_archives)
        chosen = [archive for archive in usable if archive.slug in slugs]
        if not usable or len(chosen) < len(set(slugs)):
            raise ValidationError(
                _(
                    "An archive is not available to you any more. Search again, or ask "
                    "your administrator for access."
                )
            )
        return chosen or usable
