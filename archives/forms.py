"""What is asked of an administrator about an archive, for each protocol."""

from __future__ import annotations

from typing import Any, cast

from django import forms
from django.apps import apps
from django.contrib.auth.models import Group
from django.core.exceptions import ValidationError
from django.urls import reverse
from django.utils.translation import gettext
from django.utils.translation import gettext_lazy as _

from archives.authentication import (
    AUTHENTICATION_FIELDS,
    FIELDS_OF,
    Authentication,
)
from archives.fields import SecretUnreadableError
from archives.models import SECRET_FIELDS, Archive, Identifier
from archives.presets import PRESETS, Preset, offering, preset_of

if apps.is_installed("unfold"):
    from unfold.widgets import (
        UnfoldAdminCheckboxSelectMultipleWidget as CheckboxSelectMultiple,
    )
    from unfold.widgets import UnfoldAdminPasswordWidget as PasswordInput
    from unfold.widgets import UnfoldAdminTextareaWidget as Textarea
else:
    from django.contrib.admin.widgets import AdminTextareaWidget as Textarea
    from django.forms import CheckboxSelectMultiple, PasswordInput

__all__ = [
    "FOLDED_SECTIONS",
    "FORMS",
    "HTTP_SECTIONS",
    "KINDS",
    "SECTIONS",
    "TITLES",
    "ArchiveForm",
    "CheckboxSelectMultiple",
    "SecretInput",
    "SecretTextarea",
]


class SecretInput(PasswordInput):  # type: ignore[misc]
    """A password that is written but never shown again."""

    def __init__(self, attrs: dict[str, Any] | None = None) -> None:
        super().__init__({"autocomplete": "new-password", **(attrs or {})})


class SecretTextarea(Textarea):  # type: ignore[misc]
    """A secret of several lines that is written but never shown again."""

    def __init__(self, attrs: dict[str, Any] | None = None) -> None:
        settings = {"autocomplete": "off", "spellcheck": "false", "rows": 4}
        super().__init__({**settings, **(attrs or {})})

    def format_value(self, value: Any) -> None:
        return None


def _clear_box(label: Any) -> forms.BooleanField:
    return forms.BooleanField(
        required=False,
        label=label,
        help_text=_("The hub forgets it when you save."),
    )


class ArchiveForm(forms.ModelForm):  # type: ignore[type-arg]
    """Settings of one protocol. Secrets left blank stay as they are.

    Each secret ``x`` has a box ``clear_x`` as long as one is stored.
    """

    protocol = ""
    required: tuple[str, ...] = ()

    clear_dimse_passcode = _clear_box(_("Remove the stored passcode"))
    clear_password = _clear_box(_("Remove the stored password"))
    clear_bearer_token = _clear_box(_("Remove the stored token"))
    clear_client_secret = _clear_box(_("Remove the stored client secret"))
    clear_service_account_key = _clear_box(_("Remove the stored service account key"))
    clear_aws_secret_access_key = _clear_box(_("Remove the stored secret access key"))
    clear_aws_session_token = _clear_box(_("Remove the stored session token"))
    clear_custom_headers = _clear_box(_("Remove the stored headers"))
    clear_client_key = _clear_box(_("Remove the stored private key"))
    identifiers = forms.MultipleChoiceField(
        choices=Identifier.choices,
        widget=CheckboxSelectMultiple,
        label=_("Identifiers"),
        help_text=_(
            "What launches may name studies of this archive by. A launch by another "
            "one is refused."
        ),
    )

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        archive = kwargs.get("instance") or Archive()
        stored = [name for name in SECRET_FIELDS if archive.has_secret(name)]
        self._unreadable = [name for name in stored if not _is_readable(archive, name)]
        super().__init__(*args, **{**kwargs, "instance": archive})
        for name in self.required:
            if name in self.fields:
                self.fields[name].required = True
        if self.protocol:
            self._show_product()
        if "groups" in self.fields and not Group.objects.exists():
            self._point_to_groups()
        for name in SECRET_FIELDS:
            if name in self.fields and name in stored:
                self._keep_blank(name)
            else:
                del self.fields[f"clear_{name}"]
            self.initial.pop(name, None)

    @property
    def product(self) -> Preset:
        """The product that is chosen, as far as it speaks this protocol."""
        chosen = self["preset"].value() if "preset" in self.fields else ""
        preset = preset_of(chosen or self.instance.preset, self.protocol)
        return preset if self.protocol in preset.protocols else PRESETS[self.protocol]

    def _show_product(self) -> None:
        """Offer the products of the protocol, and show what the chosen one wants."""
        if "preset" in self.fields:
            products = offering(self.protocol)
            field = cast(forms.ChoiceField, self.fields["preset"])
            field.choices = [(one.slug, gettext(one.name)) for one in products]
        for name, example in self.product.placeholders(self.protocol).items():
            if name in self.fields:
                self.fields[name].widget.attrs["placeholder"] = example

    def _point_to_groups(self) -> None:
        """There is nothing to choose, and so no field to be seen."""
        field = self.fields["groups"]
        text = gettext(
            'There are no groups yet: add one under <a href="%(url)s" class="vh-link">'
            "Groups</a>, then choose it here."
        )
        link = text % {"url": reverse("admin:auth_group_changelist")}
        field.help_text = f"{field.help_text} {link}"

    def _keep_blank(self, name: str) -> None:
        field = self.fields[name]
        lost = name in self._unreadable
        state = (
            gettext("A value can't be read any more. Enter it again, or remove it.")
            if lost
            else gettext("A value is stored. Leave blank to keep it.")
        )
        field.help_text = f"{field.help_text} {state}".strip()

    def add_error(self, field: str | None, error: Any) -> None:
        """A field that is wrong by itself is not said to be missing, too."""
        if field is None and hasattr(error, "error_dict"):
            found = error.error_dict.items()
            error = ValidationError(
                {name: said for name, said in found if name not in self.errors}
            )
        super().add_error(field, error)

    def clean(self) -> dict[str, Any]:
        cleaned: dict[str, Any] = super().clean() or self.cleaned_data
        self.instance.protocol = self.protocol
        hidden = self._fields_of_other_kinds(cleaned)
        for name in hidden:
            self.errors.pop(name, None)
            cleaned[name] = ""
        for name in set(SECRET_FIELDS) - hidden:
            if f"clear_{name}" in self.fields and name in cleaned:
                cleaned[name] = self._new_secret(name, cleaned)
        return cleaned

    def _fields_of_other_kinds(self, cleaned: dict[str, Any]) -> set[str]:
        """Fields of authentication that are not shown: neither checked nor kept."""
        chosen = cleaned.get("authentication") or self.instance.authentication
        shown = FIELDS_OF.get(chosen, ())
        return {
            name
            for name in AUTHENTICATION_FIELDS
            if name in self.fields and name not in shown
        }

    def _new_secret(self, name: str, cleaned: dict[str, Any]) -> str:
        entered = str(cleaned[name])
        if cleaned.get(f"clear_{name}"):
            if entered:
                self.add_error(
                    name, _("Either enter a new value or remove the stored one.")
                )
            return ""
        if not entered and name in self._unreadable:
            message = _(
                "The stored value can't be read any more. Enter it again, or remove it."
            )
            self.add_error(name, message)
        return entered or str(getattr(self.instance, name))


