"""Keeping a search under a name, and stating it again for whoever may use it."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Any, Final

from django import forms
from django.contrib.auth.models import Group, User
from django.core.exceptions import ValidationError
from django.db.models import Q
from django.utils.formats import date_format
from django.utils.translation import gettext, ngettext
from django.utils.translation import gettext_lazy as _

from archives.models import Archive, ArchiveQuerySet
from launcher.models import SavedSearch
from launcher.search.criteria import SearchCriteria
from launcher.search.forms import (
    PRESETS,
    RANGE,
    SEXES,
    StudySearchForm,
    initial,
)
from launcher.search.pasted import clean
from launcher.search.person_names import fold
from launcher.search.store import StoredSearch

MAXIMUM_SEARCHES: Final = 50  # of one user
MAXIMUM_NAME: Final = 64
SHOWN_SEARCHES: Final = 6  # on the page of the search


@dataclass(frozen=True, slots=True, kw_only=True)
class ShownSearch:
    """A saved search as a user sees it; ``facts`` is empty if it can't be read."""

    saved: SavedSearch
    is_own: bool
    facts: list[tuple[str, str]]

    @property
    def name(self) -> str:
        return self.saved.name or gettext("Search that can't be read any more")

    @property
    def owner_name(self) -> str:
        return self.saved.owner.get_full_name() or self.saved.owner.username

    @property
    def summary(self) -> str:
        return " · ".join(value for _label, value in self.facts)


@dataclass(frozen=True, slots=True, kw_only=True)
class Restated:
    """The form of a saved search for one user; ``left_out`` archives are not theirs.

    Without any of its archives left, ``has_archives`` is false: to ask all others instead
    would be another search.
    """

    form: StudySearchForm
    left_out: int
    has_archives: bool


class NameField(forms.CharField):
    def to_python(self, value: Any) -> str:
        return clean(super().to_python(value) or "")

    def validate(self, value: str) -> None:
        super().validate(value)
        if not value.isprintable():
            raise ValidationError(_("Leave out control characters."), code="character")


class SavedSearchForm(forms.Form):
    """Name and group of a search that a user keeps, a new one or one of theirs."""

    use_required_attribute = False

    name = NameField(label=_("Name"), max_length=MAXIMUM_NAME)
    group = forms.ModelChoiceField(
        label=_("For whom"),
        required=False,
        queryset=Group.objects.none(),
        empty_label=_("Only me"),
    )

    def __init__(
        self, *args: Any, owner: User, saved: SavedSearch | None = None, **options: Any
    ) -> None:
        super().__init__(*args, **options)
        self.owner, self.saved = owner, saved
        shared = saved.group_id if saved else None
        groups = Group.objects.filter(Q(user=owner) | Q(pk=shared)).distinct()
        self.fields["group"].queryset = groups.order_by("name")  # type: ignore[attr-defined]
        if not groups:
            del self.fields["group"]

    def clean_name(self) -> str:
        name: str = self.cleaned_data["name"]
        others = self.owner.saved_searches.all()
        if self.saved:
            others = others.exclude(pk=self.saved.pk)
        if fold(name) in {fold(other.name) for other in others}:
            raise ValidationError(
                _("You have a search of this name. Choose another name.")
            )
        return name

    def clean(self) -> dict[str, Any]:
        values = super().clean() or self.cleaned_data
        count = self.owner.saved_searches.count()
        if not self.saved and count >= MAXIMUM_SEARCHES:
            raise ValidationError(
                ngettext(
                    "You have %(count)d saved search, which is as many as the hub keeps "
                    "for a user. Delete one that you no longer need.",
                    "You have %(count)d saved searches, which is as many as the hub "
                    "keeps for a user. Delete one that you no longer need.",
                    count,
                )
                % {"count": count}
            )
        return values

    def keep(self, search: StoredSearch) -> SavedSearch:
        """Save the criteria of a search; days that follow from a preset are left out."""
        criteria = search.criteria
        if search.preset != RANGE:
            criteria = replace(criteria, study_date_from=None, study_date_to=None)
        saved = SavedSearch(owner=self.owner, preset=search.preset)
        saved.set_criteria(criteria)
        return self.write(saved)

    def write(self, saved: SavedSearch) -> SavedSearch:
        saved.name = self.cleaned_data["name"]
        saved.group = self.cleaned_data.get("group")
        saved.save()
        return saved


def shown(saved: SavedSearch, user: User, archives: Iterable[Archive]) -> ShownSearch:
    criteria = saved.get_criteria()
    return ShownSearch(
        saved=saved,
        is_own=saved.owner_id == user.pk,
        facts=describe(criteria, saved.preset, archives) if criteria else [],
    )


def saved_context(user: User, archives: Iterable[Archive]) -> dict[str, Any]:
    """What the page of the search says about saved ones: the last used, and a form."""
    visible = SavedSearch.objects.visible_to(user).select_related("owner", "group")
    recent = visible.recent_first()[:SHOWN_SEARCHES]
    return {
        "saved_searches": [shown(saved, user, archives) for saved in recent],
        "save_form": SavedSearchForm(owner=user),
    }


def restate(
    criteria: SearchCriteria, preset: str, archives: ArchiveQuerySet
) -> Restated:
    """The search as if the user had entered it now, over archives that are theirs."""
    usable = set(archives.values_list("slug", flat=True))
    kept = [slug for slug in criteria.archives if slug in usable]
    chosen = preset if preset in PRESETS else ""
    values = {**initial(criteria, preset), "preset": chosen, "archives": kept}
    return Restated(
        form=StudySearchForm(values, archives=archives),
        left_out=len(criteria.archives) - len(kept),
        has_archives=bool(kept or not criteria.archives),
    )


def describe(
    criteria: SearchCriteria, preset: str, archives: Iterable[Archive]
) -> list[tuple[str, str]]:
    """Labels and values of what is asked for. Of archives, only these are named."""
    labels = {name: field.label for name, field in StudySearchForm.base_fields.items()}
    born = criteria.patient_birth_date
    values = {
        "patient_name": criteria.patient_name,
        "patient_id": criteria.patient_id,
        "accession_number": criteria.accession_number,
        "preset": _period(criteria, preset),
        "modalities": ", ".join(criteria.modalities),
        "study_description": criteria.study_description,
        "referring_physician_name": criteria.referring_physician_name,
        "patient_birth_date": date_format(born, "DATE_FORMAT") if born else "",
        "patient_sex": str(dict(SEXES)[sex]) if (sex := criteria.patient_sex) else "",
        "archives": ", ".join(
            one.name for one in archives if one.slug in criteria.archives
        ),
    }
    found = [(str(labels[name]), value) for name, value in values.items() if value]
    if criteria.quick:
        found.insert(0, (gettext("Search text"), criteria.quick))
    return found


def criteria_labels(criteria: SearchCriteria, preset: str) -> list[str]:
    """Which kinds of criteria there are, without any of their values."""
    archives = [gettext("Archives")] if criteria.archives else []
    return [label for label, _value in describe(criteria, preset, [])] + archives


def _period(criteria: SearchCriteria, preset: str) -> str:
    if preset != RANGE:
        return str(PRESETS[preset]) if preset in PRESETS and preset != "any" else ""
    first, last = (
        date_format(day, "DATE_FORMAT") if day else ""
        for day in (criteria.study_date_from, criteria.study_date_to)
    )
    if first and last:
        return f"{first} – {last}"
    if first:
        return gettext("from %(day)s") % {"day": first}
    return gettext("until %(day)s") % {"day": last}
