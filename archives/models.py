"""The archives an administrator registered, and who may use them."""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import astuple
from typing import Any, Self

from django.conf import settings
from django.contrib.auth.models import AnonymousUser, Group, User
from django.core.exceptions import ValidationError
from django.core.validators import MaxValueValidator, MinValueValidator
from django.db import models
from django.db.models import Q
from django.utils.crypto import salted_hmac
from django.utils.translation import gettext_lazy as _

from archives import presets
from archives.authentication import (
    AUTHENTICATION_FIELDS,
    AUTHENTICATION_SECRETS,
    AnyUser,
    Authentication,
    AuthenticationFields,
    LoginNeededError,
)
from archives.clients.base import (
    Deadlines,
    DicomWebEndpoint,
    DimseEndpoint,
    DimseRetrieval,
    Endpoint,
    QueryRetrieveRoot,
    TlsSettings,
    UserIdentity,
)
from archives.clients.credentials import Credentials
from archives.clients.image_cache import ImageCache
from archives.clients.outgoing import OutgoingRules
from archives.errors import ArchiveRefusedError
from archives.fields import EncryptedTextField, SecretUnreadableError
from archives.health import ArchiveState, HealthFields
from archives.presets import Preset, preset_of
from archives.rules import problems, split_names
from archives.shared_tokens import SHARED_TOKENS
from archives.user_logins import UserLogin
from archives.validators import validate_ae_title, validate_base_url, validate_host

__all__ = [
    "DICOMWEB_FIELDS",
    "DIMSE_FIELDS",
    "SECRET_FIELDS",
    "Archive",
    "ArchiveQuerySet",
    "Identifier",
    "UserLogin",
    "all_identifiers",
    "image_cache",
    "outgoing_rules",
    "validate_identifiers",
]

# What only one protocol uses; everything else is asked for both.
DIMSE_FIELDS = (
    "host",
    "port",
    "called_ae_title",
    "calling_ae_title",
    "root",
    "specific_character_set",
    "dimse_username",
    "dimse_passcode",
    "retrieval",
    "use_tls",
    "association_timeout",
)
DICOMWEB_FIELDS = ("url", "page_size")
SECRET_FIELDS = ("dimse_passcode", *AUTHENTICATION_SECRETS, "client_key")


class Identifier(models.TextChoices):
    """Launch parameters that name what to open."""

    PATIENT_ID = "patientID", _("Patient ID")
    STUDY_UID = "studyUID", _("Study Instance UID")
    ACCESSION_NUMBER = "accessionNumber", _("Accession number")
    SERIES_UID = "seriesUID", _("Series Instance UID")
    OBJECT_UID = "objectUID", _("SOP Instance UID")


def all_identifiers() -> list[str]:
    return list(Identifier.values)


def validate_identifiers(value: Any) -> None:
    known = Identifier.values
    is_list = isinstance(value, list) and bool(value)
    if not is_list or any(one not in known for one in value):
        raise ValidationError(
            _("Choose at least one of %(names)s.") % {"names": ", ".join(known)}
        )


def outgoing_rules() -> OutgoingRules:
    """Where the settings let the hub connect to."""
    return OutgoingRules.of(
        settings.VIEWERHUB_OUTGOING_NETWORKS,
        has_loopback=settings.VIEWERHUB_OUTGOING_LOOPBACK,
    )


def image_cache() -> ImageCache | None:
    """Where series are kept that are retrieved ahead; ``None`` if that is turned off."""
    if not settings.VIEWERHUB_IMAGE_CACHE_MB:
        return None
    return ImageCache(
        directory=settings.VIEWERHUB_IMAGE_CACHE_DIR,
        maximum_bytes=settings.VIEWERHUB_IMAGE_CACHE_MB << 20,
        maximum_age=settings.VIEWERHUB_IMAGE_CACHE_SECONDS,
    )


