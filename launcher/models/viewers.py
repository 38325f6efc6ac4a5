"""Viewers other than Weasis."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from django.core.exceptions import ValidationError
from django.core.validators import MinValueValidator
from django.db import models
from django.utils.translation import gettext_lazy as _

from archives.entities import Selection, Study
from archives.models import Archive
from launcher import viewer_values, viewers
from launcher.messages import translated
from launcher.weasis import NotCarriableError

# What viewer=… means Weasis by, in small letters.
WEASIS = "weasis"


class Viewer(models.Model):
    """A viewer other than Weasis, started by an address with placeholders.

    What an address may hold is in ``launcher.viewers``.
    """

    name = models.CharField(
        _("name"),
        max_length=64,
        unique=True,
        help_text=_("What users see on the button that opens it."),
    )
    slug = models.SlugField(
        _("short name"),
        max_length=40,
        unique=True,
        help_text=_("The short name in addresses, such as viewer=ohif."),
    )
    is_enabled = models.BooleanField(
        _("enabled"),
        default=True,
        help_text=_(
            "A viewer that is not enabled opens nothing, and rules pass it over."
        ),
    )
    url_template = models.CharField(
        _("address"),
        max_length=1000,
        help_text=_(
            "What the browser is sent to. {study_uids} and other placeholders are "
            "filled in; a part in square brackets is left out when it would be empty."
        ),
    )
    maximum_studies = models.PositiveSmallIntegerField(
        _("maximum studies"),
        null=True,
        blank=True,
        validators=[MinValueValidator(1)],
        help_text=_("How many studies it can open at once. Empty means any number."),
    )
    needs_one_archive = models.BooleanField(
        _("one archive only"),
        default=True,
        help_text=_("It can't open studies of several archives together."),
    )
    needs_dicomweb = models.BooleanField(
        _("needs DICOMweb"),
        default=False,
        help_text=_("It can only open studies of DICOMweb archives."),
    )

    class Meta:
        ordering = ["name"]
        verbose_name = _("viewer")
        verbose_name_plural = _("viewers")

    def __str__(self) -> str:
        return self.name

    def clean(self) -> None:
        errors: dict[str, Any] = {}
        if problem := viewers.template_problem(self.url_template):
            text = translated(problem)
            errors["url_template"] = text[0].upper() + text[1:]
        if self.slug.lower() == WEASIS:
            errors["slug"] = _("Weasis is built in. Choose another short name.")
        if errors:
            raise ValidationError(errors)

    @property
    def limits(self) -> viewers.Limits:
        return viewers.Limits(
            maximum_studies=self.maximum_studies,
            needs_one_archive=self.needs_one_archive,
            needs_dicomweb=self.needs_dicomweb,
        )

    def limit_exceeded(
        self, archives: Sequence[Archive], studies: int | None = None
    ) -> viewers.Limit | None:
        """What keeps it from opening studies of these archives together."""
        dicomweb = [archive for archive in archives if _is_dicomweb(archive)]
        return viewers.limit_exceeded(
            self.limits,
            studies=studies,
            archives=len(archives),
            dicomweb_archives=len(dicomweb),
        )

    def limits_problem(
        self, archives: Sequence[Archive], studies: int | None = None
    ) -> str:
        """Why it can't open studies of these archives; empty if it can."""
        limit = self.limit_exceeded(archives, studies)
        return viewers.limit_problem(limit, self.limits, studies)

    def archives_problem(self, archives: Sequence[Archive]) -> str:
        """Why it can open studies of none of these archives; empty if it may."""
        limits = [self.archive_limit(archive) for archive in archives]
        limit = limits[0] if limits and all(limits) else None
        return viewers.limit_problem(limit, self.limits)

    def archive_limit(self, archive: Archive) -> viewers.Limit | None:
        """What keeps it from opening any study of an archive."""
        known = dict.fromkeys(viewers.PLACEHOLDERS, "x") | _values_of(archive)
        missing = viewers.missing_values(self.url_template, known)
        if missing & {"host", "port", "ae_title"}:
            return viewers.Limit.DIMSE
        needs_dicomweb = self.needs_dicomweb or "archive_url" in missing
        if needs_dicomweb and not _is_dicomweb(archive):
            return viewers.Limit.DICOMWEB
        return None

    def must_ask(self, selection: Selection, archives: Sequence[Archive]) -> bool:
        """Whether the archives have to be asked before its address is known."""
        if len(archives) > 1 and (self.needs_one_archive or self.needs_dicomweb):
            return True  # only one of them may have the study
        values = self._values(selection, archives, None, "user")
        return bool(viewers.missing_values(self.url_template, values))

    def address(
        self,
        selection: Selection,
        archives: Sequence[Archive],
        studies: Sequence[Study] | None = None,
        *,
        user: str = "",
    ) -> str:
        """Where the browser is sent to open the studies of these archives.

        ``studies`` are those that were found, unless no archive had to be asked. Raises
        ``NotCarriableError`` with what to do instead.
        """
        values = self._values(selection, archives, studies, user)
        known = values.get("study_uids")
        count = len(studies) if studies is not None else len(known or ()) or None
        if problem := self.limits_problem(archives, count):
            raise NotCarriableError(f"{self.name} can't open this. {problem}")
        return viewers.viewer_url(self.url_template, values)

    def _values(
        self,
        selection: Selection,
        archives: Sequence[Archive],
        studies: Sequence[Study] | None,
        user: str,
    ) -> dict[str, str | tuple[str, ...]]:
        values = {**viewer_values.values_of(selection, studies), "user": user}
        if len(archives) == 1:
            values |= _values_of(archives[0])
        return values


def _is_dicomweb(archive: Archive) -> bool:
    return bool(archive.protocol == Archive.Protocol.DICOMWEB)


def _values_of(archive: Archive) -> dict[str, str]:
    return {
        "archive": archive.slug,
        "archive_url": archive.url.rstrip("/"),
        "host": archive.host,
        "port": str(archive.port or ""),
        "ae_title": archive.called_ae_title,
    }
