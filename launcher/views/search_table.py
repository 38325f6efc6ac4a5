"""What addresses say of the table of studies: its order, and which part of it is shown."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final, Self
from urllib.parse import urlencode

from django.http import HttpRequest
from django.utils.formats import number_format
from django.utils.functional import Promise
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy, ngettext, pgettext_lazy

from launcher.search.ordering import NEWEST_FIRST, Order

_KEY: Final = re.compile(r"[0-9a-f]{20}")
LABELS: Final[Mapping[str, Promise]] = {
    "patient_name": gettext_lazy("Patient"),
    "study_description": gettext_lazy("Description"),
    "patient_id": gettext_lazy("Patient ID"),
    "accession_number": gettext_lazy("Accession number"),
    "patient_sex": gettext_lazy("Sex"),
    "patient_birth_date": pgettext_lazy("column", "Birth date"),
    "study_date": gettext_lazy("Date"),
    "modalities": gettext_lazy("Modalities"),
    "series": gettext_lazy("Series"),
    "instances": gettext_lazy("Images"),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """An order, and the key of the row that the page comes after or before."""

    order: Order = NEWEST_FIRST
    after: str = ""
    before: str = ""

    @classmethod
    def of(cls, request: HttpRequest) -> Self:
        def key(name: str) -> str:
            value = request.GET.get(name, "")
            return value if _KEY.fullmatch(value) else ""

        return cls(
            order=Order.parse(request.GET.get("sort", "")),
            after=key("after"),
            before=key("before"),
        )

    @property
    def query(self) -> str:
        """Parameters of an address, nothing for the first page in the usual order."""
        sort = str(self.order) if self.order != NEWEST_FIRST else ""
        given = {"sort": sort, "after": self.after, "before": self.before}
        return urlencode({name: value for name, value in given.items() if value})

    def after_row(self, key: str) -> Place:
        return replace(self, after=key, before="")

    def before_row(self, key: str) -> Place:
        return replace(self, after="", before=key)


@dataclass(frozen=True, slots=True, kw_only=True)
class Column:
    """A head that sorts: ``query`` is what a click asks for."""

    label: Promise
    query: str
    direction: str = ""

    @property
    def icon(self) -> str:
        return {"ascending": "up", "descending": "down"}.get(self.direction, "")


def columns_of(order: Order) -> dict[str, Column]:
    direction = "descending" if order.is_descending else "ascending"
    return {
        name: Column(
            label=label,
            query=Place(order=order.chosen(name)).query,
            direction=direction if name == order.column else "",
        )
        for name, label in LABELS.items()
    }


def order_sentence(order: Order, *, received: int, incomplete: Sequence[str]) -> str:
    """How the studies are ordered, and among which: not those that archives kept back."""
    text = _order(order)
    if not incomplete:
        return text
    among = ngettext(
        "%(order)s among the %(number)s study received",
        "%(order)s among the %(number)s studies received",
        received,
    ) % {"order": text, "number": number_format(received)}
    more = ngettext(
        "%(names)s has more: narrow your search to see them",
        "%(names)s have more: narrow your search to see them",
        len(incomplete),
    ) % {"names": ", ".join(incomplete)}
    return f"{among}; {more}"


def _order(order: Order) -> str:
    if order.column == "study_date":
        return _("Newest first") if order.is_descending else _("Oldest first")
    text = (
        _("Sorted by %(column)s, descending")
        if order.is_descending
        else _("Sorted by %(column)s")
    )
    return text % {"column": _WORDS[order.column]}


# The names of the columns within a sentence.
_WORDS: Final[Mapping[str, Promise]] = {
    "patient_name": gettext_lazy("patient name"),
    "study_description": gettext_lazy("description"),
    "patient_id": gettext_lazy("patient ID"),
    "accession_number": gettext_lazy("accession number"),
    "patient_sex": gettext_lazy("sex"),
    "patient_birth_date": gettext_lazy("birth date"),
    "modalities": gettext_lazy("modalities"),
    "series": gettext_lazy("number of series"),
    "instances": gettext_lazy("number of images"),
}
