"""Rules that choose the viewer of a launch that names none."""

from __future__ import annotations

import re
from collections.abc import Collection, Sequence

from django.contrib.auth.models import Group
from django.core.exceptions import ValidationError
from django.db import models

from archives.models import Archive
from launcher.addresses import is_inside, network_problem
from launcher.models.templates import LaunchTemplate

_MODALITY = re.compile(r"[A-Z0-9_]{2,16}")  # CS (PS3.5 6.2)
_SEPARATORS = re.compile(r"[,;\s]+")


def _words(text: str) -> list[str]:
    return list(dict.fromkeys(filter(None, _SEPARATORS.split(text))))


class ViewerRule(models.Model):
    """Chooses the template of a launch that names neither template nor viewer.

    Rules are tried in order; the first whose conditions all hold wins. Without one, the
    default template is used.
    """

    name = models.CharField(max_length=64, unique=True)
    is_enabled = models.BooleanField("enabled", default=True)
    position = models.PositiveSmallIntegerField(
        "order", default=0, help_text="Rules with lower numbers are tried first."
    )
    modalities = models.CharField(
        max_length=100,
        blank=True,
        help_text="Codes such as MG, US: one of them must be in a study of the launch. "
        "The archives are asked before the viewer starts. Empty means any.",
    )
    archive = models.ForeignKey(
        Archive,
        models.CASCADE,
        null=True,
        blank=True,
        help_text="Only for launches that ask just this archive. Empty means any.",
    )
    networks = models.CharField(
        max_length=500,
        blank=True,
        help_text="Where the caller's computer is, such as 10.1.0.0/16, 10.2.3.4. Empty "
        "means anywhere.",
    )
    group = models.ForeignKey(
        Group,
        models.CASCADE,
        null=True,
        blank=True,
        help_text="Only for users of this group. Empty means anybody.",
    )
    template = models.ForeignKey(LaunchTemplate, models.CASCADE)

    class Meta:
        ordering = ["position", "name"]

    def __str__(self) -> str:
        return self.name

    def clean(self) -> None:
        """Put the lists into one form; errors name what is in them by mistake."""
        errors = {}
        modalities = [word.upper() for word in _words(self.modalities)]
        if wrong := [code for code in modalities if not _MODALITY.fullmatch(code)]:
            errors["modalities"] = f"{wrong[0]} is not a modality, such as CT or MR."
        networks = _words(self.networks)
        if problem := next(filter(None, map(network_problem, networks)), ""):
            errors["networks"] = problem
        if errors:
            raise ValidationError(errors)
        self.modalities, self.networks = ", ".join(modalities), ", ".join(networks)

    @property
    def modality_codes(self) -> frozenset[str]:
        return frozenset(_words(self.modalities))

    def may_apply(
        self, archives: Sequence[Archive], groups: Collection[int], address: str
    ) -> bool:
        """Whether everything but the modalities holds, and the viewer can open it."""
        if self.archive_id and [self.archive_id] != [one.pk for one in archives]:
            return False
        if self.group_id and self.group_id not in groups:
            return False
        if self.networks and not is_inside(address, _words(self.networks)):
            return False
        viewer = self.template.viewer
        return viewer is None or (
            viewer.is_enabled
            and not viewer.limits_problem(archives)
            and not viewer.archives_problem(archives)
        )

    def conditions(self) -> str:
        """What must hold for it, in words."""
        parts = []
        if self.modalities:
            parts.append(f"modality {self.modalities.replace(', ', ' or ')}")
        if self.archive:
            parts.append(f"archive {self.archive}")
        if self.networks:
            parts.append(f"caller in {self.networks.replace(', ', ' or ')}")
        if self.group:
            parts.append(f"user of group {self.group}")
        return ", ".join(parts) or "any launch"
