"""Launches and the builds they share."""

from __future__ import annotations

import secrets
import uuid
from datetime import datetime, timedelta
from typing import Any, Final, Self

from django.conf import settings
from django.contrib.auth.models import AnonymousUser, User
from django.db import connection, models
from django.db.models import Q
from django.urls import reverse
from django.utils import timezone
from django.utils.translation import gettext_lazy as _

from archives.entities import Selection
from archives.fields import EncryptedTextField
from archives.models import Archive
from launcher.models.clients import ApiClient
from launcher.models.templates import LaunchTemplate
from launcher.selections import selection_from_json
from launcher.tokens import digest, image_token

# For so long a build that was made ahead of a launch is as good as a new one.
AHEAD: Final = timedelta(seconds=60)


# Archives have so many columns that Django composes this for longer than it is answered.
_ARCHIVES_OF_BUILD: Final = """
    SELECT archives_archive.* FROM archives_archive
    JOIN launcher_build_archives ON archive_id = archives_archive.id
    WHERE build_id = %s
    ORDER BY archives_archive.position, archives_archive.name
"""


class BuildQuerySet(models.QuerySet["Build"]):
    def unfinished(self) -> Self:
        return self.filter(state__in=Build.UNFINISHED)


class Build(models.Model):
    """Asking the archives for one selection, once for all launches that share it.

    The hierarchy it collects is in Redis (``launcher.store``); the row is its record.
    """

    class State(models.TextChoices):
        PENDING = "pending"
        BUILDING = "building"
        READY = "ready"
        FAILED = "failed"

    UNFINISHED = (State.PENDING, State.BUILDING)

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    selection = models.JSONField()
    archives: models.ManyToManyField[Archive, Any] = models.ManyToManyField(Archive)
    # SHA-256 of the canonical selection, its archives and its owner, while the build is
    # under way: a second launch of the same finds it here. Null once finished, unless it
    # was begun ahead of a launch, which may find it for a while.
    flight = models.CharField(max_length=64, unique=True, null=True)  # noqa: DJ001
    state = models.CharField(max_length=8, choices=State, default=State.PENDING)
    # Patient and study in words, for the list of recent launches.
    label = EncryptedTextField(blank=True, unreadable="")
    # What it opens, once where several archives hold the same; null until it is known.
    studies = models.PositiveIntegerField(null=True)
    series = models.PositiveIntegerField(null=True)
    instances = models.PositiveIntegerField(null=True)
    # A manifest that was sent to the hub whole, instead of a selection to ask for.
    uploaded_manifest = EncryptedTextField(blank=True, unreadable="")
    created = models.DateTimeField(auto_now_add=True)
    # The user it was begun for ahead of a launch; null with the first launch.
    ahead_for = models.ForeignKey(
        settings.AUTH_USER_MODEL, models.CASCADE, null=True, related_name="+"
    )
    # Later than that if Redis lost what it collected, and it was queued again.
    queued = models.DateTimeField(default=timezone.now)
    started = models.DateTimeField(null=True)
    finished = models.DateTimeField(null=True)

    objects = BuildQuerySet.as_manager()

    class Meta:
        indexes = [
            models.Index(
                fields=["queued"],
                condition=Q(state__in=("pending", "building")),
                name="build_unfinished",  # what the sweeper looks for
            )
        ]

    def __str__(self) -> str:
        return str(self.pk)

    @property
    def is_finished(self) -> bool:
        return self.state not in self.UNFINISHED

    def may_be_joined(self) -> bool:
        """Whether a launch may share it: it is under way, or has just been made ahead."""
        if self.state == self.State.READY and self.ahead_for_id and self.finished:
            return self.finished > timezone.now() - AHEAD
        return not self.is_finished

    def get_selection(self) -> Selection:
        return selection_from_json(self.selection)

    def get_archives(self) -> list[Archive]:
        """Its archives, in their order; for what has to be quick."""
        key = self._meta.pk.get_db_prep_value(self.pk, connection)
        return list(Archive.objects.raw(_ARCHIVES_OF_BUILD, [key]))


class ArchiveOutcome(models.Model):
    """How one archive answered a build."""

    class State(models.TextChoices):
        OK = "ok", _("Complete")
        EMPTY = "empty", _("Nothing found")
        TRUNCATED = "truncated", _("Incomplete")
        UNAVAILABLE = "unavailable", _("Not answering")
        REFUSED = "refused", _("Refused")
        FAILED = "failed", _("Failed")

    WITH_IMAGES = (State.OK, State.TRUNCATED)

    build = models.ForeignKey(Build, models.CASCADE, related_name="outcomes")
    archive = models.ForeignKey(Archive, models.CASCADE)
    state = models.CharField(max_length=11, choices=State)
    message = models.CharField(max_length=500, blank=True)
    studies = models.PositiveIntegerField(default=0)
    series = models.PositiveIntegerField(default=0)
    instances = models.PositiveIntegerField(default=0)
    milliseconds = models.PositiveIntegerField(default=0)

    class Meta:
        ordering = ["archive__position", "archive__name"]
        constraints = [
            models.UniqueConstraint(
                fields=["build", "archive"], name="one_outcome_per_archive"
            )
        ]

    def __str__(self) -> str:
        return f"{self.archive}: {self.get_state_display()}"


