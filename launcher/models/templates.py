"""How a viewer is started: viewers, launch templates, and which template a launch gets."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from django.conf import settings
from django.contrib.auth.models import Group
from django.core.exceptions import ValidationError
from django.core.validators import (
    MaxLengthValidator,
    MaxValueValidator,
    MinValueValidator,
)
from django.db import models, transaction
from django.db.models import Q

from archives.entities import Selection
from archives.models import Archive
from archives.validators import validate_base_url
from launcher import weasis


class DateMeaning(models.TextChoices):
    """What ``lowerDateTime`` and ``upperDateTime`` of a launch URL mean."""

    IHE = "ihe", "lower is the earliest, upper the latest (IHE)"
    LEGACY = "legacy", "lower is the latest, upper the earliest (weasis-pacs-connector)"


class Viewer(models.Model):
    """A viewer other than Weasis, started by an address with placeholders.

    What an address may hold is in ``launcher.viewers``.
    """

    name = models.CharField(max_length=64, unique=True)
    slug = models.SlugField(
        max_length=40, unique=True, help_text="For viewer=… in URLs."
    )
    is_enabled = models.BooleanField("enabled", default=True)
    url_template = models.CharField(
        "address",
        max_length=1000,
        help_text="What the browser is sent to. {study_uids} and other placeholders are "
        "filled in; a part in square brackets is left out when it would be empty.",
    )
    maximum_studies = models.PositiveSmallIntegerField(
        null=True,
        blank=True,
        validators=[MinValueValidator(1)],
        help_text="How many studies it can open at once. Empty means any number.",
    )
    needs_one_archive = models.BooleanField(
        "one archive only",
        default=True,
        help_text="It can't open studies of several archives together.",
    )
    needs_dicomweb = models.BooleanField(
        "needs DICOMweb",
        default=False,
        help_text="It can only open studies of DICOMweb archives.",
    )

    class Meta:
        ordering = ["name"]

    def __str__(self) -> str:
        return self.name


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
        AUTO = "auto", "Automatic: whatever the archives of the launch allow"
        MANIFEST = "manifest", "Manifest, built by the hub"
        DICOM_RS = "dicom_rs", "$dicom:rs, Weasis asks the archive itself"

    class Retrieval(models.TextChoices):
        """How a manifest tells Weasis to fetch the images."""

        AUTO = "auto", "Automatic: whatever archive and Weasis support"
        WADO_URI = "wado_uri", "WADO-URI, image by image"
        WADO_RS = "wado_rs", "WADO-RS, image by image (Weasis 4.7.0)"
        WADO_RS_SERIES = "wado_rs_series", "WADO-RS, whole series (Weasis 4.7.2)"
        FILES = "files", "Direct files, an address for each image"

    class Policy(models.TextChoices):
        AUTO = "auto", "Verify for IHE Invoke Image Display, else fast"
        FAST = "fast", "Fast: start the viewer at once"
        VERIFY = "verify", "Verify: answer 404 if no archive has the study"

    class Images(models.TextChoices):
        ARCHIVE = "", "As each archive says"
        GATEWAY = "gateway", "Through the hub"
        DIRECT = "direct", "Straight from the archive, where it asks for no password"

    name = models.CharField(max_length=64, unique=True)
    slug = models.SlugField(
        max_length=40, unique=True, help_text="For template=… in URLs."
    )
    is_default = models.BooleanField(
        "default", default=False, help_text="Used where a launch names no template."
    )
    viewer = models.ForeignKey(
        Viewer,
        models.PROTECT,
        null=True,
        blank=True,
        related_name="templates",
        help_text="Empty means Weasis.",
    )
    archives: models.ManyToManyField[Archive, Any] = models.ManyToManyField(
        Archive,
        blank=True,
        help_text="Archives to ask where the launch names none. Nothing chosen means all.",
    )
    mode = models.CharField(
        max_length=8,
        choices=Mode,
        default=Mode.AUTO,
        help_text="$dicom:rs needs DICOMweb archives with images straight from the "
        "archive; other launches of this template get a manifest.",
    )
    retrieval = models.CharField(
        max_length=14,
        choices=Retrieval,
        default=Retrieval.AUTO,
        help_text="WADO-RS is for archives whose images go straight to the viewer; "
        "other archives, and versions of Weasis that can't, get WADO-URI.",
    )
    images = models.CharField(max_length=7, choices=Images, blank=True, default="")
    policy = models.CharField(
        max_length=6,
        choices=Policy,
        default=Policy.AUTO,
        help_text="Verifying asks the archives one short question before the viewer "
        "starts, and waits at most 1.5 seconds for it.",
    )
    date_meaning = models.CharField(
        "meaning of dates",
        max_length=6,
        choices=DateMeaning,
        default=DateMeaning.IHE,
        help_text="What lowerDateTime and upperDateTime mean. An API client may say "
        "otherwise for its own links.",
    )
    opens_primary_study_first = models.BooleanField(
        "primary study first",
        default=False,
        help_text="Images of the first study that was asked for, or else the newest, "
        "are loaded before those of the others.",
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

    transfer_syntax = models.CharField(
        max_length=64,
        blank=True,
        help_text="The UID of the transfer syntax to ask images in by WADO-URI, such as "
        "1.2.840.10008.1.2.4.50. Empty means as they are stored.",
    )
    compression_rate = models.PositiveSmallIntegerField(
        null=True,
        blank=True,
        validators=[MinValueValidator(1), MaxValueValidator(100)],
        help_text="Image quality for a lossy transfer syntax, 1 to 100.",
    )
    override_tags = models.CharField(
        max_length=500,
        blank=True,
        help_text="Tags that Weasis overwrites in the images with the values of the "
        "archive's answer, such as 0x00100010, 0x00100020.",
    )
    http_tags = models.TextField(
        "HTTP headers",
        blank=True,
        validators=[MaxLengthValidator(2000)],
        help_text="Headers Weasis sends to archives it gets images from directly, one "
        "a line: Name: value. They are in the manifest, so put no secret here.",
    )
    allowed_properties = models.TextField(
        "properties allowed in URLs (pro)",
        blank=True,
        help_text="Names of properties a launch URL may set, one a line. Empty means none.",
    )
    allowed_commands = models.TextField(
        "commands allowed in URLs (arg)",
        blank=True,
        help_text="Commands a launch URL may add, one a line, such as $dicom:close --all. "
        "Only exactly these. Empty means none.",
    )
    allowed_addresses = models.TextField(
        "addresses allowed in URLs (cdb, wcfg)",
        blank=True,
        help_text="Beginnings of addresses a launch URL may name, one a line. Empty "
        "means none.",
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
                sources = [weasis.RsArchive(archive.url) for archive in asked]
                return weasis.open_dicom_rs(sources, selection, options)
            except weasis.NotCarriableError:
                pass  # a manifest carries everything
        return weasis.open_manifest(manifest_url, options)


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
