"""What became of launches, for those who look after them.

The state of a launch says what it is now: nearly all are expired in the end. The result
says what it was good for.
"""

from __future__ import annotations

from django.db import models
from django.db.models import Q
from django.utils.translation import gettext_lazy as _

from launcher.models import Build, Launch

_FAILED = Q(build__state=Build.State.FAILED)
_OPENED = Q(fetched__isnull=False)
_UNDER_WAY = Q(build__state__in=Build.UNFINISHED)


class LaunchResult(models.TextChoices):
    OPENED = "opened", _("Opened")
    FAILED = "failed", _("Failed")
    UNDER_WAY = "under-way", _("Under way")
    NOT_OPENED = "not-opened", _("Not opened")
    REVOKED = "revoked", _("Revoked")

    @property
    def condition(self) -> Q:
        """Which launches had it: each launch has one."""
        if self is LaunchResult.FAILED:
            return _FAILED
        if self is LaunchResult.OPENED:
            return _OPENED & ~_FAILED
        if self is LaunchResult.REVOKED:
            return Q(state=Launch.State.REVOKED) & ~_FAILED & ~_OPENED
        rest = ~_FAILED & ~_OPENED & ~Q(state=Launch.State.REVOKED)
        return rest & (_UNDER_WAY if self is LaunchResult.UNDER_WAY else ~_UNDER_WAY)

    @classmethod
    def of(cls, launch: Launch) -> LaunchResult:
        """That of a launch whose build is at hand."""
        if launch.build.state == Build.State.FAILED:
            return cls.FAILED
        if launch.fetched:
            return cls.OPENED
        if launch.state == Launch.State.REVOKED:
            return cls.REVOKED
        return cls.NOT_OPENED if launch.build.is_finished else cls.UNDER_WAY