class ArchiveQuerySet(models.QuerySet["Archive"]):
    def enabled(self) -> Self:
        return self.filter(is_enabled=True)

    def in_state(self, state: ArchiveState) -> Self:
        return self.filter(state.condition)

    def usable_by(self, user: User | AnonymousUser | None) -> Self:
        """Enabled archives ``user`` may search and open.

        An archive that is not restricted is open to all; superusers may use every one.
        ``None`` and anonymous users (a trusted network) get those that are open to all.
        """
        if user is not None and user.is_superuser and user.is_active:
            return self.enabled()
        if not isinstance(user, User):
            return self.enabled().filter(is_restricted=False)
        allowed = Q(is_restricted=False) | Q(groups__in=user.groups.all())
        return self.enabled().filter(allowed).distinct()

    def names_taken(self, archive: Archive) -> dict[str, str]:
        """Errors by field, for names of an archive that mean another one already."""
        owners = {
            name: other
            for other in self.exclude(pk=archive.pk).only("slug", "previous_names")
            for name in other.names
        }
        errors = {}
        if archive.slug in owners:
            other = owners[archive.slug].slug
            errors["slug"] = _("This is a name of the archive %(other)s already.") % {
                "other": other
            }
        for name in archive.names[1:]:
            if name in owners:
                errors["previous_names"] = _(
                    "%(name)s is a name of the archive %(other)s already."
                ) % {"name": name, "other": owners[name].slug}
        return errors


