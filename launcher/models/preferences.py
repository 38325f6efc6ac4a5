"""What users choose for the portal, wherever they log in."""

from __future__ import annotations

from typing import Final

from django.conf import settings
from django.contrib.auth.models import User
from django.db import models
from django.utils.translation import gettext_lazy as _

# What a row may show of a study beside patient, description, date and modalities, and
# which of it is shown until the user chooses.
FACTS: Final = {
    "accession_number": _("Accession number"),
    "study_id": _("Study ID"),
    "patient_birth_date": _("Birth date"),
    "referring_physician_name": _("Referring physician"),
    "counts": _("Numbers of series and images"),
    "archive": _("Archive"),
}
USUAL_FACTS: Final = ("accession_number", "patient_birth_date", "counts", "archive")


class Preferences(models.Model):
    user = models.OneToOneField(
        settings.AUTH_USER_MODEL,
        models.CASCADE,
        primary_key=True,
        related_name="preferences",
    )
    facts = models.JSONField(default=list)

    class Meta:
        verbose_name = verbose_name_plural = _("preferences")

    def __str__(self) -> str:
        return str(self.pk)


def facts_of(user: User) -> frozenset[str]:
    """Keys of ``FACTS`` that this user wants to see in rows."""
    chosen = Preferences.objects.filter(user=user).first()
    return frozenset(chosen.facts if chosen else USUAL_FACTS) & FACTS.keys()
