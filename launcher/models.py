"""Launch templates, launches and their builds, and the clients of the REST API."""

from __future__ import annotations

import secrets
import uuid
from collections.abc import Iterable
from datetime import datetime, timedelta
from typing import Any, Self

from django.conf import settings
from django.contrib.auth.models import AnonymousUser, User
from django.core.exceptions import ValidationError
from django.core.validators import MaxLengthValidator
from django.db import models, transaction
from django.db.models import Q
from django.urls import reverse
from django.utils import timezone

from archives.entities import Selection
from archives.fields import EncryptedTextField
from archives.models import Archive, ArchiveQuerySet
from archives.validators import validate_base_url
from launcher import weasis
from launcher.criteria import selection_from_json
from launcher.tokens import digest, image_token


class LaunchTemplateQuerySet(models.QuerySet["LaunchTemplate"]):
    def default(self) -> LaunchTemplate:
        """The template of launches that name none; made if it is missing."""
        template, _ = self.get_or_create(
            is_default=True, defaults={"name": "Open in Weasis", "slug": "weasis"}
        )
        return template

    def make_default(self, template: LaunchTemplate) -> None:
        """Let ``template`` be the default, and no other any more."""
        with transaction.atomic():
            # Locked in one order, so that two administrators wait for each other.
            list(self.select_for_update().order_by("pk").values_list("pk"))
            self.exclude(pk=template.pk).update(is_default=False)
            self.filter(pk=template.pk).update(is_default=True)
        template.is_default = True


class LaunchTemplate(models.Model):
    """How a viewer is started: what runs before the images load, and with which settings."""

    class Mode(models.TextChoices):
        MANIFEST = "manifest", "Manifest, built by the hub"
        DICOM_RS = "dicom_rs", "$dicom:rs, Weasis asks the archive itself"

    name = models.CharField(max_length=64, unique=True)
    slug = models.SlugField(
        max_length=40, unique=True, help_text="For template=… in URLs."
    )
    is_default = models.BooleanField(
        "default", default=False, help_text="Used where a launch names no template."
    )
    archives: models.ManyToManyField[Archive, Any] = models.ManyToManyField(
        Archive,
        blank=True,
        help_text="Archives to ask where the launch names none. Nothing chosen means all.",
    )
    mode = models.CharField(
        max_length=8,
        choices=Mode,
        default=Mode.MANIFEST,
        help_text="$dicom:rs needs DICOMweb archives with images straight from the "
        "archive; other launches of this template get a manifest.",
    )
    commands = models.TextField(
        "commands before the load",
        blank=True,
        validators=[MaxLengthValidator(600)],
        help_text="One Weasis command a line, such as $dicom:close --all",
    )
    properties = models.TextField(
        blank=True,
        validators=[MaxLengthValidator(800)],
        help_text="One Weasis property a line: its name, a space, its value, such as "
        "weasis.profile radiology",
    )
    cdb = models.CharField(
        "code base (cdb)",
        max_length=300,
        blank=True,
        validators=[validate_base_url],
        help_text="Where Weasis finds its plug-ins. Empty means those installed with it.",
    )
    wcfg = models.CharField(
        "remote configuration (wcfg)",
        max_length=300,
        blank=True,
        validators=[validate_base_url],
        help_text="An address Weasis reads its configuration from at start.",
    )

    objects = LaunchTemplateQuerySet.as_manager()

    class Meta:
        ordering = ["name"]
        constraints = [
            models.UniqueConstraint(
                fields=["is_default"],
                condition=Q(is_default=True),
                name="one_default_launch_template",
                violation_error_message="Another template is the default already.",
            )
        ]

    def __str__(self) -> str:
        return self.name

    def clean(self) -> None:
        """Refuse what a ``weasis://`` URI can't carry, naming field and line."""
        errors: dict[str, list[str]] = {}
        for field, check in (
            ("commands", weasis.command_problem),
            ("properties", weasis.property_problem),
        ):
            lines = enumerate(getattr(self, field).splitlines(), 1)
            problems = [
                f"Line {number}: {problem}"
                for number, line in lines
                if line.strip() and (problem := check(line.strip()))
            ]
            if problems:
                errors[field] = problems
        for field in ("cdb", "wcfg"):
            if problem := weasis.config_value_problem(getattr(self, field)):
                errors[field] = [problem]
        if not errors and (too_long := self._length_problem()):
            errors["commands"] = [too_long]
        if errors:
            raise ValidationError(errors)

    def _length_problem(self) -> str:
        uri = weasis.open_manifest(
            weasis.example_manifest_url(settings.VIEWERHUB_PUBLIC_URL), self.options()
        )
        over = len(uri) - weasis.MAXIMUM_URI_LENGTH
        return (
            f"Together with its properties this makes a URI {over} characters too long "
            "for Windows. Shorten the commands or the properties."
            if over > 0
            else ""
        )

    def options(self) -> weasis.LaunchOptions:
        def lines(text: str) -> tuple[str, ...]:
            return tuple(filter(None, map(str.strip, text.splitlines())))

        return weasis.LaunchOptions(
            commands=lines(self.commands),
            properties=lines(self.properties),
            cdb=self.cdb,
            wcfg=self.wcfg,
        )

    def uri(
        self, manifest_url: str, selection: Selection, archives: Iterable[Archive]
    ) -> str:
        """What starts Weasis: in the mode of the template where everything allows it."""
        options, asked = self.options(), list(archives)
        can_ask = bool(asked) and all(
            archive.protocol == Archive.Protocol.DICOMWEB
            and archive.images == Archive.Images.DIRECT
            for archive in asked
        )
        if self.mode == self.Mode.DICOM_RS and can_ask:
            try:
                urls = [archive.url.rstrip("/") for archive in asked]
                return weasis.open_dicom_rs(urls, selection, options)
            except weasis.NotCarriableError:
                pass  # a manifest carries everything
        return weasis.open_manifest(manifest_url, options)