class LaunchQuerySet(models.QuerySet["Launch"]):
    def visible_to(self, user: User | AnonymousUser) -> Self:
        """A user's own launches; staff who may view launches see all."""
        if user.has_perm("launcher.view_launch"):
            return self.all()
        return self.filter(user=user) if isinstance(user, User) else self.none()

    def of_client(self, client: ApiClient) -> Self:
        return self.filter(api_client=client)

    def open(self, at: datetime | None = None) -> Self:
        """Launches whose tokens still open something."""
        now = at or timezone.now()
        return self.filter(expires__gt=now).exclude(state=Launch.State.REVOKED)


class Launch(models.Model):
    """One "Open in Weasis": who opened what, when, and what became of it."""

    class State(models.TextChoices):
        PENDING = "pending", _("Queued")
        BUILDING = "building", _("Building")
        READY = "ready", _("Ready")
        FAILED = "failed", _("Failed")
        FETCHED = "fetched", _("Opened")
        EXPIRED = "expired", _("Expired")
        REVOKED = "revoked", _("Revoked")

    class Origin(models.TextChoices):
        PORTAL = "portal", _("Search page")
        URL = "url", _("Launch URL")
        IID = "iid", _("IHE Invoke Image Display")
        LINK = "link", _("Signed link")
        UPLOAD = "upload", _("Uploaded manifest")
        API = "api", _("REST API")

    UNFINISHED = (State.PENDING, State.BUILDING)

    id = models.UUIDField(
        _("identifier"), primary_key=True, default=uuid.uuid4, editable=False
    )
    build = models.ForeignKey(Build, models.CASCADE, related_name="launches")
    template = models.ForeignKey(
        LaunchTemplate, models.SET_NULL, null=True, verbose_name=_("template")
    )
    user = models.ForeignKey(
        settings.AUTH_USER_MODEL,
        models.SET_NULL,
        null=True,
        related_name="launches",
        verbose_name=_("user"),
    )
    api_client = models.ForeignKey(
        ApiClient, models.SET_NULL, null=True, verbose_name=_("API client")
    )
    origin = models.CharField(_("origin"), max_length=6, choices=Origin)
    # Of the browser or program that launched; empty where the hub did not see it.
    address = models.GenericIPAddressField(_("address"), null=True, blank=True)
    state = models.CharField(
        _("state"), max_length=8, choices=State, default=State.PENDING
    )
    manifest_token_sha256 = models.CharField(max_length=64, unique=True, editable=False)
    image_token_sha256 = models.CharField(max_length=64, unique=True, editable=False)
    created = models.DateTimeField(_("created"), auto_now_add=True, db_index=True)
    expires = models.DateTimeField(_("expires"), db_index=True)
    fetched = models.DateTimeField(_("fetched"), null=True)
    viewer = models.CharField(_("viewer"), max_length=32, blank=True)
    # In which the viewer is told what the archives answered.
    language = models.CharField(max_length=8, default="en", editable=False)

    objects = LaunchQuerySet.as_manager()

    class Meta:
        ordering = ["-created"]
        verbose_name = _("launch")
        verbose_name_plural = _("launches")
        permissions = [("audit_launch", "Can see which patients were opened")]
        indexes = [models.Index(fields=["user", "-created"], name="launch_recent")]

    def __str__(self) -> str:
        return str(self.pk)

    def get_absolute_url(self) -> str:
        return reverse("launcher:launch_detail", args=[self.pk])

    def issue_token(self) -> str:
        """Give the launch its manifest token and lifetime; only hashes are kept."""
        token = secrets.token_urlsafe(32)
        self.manifest_token_sha256 = digest(token)
        self.image_token_sha256 = digest(image_token(token))
        self.expires = timezone.now() + timedelta(
            seconds=settings.VIEWERHUB_LAUNCH_LIFETIME
        )
        return token

    def is_open(self, at: datetime | None = None) -> bool:
        """Whether its tokens still open something."""
        now = at or timezone.now()
        return self.state != self.State.REVOKED and self.expires > now

    def opens(self, at: datetime | None = None) -> bool:
        """Whether it is open, and whoever started it may still come in.

        Reads the user and the client, if it has them.
        """
        is_barred = (self.user is not None and not self.user.is_active) or (
            self.api_client is not None and not self.api_client.is_active(at)
        )
        return self.is_open(at) and not is_barred

    def revoke(self) -> None:
        """End both tokens at once."""
        self.state = self.State.REVOKED
        self.save(update_fields=["state"])
