"""How an archive is doing: the state, when it last worked, and what went wrong last."""

from __future__ import annotations

from django.db import models
from django.db.models import F, Q
from django.utils.translation import gettext_lazy as _


class ArchiveState(models.TextChoices):
    WORKING = "working", _("Working")
    UNAVAILABLE = "unavailable", _("Not answering")
    REFUSED = "refused", _("Refused")
    FAILED = "failed", _("Failing")
    UNKNOWN = "unknown", _("Not asked yet")

    @property
    def condition(self) -> Q:
        """Which archives are in this state."""
        has_failed_last = Q(last_error__isnull=False) & (
            Q(last_success__isnull=True) | Q(last_error__gt=F("last_success"))
        )
        if self is ArchiveState.UNKNOWN:
            return Q(last_error__isnull=True, last_success__isnull=True)
        if self is ArchiveState.WORKING:
            return Q(last_success__isnull=False) & ~has_failed_last
        return has_failed_last & Q(last_error_state=self)


class HealthFields(models.Model):
    """What is known of it. ``archives.watching`` writes these."""

    last_success = models.DateTimeField(
        _("last success"), null=True, blank=True, editable=False
    )
    last_error = models.DateTimeField(
        _("last error"), null=True, blank=True, editable=False
    )
    last_error_state = models.CharField(
        _("kind of the last error"),
        max_length=11,
        choices=ArchiveState,
        default=ArchiveState.FAILED,
        editable=False,
    )
    # The reason of the last error, also when it works again.
    last_message = models.CharField(
        _("reason of the last error"), max_length=500, blank=True, editable=False
    )
    last_milliseconds = models.PositiveIntegerField(
        _("latency in milliseconds"), null=True, blank=True, editable=False
    )
    # The steps of the last "Verify connection" as plain values, and when it was.
    last_verification = models.JSONField(default=dict, blank=True, editable=False)

    class Meta:
        abstract = True

    @property
    def state(self) -> ArchiveState:
        succeeded, failed = self.last_success, self.last_error
        if failed and (not succeeded or failed > succeeded):
            return ArchiveState(self.last_error_state)
        return ArchiveState.WORKING if succeeded else ArchiveState.UNKNOWN
