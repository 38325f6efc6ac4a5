"""Rules that choose the viewer of a launch that names none."""

from __future__ import annotations

import re
from collections.abc import Collection, Sequence

from django.contrib.auth.models import Group
from django.core.exceptions import ValidationError
from django.db import models
from django.utils.translation import gettext
from django.utils.translation import gettext_lazy as _

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

    name = models.CharField(
        _("name"),
        max_length=64,
        unique=True,
        help_text=_("What the preview of a launch calls the rule."),
    )
    is_enabled = models.BooleanField(
        _("enabled"),
        default=True,
        help_text=_("A rule that is not enabled is passed over."),
    )
    position = models.PositiveSmallIntegerField(
        _("order"), default=0, help_text=_("Rules with lower numbers are tried first.")
    )
    modalities = models.CharField(
        _("modalities"),
        max_length=100,
        blank=True,
        help_text=_(
            "Codes such as MG, US, of which one must be in a study of the launch. "
            "The archives are asked before the viewer starts. Empty means any."
        ),
    )
    archive = models.ForeignKey(
        Archive,
        models.CASCADE,
        null=True,
        blank=True,
        help_text=_("Only for launches that ask just this archive. Empty means any."),
        verbose_name=_("archive"),
    )
    networks = models.CharField(
        _("networks"),
        max_length=500,
        blank=True,
        help_text=_(
            "Where the caller's computer is, such as 10.1.0.0/16, 10.2.3.4. Empty "
            "means anywhere."
        ),
    )
    group = models.ForeignKey(
        Group,
        models.CASCADE,
        null=True,
        blank=True,
        help_text=_("Only for users of this group. Empty means anybody."),
        verbose_name=_("group"),
    )
    template = models.ForeignKey(
        LaunchTemplate,
        models.CASCADE,
        verbose_name=_("template"),
        help_text=_(
            "The template of launches that the rule is for. It says which viewer opens."
        ),
    )

    class Meta:
        ordering = ["position", "name"]
        verbose_name = _("viewer rule")
        verbose_name_plural = _("viewer rules")

    def __str__(self) -> str:
        return self.name

    def clean(self) -> None:
        """Put the lists into one form; errors name what is in them by mistake."""
        errors = {}
        modalities = [word.upper() for word in _words(self.modalities)]
        if wrong := [code for code in modalities if not _MODALITY.fullmatch(code)]:
            errors["modalities"] = gettext(
                "%(code)s is not a modality, such as CT or MR."
            ) % {"code": wrong[0]}
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
            parts.append(
                gettext("modality %(codes)s") % {"codes": self._any_of(self.modalities)}
            )
        if self.archive:
            parts.append(gettext("archive %(archive)s") % {"archive": self.archive})
        if self.networks:
            parts.append(
                gettext("caller in %(networks)s")
                % {"networks": self._any_of(self.networks)}
            )
        if self.group:
            parts.append(gettext("user of group %(group)s") % {"group": self.group})
        return ", ".join(parts) or gettext("any launch")

    @staticmethod
    def _any_of(codes: str) -> str:
        return codes.replace(", ", gettext(" or "))
