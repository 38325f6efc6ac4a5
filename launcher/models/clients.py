"""External systems that launch with a key or a signed link."""

from __future__ import annotations

import secrets
from datetime import datetime
from typing import Any, Self

from django.db import models
from django.db.models import Q
from django.utils import timezone
from django.utils.text import slugify
from django.utils.translation import gettext_lazy as _

from archives.fields import EncryptedTextField
from archives.models import Archive, ArchiveQuerySet
from launcher.models.templates import DateMeaning
from launcher.tokens import digest


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
        LAUNCH = "launch", _("Launch studies, follow and revoke its own launches")
        SEARCH = "search", _("Search studies")
        ARCHIVES = "archives", _("List archives")

    class Encryption(models.TextChoices):
        NONE = "none", _("Not encrypted")
        XOR = "xor", _("As for weasis-pacs-connector (XOR, Base64)")
        SPRING = "spring", _("As for ViewerHub (AES-256-CBC, hexadecimal)")

    name = models.CharField(
        _("name"),
        max_length=64,
        unique=True,
        help_text=_("What the list of launches calls the system."),
    )
    key_prefix = models.CharField(max_length=12, editable=False)
    key_sha256 = models.CharField(max_length=64, unique=True, editable=False)
    scopes = models.JSONField(_("scopes"), default=list)
    archives: models.ManyToManyField[Archive, Any] = models.ManyToManyField(
        Archive,
        blank=True,
        help_text=_(
            "Archives this client may use. Nothing chosen means every archive."
        ),
        verbose_name=_("archives"),
    )
    # Whether archives were chosen; stays true when they are deleted.
    is_restricted = models.BooleanField(default=False, editable=False)
    slug = models.SlugField(
        _("short name"),
        max_length=40,
        unique=True,
        help_text=_("The short name in signed links, as client=ris."),
    )
    # Known in plain to the hub, which has to compute the signature itself.
    signing_secret = EncryptedTextField(blank=True, editable=False)
    date_meaning = models.CharField(
        _("meaning of dates"),
        max_length=6,
        choices=DateMeaning,
        blank=True,
        default="",
        help_text=_(
            "What lowerDateTime and upperDateTime mean in this client's links. "
            "Empty means what the template says."
        ),
    )
    encryption = models.CharField(
        _("encrypted identifiers"),
        max_length=6,
        choices=Encryption,
        default=Encryption.NONE,
        help_text=_(
            "For the time of a migration: how this client's links encrypt their "
            "identifiers. Neither way protects against changes; use signed links."
        ),
    )
    encryption_key = EncryptedTextField(
        _("key or password"),
        blank=True,
        help_text=_(
            "The encrypt.key of weasis-pacs-connector, or the password of ViewerHub."
        ),
    )
    encryption_salt = EncryptedTextField(
        _("salt"),
        blank=True,
        help_text=_("A hexadecimal value that only links for ViewerHub need."),
    )
    is_enabled = models.BooleanField(
        _("enabled"),
        default=True,
        help_text=_(
            "A client that is not enabled can't do anything, and what it launched "
            "ends at once."
        ),
    )
    expires = models.DateTimeField(
        _("expires"),
        null=True,
        blank=True,
        help_text=_("From then on the client can't do anything. Empty means never."),
    )
    created = models.DateTimeField(_("created"), auto_now_add=True)
    last_used = models.DateTimeField(
        _("last used"), null=True, blank=True, editable=False
    )

    objects = ApiClientQuerySet.as_manager()

    class Meta:
        ordering = ["name"]
        verbose_name = _("API client")
        verbose_name_plural = _("API clients")

    def __str__(self) -> str:
        return self.name

    def save(self, **kwargs: Any) -> None:
        if not self.slug:
            self.slug = self.slug_of_name() or self.key_prefix.replace("_", "-")
        super().save(**kwargs)

    def slug_of_name(self) -> str:
        """A short name made of the name; empty if that has no Latin letters."""
        return slugify(self.name)[:40].strip("-")

    def issue_key(self) -> str:
        """Give the client a new key and return it: only its hash is kept."""
        key = f"vh_{secrets.token_urlsafe(32)}"
        self.key_prefix, self.key_sha256 = key[:8], digest(key)
        return key

    def issue_signing_secret(self) -> str:
        """Give the client a new secret for signed links and return it: 256 bits."""
        secret = secrets.token_urlsafe(32)
        self.signing_secret = secret
        return secret

    @property
    def signs_links(self) -> bool:
        """Whether it has a secret for signed links, readable or not."""
        return bool(self.__dict__.get("signing_secret"))

    def is_active(self, at: datetime | None = None) -> bool:
        """Whether it may still do anything, as ``active`` selects clients."""
        now = at or timezone.now()
        return self.is_enabled and (self.expires is None or self.expires > now)

    def has_scope(self, scope: str) -> bool:
        return scope in self.scopes

    def allowed_archives(self) -> ArchiveQuerySet:
        """Archives the client may know of, also those that are disabled."""
        if not self.is_restricted:
            return Archive.objects.all()
        return Archive.objects.filter(pk__in=self.archives.values("pk"))

    def usable_archives(self) -> ArchiveQuerySet:
        return self.allowed_archives().enabled()