def _is_readable(archive: Archive, name: str) -> bool:
    """Whether the stored secret can be decrypted; blank on the instance if not."""
    try:
        getattr(archive, name)
    except SecretUnreadableError:
        setattr(archive, name, "")
        return False
    return True


class DimseArchiveForm(ArchiveForm):
    protocol = Archive.Protocol.DIMSE
    required = ("host", "port", "called_ae_title", "calling_ae_title")

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        if "authentication" in self.fields:
            self.fields["authentication"].required = False

    def _fields_of_other_kinds(self, cleaned: dict[str, Any]) -> set[str]:
        """DIMSE itself has none: they are asked for a WADO-URI address."""
        if "wado_uri_url" in cleaned and not cleaned["wado_uri_url"]:
            cleaned["authentication"] = Authentication.NONE
        return super()._fields_of_other_kinds(cleaned)


class DicomWebArchiveForm(ArchiveForm):
    protocol = Archive.Protocol.DICOMWEB
    required = ("url",)

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        if "maximum_associations" in self.fields:
            self.fields["maximum_associations"].label = _("Maximum connections")


FORMS: dict[str, type[ArchiveForm]] = {
    Archive.Protocol.DIMSE: DimseArchiveForm,
    Archive.Protocol.DICOMWEB: DicomWebArchiveForm,
}
_GENERAL = ("name", "slug", "previous_names", "preset", "is_enabled", "position")
_CERTIFICATES = ("ca_certificates", "client_certificate", "client_key")
_ACCESS = ("groups", "identifiers", "images")
_WADO = ("wado_parameters", "wado_needs_only_object")
Sections = tuple[tuple[str, tuple[str, ...]], ...]
# The fields of each kind of authentication, shown for the one that is chosen by the
# style sheet. Sections are named by their key here, and by their title on the page.
KINDS = tuple(kind.value for kind in Authentication if FIELDS_OF[kind.value])
_KINDS = tuple((kind, FIELDS_OF[kind]) for kind in KINDS)
TITLES: dict[str, Any] = {
    "general": _("General"),
    "connection": _("Connection"),
    "tls": _("TLS"),
    "timeouts": _("Timeouts"),
    "access": _("Access"),
    "wado-uri": _("WADO-URI"),
    "authentication": _("Authentication"),
    **{kind: Authentication(kind).label for kind in KINDS},
}
SECTIONS: dict[str, Sections] = {
    Archive.Protocol.DIMSE: (
        ("general", _GENERAL),
        (
            "connection",
            (
                "host",
                "port",
                "called_ae_title",
                "calling_ae_title",
                "root",
                "retrieval",
                "specific_character_set",
                "dimse_username",
                "dimse_passcode",
                "maximum_associations",
            ),
        ),
        ("tls", ("use_tls", *_CERTIFICATES, "check_hostname")),
        (
            "timeouts",
            (
                "connect_timeout",
                "association_timeout",
                "answer_timeout",
                "total_timeout",
            ),
        ),
        ("access", _ACCESS),
        ("wado-uri", ("wado_uri_url", *_WADO)),
        ("authentication", ("authentication",)),
        *_KINDS,
    ),
    Archive.Protocol.DICOMWEB: (
        ("general", _GENERAL),
        (
            "connection",
            (
                "url",
                "wado_uri_url",
                "page_size",
                "maximum_associations",
            ),
        ),
        ("authentication", ("authentication",)),
        *_KINDS,
        ("tls", (*_CERTIFICATES, "check_hostname")),
        ("timeouts", ("connect_timeout", "answer_timeout", "total_timeout")),
        ("access", (*_ACCESS, *_WADO)),
    ),
}
# Asked of a DIMSE archive only where it has a WADO-URI address.
HTTP_SECTIONS = {"authentication", *KINDS}
FOLDED_SECTIONS = {"tls", "timeouts"}