class Archive(AuthenticationFields, HealthFields):
    """A DICOM archive that is searched, and whose images are opened."""

    class Protocol(models.TextChoices):
        DIMSE = "dimse", _("DIMSE (C-FIND, C-GET or C-MOVE)")
        DICOMWEB = "dicomweb", _("DICOMweb (QIDO-RS, WADO-RS)")

    class Retrieval(models.TextChoices):
        C_GET = DimseRetrieval.C_GET.value, _("C-GET")
        C_MOVE = DimseRetrieval.C_MOVE.value, _("C-MOVE, to the hub's storage service")

    class Root(models.TextChoices):
        STUDY = QueryRetrieveRoot.STUDY.value, _("Study Root")
        PATIENT = QueryRetrieveRoot.PATIENT.value, _("Patient Root")

    Authentication = Authentication

    class Images(models.TextChoices):
        GATEWAY = "gateway", _("Through the hub (recommended)")
        DIRECT = "direct", _("Straight from the archive")

    class CharacterSet(models.TextChoices):
        UTF8 = "ISO_IR 192", _("Unicode, UTF-8 (ISO_IR 192)")
        LATIN1 = "ISO_IR 100", _("Western Europe, Latin 1 (ISO_IR 100)")
        LATIN2 = "ISO_IR 101", _("Central Europe, Latin 2 (ISO_IR 101)")
        LATIN3 = "ISO_IR 109", _("South Europe, Latin 3 (ISO_IR 109)")
        LATIN4 = "ISO_IR 110", _("North Europe, Latin 4 (ISO_IR 110)")
        LATIN5 = "ISO_IR 148", _("Turkish, Latin 5 (ISO_IR 148)")
        CYRILLIC = "ISO_IR 144", _("Cyrillic (ISO_IR 144)")
        GREEK = "ISO_IR 126", _("Greek (ISO_IR 126)")
        HEBREW = "ISO_IR 138", _("Hebrew (ISO_IR 138)")
        ARABIC = "ISO_IR 127", _("Arabic (ISO_IR 127)")
        THAI = "ISO_IR 166", _("Thai (ISO_IR 166)")
        JAPANESE = "ISO 2022 IR 87", _("Japanese, Kanji (ISO 2022 IR 87)")
        KOREAN = "ISO 2022 IR 149", _("Korean (ISO 2022 IR 149)")
        CHINESE = "GB18030", _("Chinese (GB18030)")
        ASCII = "ISO_IR 6", _("Default repertoire, ASCII only")

    name = models.CharField(
        _("name"),
        max_length=64,
        unique=True,
        help_text=_("What users see in the search page and in messages."),
    )
    slug = models.SlugField(
        _("short name"),
        max_length=40,
        unique=True,
        help_text=_(
            "The short name in addresses, such as archive=main. Changing it breaks links."
        ),
    )
    previous_names = models.CharField(
        _("previous names"),
        max_length=500,
        blank=True,
        help_text=_(
            "Other names that archive=… may use, separated by commas, such as those "
            "of archives that moved here."
        ),
    )
    protocol = models.CharField(
        _("protocol"),
        max_length=8,
        choices=Protocol,
        help_text=_("How the hub speaks to the archive."),
    )
    preset = models.CharField(
        _("product"),
        max_length=24,
        choices=presets.choices,
        blank=True,
        default="",
        help_text=_("What the archive runs: the hub then knows its limits and habits."),
    )
    identifiers = models.JSONField(
        _("identifiers"),
        default=all_identifiers,
        validators=[validate_identifiers],
        help_text=_("What launches may name studies of this archive by."),
    )
    is_enabled = models.BooleanField(
        _("enabled"),
        default=True,
        help_text=_(
            "An archive that is not enabled is neither searched nor opened, and "
            "keeps its settings."
        ),
    )
    position = models.PositiveSmallIntegerField(
        _("order"), default=0, help_text=_("Archives with lower numbers come first.")
    )
    groups = models.ManyToManyField(
        Group,
        blank=True,
        help_text=_(
            "Who may search and open this archive. Nobody chosen means everybody "
            "who may sign in, and launches from trusted networks."
        ),
        verbose_name=_("groups"),
    )
    # Whether groups were chosen; stays true when they are deleted.
    is_restricted = models.BooleanField(default=False, editable=False)
    images = models.CharField(
        _("images"),
        max_length=7,
        choices=Images,
        default=Images.GATEWAY,
        help_text=_(
            "Through the hub, viewers need no password for the archive and only "
            "get the images of their launch. Straight from the archive needs an "
            "archive that "
            "asks for no password."
        ),
    )

    host = models.CharField(
        _("host"),
        max_length=253,
        blank=True,
        validators=[validate_host],
        help_text=_("The host name or IP address of the archive, without the port."),
    )
    port = models.PositiveIntegerField(
        _("port"),
        null=True,
        blank=True,
        validators=[MinValueValidator(1), MaxValueValidator(65535)],
        help_text=_("The port is usually 104, 11112 or 4242, and 2762 with TLS."),
    )
    called_ae_title = models.CharField(
        _("called AE title"),
        max_length=16,
        blank=True,
        validators=[validate_ae_title],
        help_text=_("This is the archive's own AE title."),
    )
    calling_ae_title = models.CharField(
        _("calling AE title"),
        max_length=16,
        blank=True,
        default="VIEWERHUB",
        validators=[validate_ae_title],
        help_text=_(
            "This is the AE title the hub calls itself. Archives often must know it."
        ),
    )
    root = models.CharField(
        _("query/retrieve root"),
        max_length=7,
        choices=Root,
        default=Root.STUDY,
        help_text=_(
            "Study Root suits almost every archive. Patient Root is for those that "
            "know nothing else."
        ),
    )
    retrieval = models.CharField(
        _("how images are fetched"),
        max_length=6,
        choices=Retrieval,
        default=Retrieval.C_GET,
        help_text=_(
            "C-MOVE is for archives without C-GET: they must know the AE title, "
            "address and port of the hub's storage service (manage.py storage_scp)."
        ),
    )
    specific_character_set = models.CharField(
        _("specific character set"),
        max_length=16,
        choices=CharacterSet,
        default=CharacterSet.UTF8,
        help_text=_("The character set the hub writes its questions in."),
    )
    dimse_username = models.CharField(
        _("user name"),
        max_length=64,
        blank=True,
        help_text=_(
            "Only archives that ask for a user identity in the association need one."
        ),
    )
    dimse_passcode = EncryptedTextField(
        _("passcode"),
        blank=True,
        help_text=_("It is sent with the user name, and is stored encrypted."),
    )
    maximum_associations = models.PositiveSmallIntegerField(
        _("maximum associations"),
        default=4,
        validators=[MinValueValidator(1), MaxValueValidator(64)],
        help_text=_(
            "How many associations or connections each process of the hub opens "
            "to the archive at once."
        ),
    )

    url = models.CharField(
        _("QIDO-RS and WADO-RS address"),
        max_length=500,
        blank=True,
        validators=[validate_base_url],
        help_text=_(
            "Enter the part before /studies, such as https://pacs.example.org/dicom-web."
        ),
    )
    wado_uri_url = models.CharField(
        _("WADO-URI address"),
        max_length=500,
        blank=True,
        validators=[validate_base_url],
        help_text=_(
            "Only archives without WADO-RS or C-GET need it, or those whose images "
            "come straight from the archive, such as https://pacs.example.org/wado. "
            "The settings of TLS are for it, too."
        ),
    )
    wado_parameters = models.CharField(
        _("WADO-URI parameters"),
        max_length=300,
        blank=True,
        help_text=_(
            "What is added to each image's address where images come straight from "
            "the archive, such as &anonymize=yes."
        ),
    )
    wado_needs_only_object = models.BooleanField(
        _("WADO-URI by SOP Instance UID alone"),
        default=False,
        help_text=_(
            "The archive finds images without their Study and Series Instance UID."
        ),
    )
    page_size = models.PositiveIntegerField(
        _("page size"),
        default=1000,
        validators=[MinValueValidator(1), MaxValueValidator(50000)],
        help_text=_("How many matches are asked for at a time."),
    )

    use_tls = models.BooleanField(
        _("TLS"),
        default=False,
        help_text=_(
            "The connection is encrypted, and the archive has to show a certificate."
        ),
    )
    ca_certificates = models.TextField(
        _("CA certificates"),
        blank=True,
        help_text=_(
            "Certificates in PEM of who may sign the archive's. Empty means those "
            "that the hub's system trusts."
        ),
    )
    client_certificate = models.TextField(
        _("client certificate"),
        blank=True,
        help_text=_(
            "A certificate in PEM, with its chain, for archives that ask for one."
        ),
    )
    client_key = EncryptedTextField(
        _("client private key"),
        blank=True,
        help_text=_(
            "The private key of that certificate in PEM, without a password. It is "
            "stored encrypted."
        ),
    )
    check_hostname = models.BooleanField(
        _("check hostname"),
        default=True,
        help_text=_("The archive's certificate must be made for its host name."),
    )

    connect_timeout = models.FloatField(
        _("connect timeout"),
        default=5,
        validators=[MinValueValidator(0.1), MaxValueValidator(60)],
        help_text=_("How many seconds the archive has to accept the connection."),
    )
    association_timeout = models.FloatField(
        _("association timeout"),
        default=5,
        validators=[MinValueValidator(0.1), MaxValueValidator(60)],
        help_text=_(
            "How many seconds the archive has to answer the association request."
        ),
    )
    answer_timeout = models.FloatField(
        _("answer timeout"),
        default=10,
        validators=[MinValueValidator(0.1), MaxValueValidator(120)],
        help_text=_(
            "How many seconds the archive has for the first answer, and between two "
            "answers."
        ),
    )
    total_timeout = models.FloatField(
        _("total timeout"),
        default=100,
        validators=[MinValueValidator(1), MaxValueValidator(600)],
        help_text=_(
            "How many seconds everything may take that one search or one launch asks."
        ),
    )

    objects = ArchiveQuerySet.as_manager()

    class Meta:
        ordering = ["position", "name"]
        verbose_name = _("archive")
        verbose_name_plural = _("archives")

    def __str__(self) -> str:
        return self.name

    def clean(self) -> None:
        """Errors for the fields the chosen protocol needs; resets those it can't use."""
        self.reset_unused_fields()
        self.previous_names = ", ".join(split_names(self.previous_names))
        if self.protocol and not self.preset:
            self.preset = self.protocol  # its generic product
        if errors := problems(self):
            raise ValidationError(errors)

    def validate_unique(self, exclude: Collection[str] | None = None) -> None:
        """Slugs and previous names together mean one archive each."""
        super().validate_unique(exclude)
        errors = Archive.objects.names_taken(self)
        if errors := {k: v for k, v in errors.items() if k not in (exclude or ())}:
            raise ValidationError(errors)

    @property
    def names(self) -> tuple[str, ...]:
        """What ``archive=…`` may call it: the slug, then its previous names."""
        return (self.slug, *split_names(self.previous_names))

    @property
    def product(self) -> Preset:
        """What is known of the product it runs; of its protocol, if that is not known."""
        return preset_of(self.preset, self.protocol)

    @property
    def address(self) -> str:
        """Where the archive is, for lists; without any secret."""
        if self.protocol == self.Protocol.DICOMWEB:
            return self.url
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{self.called_ae_title}@{host}:{self.port}"

    def has_secret(self, name: str) -> bool:
        """Whether something is stored in a secret field, readable or not."""
        return bool(self.__dict__.get(name))

    def reset_unused_fields(self) -> None:
        """Give settings of the other protocol or authentication their defaults back."""
        is_dimse = self.protocol == self.Protocol.DIMSE
        unused = list(DICOMWEB_FIELDS if is_dimse else DIMSE_FIELDS)
        if is_dimse and not self.wado_uri_url:
            unused += ["authentication", *AUTHENTICATION_FIELDS]
        unused += self.unused_authentication_fields()
        defaults = Archive()
        for name in unused:
            setattr(self, name, getattr(defaults, name))

    def endpoint(self, user: AnyUser = None) -> Endpoint:
        """What a client needs to connect, without any tie to the database.

        ``user`` is who asks, for archives that want the user's own login. Raises
        ``ArchiveRefusedError`` if that is nobody, or if a stored secret can't be read
        any more.
        """
        return self._usable(self._endpoint, user)

    def image_endpoint(self, user: AnyUser = None) -> Endpoint:
        """Where the hub retrieves instances; raises as ``endpoint`` does.

        The same as ``endpoint``, except that a DIMSE archive with a WADO-URI address is
        asked there: some refuse C-GET.
        """
        if self.protocol != self.Protocol.DIMSE or not self.wado_uri_url:
            return self.endpoint(user)
        return self._usable(self._wado_uri_endpoint, user)

    def _usable(self, make: Callable[[AnyUser], Endpoint], user: AnyUser) -> Endpoint:
        try:
            return make(user)
        except LoginNeededError as error:
            raise ArchiveRefusedError(
                f"{self.name} needs its user's own login: open the study from the "
                "search page."
                if error.is_configured
                else f"{self.name} needs an identity provider that the hub has no more: "
                "tell its administrator."
            ) from None
        except SecretUnreadableError as error:
            raise ArchiveRefusedError(
                f"A stored password or key of {self.name} can't be read any more: an "
                "administrator has to enter it again."
            ) from error

    def _wado_uri_endpoint(self, user: AnyUser) -> DicomWebEndpoint:
        url = self.wado_uri_url.rstrip("/")
        return DicomWebEndpoint(
            name=self.name,
            url=url,
            wado_uri_url=url,
            credentials=self.credentials(user),
            tls=self._tls_settings(),
            deadlines=self._deadlines(),
            maximum_connections=self.maximum_associations,
            outgoing=outgoing_rules(),
            token_store=SHARED_TOKENS,
        )

    def _deadlines(self) -> Deadlines:
        return Deadlines(
            connect=self.connect_timeout,
            association=self.association_timeout,
            first_answer=self.answer_timeout,
            total=self.total_timeout,
        )

    def _endpoint(self, user: AnyUser) -> Endpoint:
        deadlines = self._deadlines()
        if self.protocol == self.Protocol.DIMSE:
            return self._dimse_endpoint(deadlines)
        is_personal = self.authentication == Authentication.USER
        credentials = self.credentials(user)
        return DicomWebEndpoint(
            name=self.name,
            url=self.url.rstrip("/"),
            wado_uri_url=self.wado_uri_url.rstrip("/"),
            credentials=credentials,
            tls=self._tls_settings(),
            deadlines=deadlines,
            maximum_connections=self.maximum_associations,
            page_size=self.page_size,
            quirks=self.product.quirks,
            outgoing=outgoing_rules(),
            token_store=SHARED_TOKENS,
            # Each user may see other images there: nobody gets those of somebody else.
            image_cache=None if is_personal else image_cache(),
            cache_owner="" if is_personal else self._cache_owner(credentials),
        )

    def _cache_owner(self, credentials: Credentials | None) -> str:
        """Another one once the hub logs in otherwise, telling nothing of how it does."""
        login = credentials and (type(credentials).__name__, astuple(credentials))
        text = repr((self.pk, self.url, login, self.client_certificate))
        return salted_hmac("archives.cache_owner", text, algorithm="sha256").hexdigest()

    def _dimse_endpoint(self, deadlines: Deadlines) -> DimseEndpoint:
        identity = UserIdentity(
            username=self.dimse_username, passcode=self.dimse_passcode
        )
        return DimseEndpoint(
            name=self.name,
            host=self.host,
            port=self.port or 104,
            called_ae_title=self.called_ae_title,
            calling_ae_title=self.calling_ae_title,
            root=QueryRetrieveRoot(self.root),
            specific_character_set=self.specific_character_set,
            tls=self._tls_settings() if self.use_tls else None,
            user_identity=identity if self.dimse_username else None,
            deadlines=deadlines,
            maximum_associations=self.maximum_associations,
            outgoing=outgoing_rules(),
            retrieval=DimseRetrieval(self.retrieval),
            move_destination=settings.VIEWERHUB_STORAGE_AE_TITLE,
            image_cache=image_cache(),
        )

    def _tls_settings(self) -> TlsSettings:
        return TlsSettings(
            ca_certificates=self.ca_certificates,
            client_certificate=self.client_certificate,
            client_key=self.client_key,
            check_hostname=self.check_hostname,
        )
