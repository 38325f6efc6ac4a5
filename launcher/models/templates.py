"""Launch templates: how a viewer is started."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Final

from django.conf import settings
from django.core.exceptions import ValidationError
from django.core.validators import (
    MaxLengthValidator,
    MaxValueValidator,
    MinValueValidator,
)
from django.db import models, transaction
from django.db.models import Q
from django.utils.translation import gettext
from django.utils.translation import gettext_lazy as _

from archives.entities import Selection
from archives.models import Archive
from archives.validators import validate_base_url
from launcher import starting, weasis
from launcher import template_lines as lines
from launcher.criteria import LaunchExtras
from launcher.messages import translated
from launcher.models.viewers import Viewer

_NO_EXTRAS: Final = LaunchExtras()


class DateMeaning(models.TextChoices):
    """What ``lowerDateTime`` and ``upperDateTime`` of a launch URL mean."""

    IHE = "ihe", _("lower is the earliest, upper the latest (IHE)")
    LEGACY = (
        "legacy",
        _("lower is the latest, upper the earliest (weasis-pacs-connector)"),
    )


class LaunchTemplateQuerySet(models.QuerySet["LaunchTemplate"]):
    def default(self) -> LaunchTemplate:
        """The template of launches that name none; made if it is missing."""
        template, _ = self.get_or_create(
            is_default=True, defaults={"name": "Open in Weasis", "slug": "weasis"}
        )
        return template

    def of_weasis(self) -> LaunchTemplate:
        """The first template for Weasis, the default before others; made if missing."""
        found = self.filter(viewer=None).order_by("-is_default", "name").first()
        if found is None:
            found, _ = self.get_or_create(
                viewer=None, defaults={"name": "Plain Weasis", "slug": "plain-weasis"}
            )
        return found

    def make_default(self, template: LaunchTemplate) -> None:
        """Let ``template`` be the default, and no other any more."""
        with transaction.atomic():
            # Locked in one order, so that two administrators wait for each other.
            list(self.select_for_update().order_by("pk").values_list("pk"))
            self.exclude(pk=template.pk).update(is_default=False)
            self.filter(pk=template.pk).update(is_default=True)
        template.is_default = True


class LaunchTemplate(models.Model):
    """How a viewer is started: what runs before the images load, and with which "
    "settings."""

    class Mode(models.TextChoices):
        AUTO = "auto", _("Automatic: whatever the archives of the launch allow")
        MANIFEST = "manifest", _("Manifest, built by the hub")
        DICOM_RS = "dicom_rs", _("$dicom:rs, Weasis asks the archive itself")

    class Retrieval(models.TextChoices):
        """How a manifest tells Weasis to fetch the images."""

        AUTO = "auto", _("Automatic: whatever archive and Weasis support")
        WADO_URI = "wado_uri", _("WADO-URI, image by image")
        WADO_RS = "wado_rs", _("WADO-RS, image by image (Weasis 4.7.0)")
        WADO_RS_SERIES = "wado_rs_series", _("WADO-RS, whole series (Weasis 4.7.2)")
        WADO_RS_STUDY = "wado_rs_study", _("WADO-RS, whole studies (Weasis 4.7.2)")
        FILES = "files", _("Direct files, an address for each image")

    class Policy(models.TextChoices):
        AUTO = "auto", _("Verify for IHE Invoke Image Display, else fast")
        FAST = "fast", _("Fast: start the viewer at once")
        VERIFY = "verify", _("Verify: answer 404 if no archive has the study")

    class Images(models.TextChoices):
        ARCHIVE = "", _("As each archive says")
        GATEWAY = "gateway", _("Through the hub")
        DIRECT = "direct", _("Straight from the archive, where it asks for no password")

    name = models.CharField(
        _("name"),
        max_length=64,
        unique=True,
        help_text=_("What users choose it by, and what the list of launches shows."),
    )
    slug = models.SlugField(
        _("short name"),
        max_length=40,
        unique=True,
        help_text=_(
            "The short name in addresses, such as template=ward. Changing it breaks links."
        ),
    )
    is_default = models.BooleanField(
        _("default"),
        default=False,
        help_text=_("It is used where a launch names no template."),
    )
    viewer = models.ForeignKey(
        Viewer,
        models.PROTECT,
        null=True,
        blank=True,
        related_name="templates",
        help_text=_("Empty means Weasis."),
        verbose_name=_("viewer"),
    )
    archives: models.ManyToManyField[Archive, Any] = models.ManyToManyField(
        Archive,
        blank=True,
        help_text=_(
            "Archives to ask where the launch names none. Nothing chosen means all."
        ),
        verbose_name=_("archives"),
    )
    mode = models.CharField(
        _("mode"),
        max_length=8,
        choices=Mode,
        default=Mode.AUTO,
        help_text=_(
            "With $dicom:rs, Weasis searches DICOMweb archives itself: those with "
            "images straight from the archive, and the hub for others. What it can't "
            "ask gets "
            "a manifest. Automatic means a manifest, except for archive products that only "
            "$dicom:rs suits."
        ),
    )
    retrieval = models.CharField(
        _("retrieval"),
        max_length=14,
        choices=Retrieval,
        default=Retrieval.AUTO,
        help_text=_(
            "WADO-RS is for DICOMweb archives; others, and versions of Weasis "
            "that can't, get WADO-URI. With whole studies, Weasis asks for the "
            "series itself."
        ),
    )
    images = models.CharField(
        _("images"),
        max_length=7,
        choices=Images,
        blank=True,
        default="",
        help_text=_(
            "Whether Weasis fetches images through the hub, which needs no password, "
            "or from the archive itself."
        ),
    )
    policy = models.CharField(
        _("policy"),
        max_length=6,
        choices=Policy,
        default=Policy.AUTO,
        help_text=_(
            "Verifying asks the archives one short question before the viewer "
            "starts, and waits at most 1.5 seconds for it."
        ),
    )
    date_meaning = models.CharField(
        _("meaning of dates"),
        max_length=6,
        choices=DateMeaning,
        default=DateMeaning.IHE,
        help_text=_(
            "What lowerDateTime and upperDateTime mean. An API client may say "
            "otherwise for its own links."
        ),
    )
    opens_primary_study_first = models.BooleanField(
        _("primary study first"),
        default=False,
        help_text=_(
            "Images of the first study that was asked for, or else the newest, "
            "are loaded before those of the others."
        ),
    )
    commands = models.TextField(
        _("commands before the load"),
        blank=True,
        validators=[MaxLengthValidator(600)],
        help_text=_(
            "One Weasis command a line, such as $dicom:close --all or $dicom:close "
            '-p "{patient_id}". Placeholders are {patient_id}, {study_uid}, '
            "{accession_number}, {user} and {host}; a line is left out where the "
            "launch does "
            "not name them."
        ),
    )
    properties = models.TextField(
        _("properties"),
        blank=True,
        validators=[MaxLengthValidator(800)],
        help_text=_(
            "One Weasis property a line: its name, a space, its value, such as "
            "weasis.profile radiology or weasis.user {user}."
        ),
    )
    cdb = models.CharField(
        _("code base (cdb)"),
        max_length=300,
        blank=True,
        validators=[validate_base_url],
        help_text=_(
            "Where Weasis finds its plug-ins. Empty means those installed with it."
        ),
    )
    wcfg = models.CharField(
        _("remote configuration (wcfg)"),
        max_length=300,
        blank=True,
        validators=[validate_base_url],
        help_text=_("An address Weasis reads its configuration from at start."),
    )

    transfer_syntax = models.CharField(
        _("transfer syntax"),
        max_length=64,
        blank=True,
        help_text=_(
            "The UID of the transfer syntax to ask images in by WADO-URI, such as "
            "1.2.840.10008.1.2.4.50. Empty means as they are stored."
        ),
    )
    compression_rate = models.PositiveSmallIntegerField(
        _("compression rate"),
        null=True,
        blank=True,
        validators=[MinValueValidator(1), MaxValueValidator(100)],
        help_text=_("Image quality for a lossy transfer syntax, from 1 to 100."),
    )
    override_tags = models.CharField(
        _("override tags"),
        max_length=500,
        blank=True,
        help_text=_(
            "Tags that Weasis overwrites in the images with the values of the "
            "archive's answer, such as 0x00100010, 0x00100020."
        ),
    )
    http_tags = models.TextField(
        _("HTTP headers"),
        blank=True,
        validators=[MaxLengthValidator(2000)],
        help_text=_(
            "Headers Weasis sends to archives it gets images from directly, one a "
            "line as Name: value. They are in the manifest, so put no secret here."
        ),
    )
    allowed_properties = models.TextField(
        _("properties allowed in URLs (pro)"),
        blank=True,
        help_text=_(
            "Names of properties a launch URL may set, one a line. Empty means none."
        ),
    )
    allowed_commands = models.TextField(
        _("commands allowed in URLs (arg)"),
        blank=True,
        help_text=_(
            "Commands a launch URL may add, one a line, such as $dicom:close --all. "
            "Only exactly these. Empty means none."
        ),
    )
    allowed_addresses = models.TextField(
        _("addresses allowed in URLs (cdb, wcfg)"),
        blank=True,
        help_text=_(
            "Beginnings of addresses a launch URL may name, one a line. Empty "
            "means none."
        ),
    )

    objects = LaunchTemplateQuerySet.as_manager()

    class Meta:
        ordering = ["name"]
        verbose_name = _("launch template")
        verbose_name_plural = _("launch templates")
        constraints = [
            models.UniqueConstraint(
                fields=["is_default"],
                condition=Q(is_default=True),
                name="one_default_launch_template",
                violation_error_message=_("Another template is the default already."),
            )
        ]

    def __str__(self) -> str:
        return self.name

    def clean(self) -> None:
        """Refuse what Weasis can't read, naming field and line."""
        self.cdb = self.cdb.rstrip("/")  # Weasis adds "/conf/base.json"
        errors: dict[str, list[str]] = {}
        for field, check_line in _LINE_CHECKS.items():
            if problems := lines.problems_of(getattr(self, field), check_line):
                errors[field] = list(map(translated, problems))
        for field, check in _FIELD_CHECKS.items():
            if problem := check(getattr(self, field)):
                errors[field] = [translated(problem)]
        if self.compression_rate and not self.transfer_syntax:
            errors["compression_rate"] = [
                gettext("Give the transfer syntax it is for.")
            ]
        if not errors and (too_long := self._length_problem(self.options())):
            errors["commands"] = [too_long]
        if errors:
            raise ValidationError(errors)
        tags = map(str.lower, lines.tags_of(self.override_tags))
        self.override_tags = ",".join(tags)

    def _length_problem(self, options: weasis.LaunchOptions) -> str:
        urls = starting.example_urls(self, settings.VIEWERHUB_PUBLIC_URL)
        try:
            weasis.open_manifests(urls, options)
        except weasis.TooLongError as error:
            return gettext(
                "Together with its properties this makes a URI %(count)s characters too "
                "long for Windows. Shorten the commands or the properties."
            ) % {"count": error.over}
        return ""

    # Starting Weasis

    def options(self) -> weasis.LaunchOptions:
        """What goes beside the load command, with examples for its placeholders."""
        return weasis.LaunchOptions(
            commands=tuple(map(lines.example, lines.lines_of(self.commands))),
            properties=tuple(map(lines.example, lines.lines_of(self.properties))),
            cdb=self.cdb,
            wcfg=self.wcfg,
        )

    def check_extras(self, extras: LaunchExtras) -> None:
        """Raises ``ForbiddenError`` naming all that links of this template may not ask.

        And ``CriteriaError`` for what they may, if Weasis could not read it or if it is
        too long.
        """
        allowed = starting.allowed_extras(self, extras)
        starting.check_length(self, settings.VIEWERHUB_PUBLIC_URL, allowed)

    def uri(
        self,
        manifest_url: str,
        selection: Selection,
        archives: Iterable[Archive],
        extras: LaunchExtras = _NO_EXTRAS,
    ) -> str:
        """What starts Weasis: in the mode of the template where everything allows it.

        Raises as ``check_extras`` does.
        """
        return self.start(manifest_url, selection, archives, extras).uri

    def start(
        self,
        manifest_url: str,
        selection: Selection,
        archives: Iterable[Archive],
        extras: LaunchExtras = _NO_EXTRAS,
    ) -> starting.Start:
        """The same as ``uri``, and how it came about."""
        return starting.start(self, manifest_url, selection, archives, extras)


_LINE_CHECKS = {
    "commands": lines.command_problem,
    "properties": lines.property_problem,
    "http_tags": lines.http_tag_problem,
    "allowed_properties": lines.property_name_problem,
    "allowed_commands": weasis.command_problem,
    "allowed_addresses": lines.address_problem,
}
_FIELD_CHECKS = {
    "cdb": weasis.code_base_problem,
    "wcfg": weasis.config_value_problem,
    "transfer_syntax": lines.transfer_syntax_problem,
    "override_tags": lines.override_tags_problem,
}