class ApiClientQuerySet(models.QuerySet["ApiClient"]):
    def active(self, at: datetime | None = None) -> Self:
        now = at or timezone.now()
        return self.filter(
            Q(expires__isnull=True) | Q(expires__gt=now), is_enabled=True
        )

    def authenticate(self, key: str) -> ApiClient | None:
        """The active client that owns ``key``, or ``None``."""
        return self.active().filter(key_sha256=digest(key)).first()


class ApiClient(models.Model):
    """An external system with a key for the REST API and for launch URLs."""

    class Scope(models.TextChoices):
        LAUNCH = "launch", "Launch studies, follow and revoke its own launches"
        SEARCH = "search", "Search studies"
        ARCHIVES = "archives", "List archives"

    name = models.CharField(max_length=64, unique=True)
    key_prefix = models.CharField(max_length=12, editable=False)
    key_sha256 = models.CharField(max_length=64, unique=True, editable=False)
    scopes = models.JSONField(default=list)
    archives: models.ManyToManyField[Archive, Any] = models.ManyToManyField(
        Archive,
        blank=True,
        help_text="Archives this client may use. Nothing chosen means every archive.",
    )
    is_enabled = models.BooleanField("enabled", default=True)
    expires = models.DateTimeField(null=True, blank=True)
    created = models.DateTimeField(auto_now_add=True)
    last_used = models.DateTimeField(null=True, blank=True, editable=False)

    objects = ApiClientQuerySet.as_manager()

    class Meta:
        ordering = ["name"]
        verbose_name = "API client"

    def __str__(self) -> str:
        return self.name

    def issue_key(self) -> str:
        """Give the client a new key and return it: only its hash is kept."""
        key = f"vh_{secrets.token_urlsafe(32)}"
        self.key_prefix, self.key_sha256 = key[:8], digest(key)
        return key

    def has_scope(self, scope: str) -> bool:
        return scope in self.scopes

    def allowed_archives(self) -> ArchiveQuerySet:
        """Archives the client may know of, also those that are disabled."""
        if not self.archives.exists():
            return Archive.objects.all()
        return Archive.objects.filter(pk__in=self.archives.values("pk"))

    def usable_archives(self) -> ArchiveQuerySet:
        return self.allowed_archives().enabled()


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
    # under way: a second launch of the same finds it here. Null once finished.
    flight = models.CharField(max_length=64, unique=True, null=True)  # noqa: DJ001
    state = models.CharField(max_length=8, choices=State, default=State.PENDING)
    # Patient and study in words, for the list of recent launches.
    label = EncryptedTextField(blank=True, unreadable="")
    created = models.DateTimeField(auto_now_add=True)
    started = models.DateTimeField(null=True)
    finished = models.DateTimeField(null=True)

    objects = BuildQuerySet.as_manager()

    class Meta:
        indexes = [
            models.Index(
                fields=["created"],
                condition=Q(state__in=("pending", "building")),
                name="build_unfinished",  # what the sweeper looks for
            )
        ]

    def __str__(self) -> str:
        return str(self.pk)

    @property
    def is_finished(self) -> bool:
        return self.state not in self.UNFINISHED

    def get_selection(self) -> Selection:
        return selection_from_json(self.selection)


class ArchiveOutcome(models.Model):
    """How one archive answered a build."""

    class State(models.TextChoices):
        OK = "ok", "Complete"
        EMPTY = "empty", "Nothing found"
        TRUNCATED = "truncated", "Incomplete"
        UNAVAILABLE = "unavailable", "Not answering"
        REFUSED = "refused", "Refused"
        FAILED = "failed", "Failed"

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
        PENDING = "pending", "Queued"
        BUILDING = "building", "Building"
        READY = "ready", "Ready"
        FAILED = "failed", "Failed"
        FETCHED = "fetched", "Opened"
        EXPIRED = "expired", "Expired"
        REVOKED = "revoked", "Revoked"

    class Origin(models.TextChoices):
        PORTAL = "portal", "Search page"
        URL = "url", "Launch URL"
        API = "api", "REST API"

    UNFINISHED = (State.PENDING, State.BUILDING)

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    build = models.ForeignKey(Build, models.CASCADE, related_name="launches")
    template = models.ForeignKey(LaunchTemplate, models.SET_NULL, null=True)
    user = models.ForeignKey(
        settings.AUTH_USER_MODEL, models.SET_NULL, null=True, related_name="launches"
    )
    api_client = models.ForeignKey(ApiClient, models.SET_NULL, null=True)
    origin = models.CharField(max_length=6, choices=Origin)
    state = models.CharField(max_length=8, choices=State, default=State.PENDING)
    manifest_token_sha256 = models.CharField(max_length=64, unique=True, editable=False)
    image_token_sha256 = models.CharField(max_length=64, unique=True, editable=False)
    created = models.DateTimeField(auto_now_add=True, db_index=True)
    expires = models.DateTimeField(db_index=True)
    fetched = models.DateTimeField(null=True)
    viewer = models.CharField(max_length=32, blank=True)

    objects = LaunchQuerySet.as_manager()

    class Meta:
        ordering = ["-created"]
        verbose_name_plural = "launches"
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

    def revoke(self) -> None:
        """End both tokens at once."""
        self.state = self.State.REVOKED
        self.save(update_fields=["state"])
