"""What is asked of an administrator about launches and their templates."""

from __future__ import annotations

from typing import Any

from django import forms
from django.apps import apps
from django.conf import settings
from django.utils.translation import gettext
from django.utils.translation import gettext_lazy as _

from archives.models import Archive, ArchiveQuerySet, Identifier
from launcher.criteria import CriteriaError, parse
from launcher.messages import translated
from launcher.models import ApiClient, LaunchTemplate
from launcher.retrieval import Version

if apps.is_installed("unfold"):
    from unfold.widgets import (
        UnfoldAdminCheckboxSelectMultipleWidget as CheckboxSelectMultiple,
    )
    from unfold.widgets import UnfoldAdminSelectWidget as Select
    from unfold.widgets import UnfoldAdminTextareaWidget as Textarea
    from unfold.widgets import UnfoldAdminTextInputWidget as TextInput
else:
    from django.contrib.admin.widgets import AdminTextareaWidget as Textarea
    from django.contrib.admin.widgets import AdminTextInputWidget as TextInput
    from django.forms import CheckboxSelectMultiple, Select

__all__ = [
    "CheckboxSelectMultiple",
    "LaunchPreviewForm",
    "LaunchTemplateForm",
    "TemplatePreviewForm",
    "Textarea",
    "UrlBuilderForm",
]


class LaunchTemplateForm(forms.ModelForm):  # type: ignore[type-arg]
    """A template; becoming the default takes that from the one that was."""

    becomes_default = forms.BooleanField(
        required=False,
        label=_("Make this the default"),
        help_text=_(
            "Launches that name no template, and that no viewer rule is for, use "
            "the default. There is one only."
        ),
    )


class TemplatePreviewForm(forms.ModelForm):  # type: ignore[type-arg]
    """The part of a template that its preview needs, saved or not."""

    class Meta:
        model = LaunchTemplate
        fields = [
            "viewer",
            "archives",
            "mode",
            "images",
            "opens_primary_study_first",
            "commands",
            "properties",
            "cdb",
            "wcfg",
            "http_tags",
        ]


class LaunchPreviewForm(forms.Form):
    """A launch to try, without starting it."""

    VERSIONS = ("4.7.2", "4.7.0", "4.6.6", "4.5.0")

    text = forms.CharField(
        label=_("Launch URL or identifier"),
        max_length=8000,
        widget=TextInput({"autocomplete": "off", "spellcheck": "false"}),
        help_text=_(
            "A launch URL, its part after the question mark, or only a UID, an "
            "accession number or a Patient ID."
        ),
    )
    kind = forms.ChoiceField(
        label=_("If it is only an identifier"),
        required=False,
        choices=[("", _("Recognise it")), *Identifier.choices],
        widget=Select,
        help_text=_("A UID is taken for that of a study, all else for a Patient ID."),
    )
    archive = forms.ModelChoiceField(
        Archive.objects.none(),
        label=_("Archive"),
        required=False,
        empty_label=_("As the launch says"),
        to_field_name="slug",
        widget=Select,
    )
    template = forms.ModelChoiceField(
        LaunchTemplate.objects.all(),
        label=_("Template"),
        required=False,
        empty_label=_("As the launch or a rule says"),
        to_field_name="slug",
        widget=Select,
    )
    version = forms.ChoiceField(
        label=_("Version of Weasis"),
        required=False,
        choices=[
            *((version, f"Weasis {version}") for version in VERSIONS),
            ("", _("Not known")),
        ],
        initial=VERSIONS[0],
        widget=Select,
    )
    address = forms.GenericIPAddressField(
        label=_("Caller's address"),
        required=False,
        widget=TextInput,
        help_text=_("For viewer rules with networks. Empty means your own."),
    )

    def __init__(
        self, *args: Any, archives: ArchiveQuerySet | None = None, **kwargs: Any
    ) -> None:
        super().__init__(*args, **{"label_suffix": "", **kwargs})
        if archives is not None:
            self.fields["archive"].queryset = archives  # type: ignore[attr-defined]

    def get_version(self) -> Version | None:
        if not (text := self.cleaned_data["version"]):
            return None
        major, minor, patch = map(int, text.split("."))
        return major, minor, patch


LIFETIMES = ((60, _("1 minute")), (300, _("5 minutes")), (3600, _("1 hour")))


USUAL_LIFETIME = 300


def lifetimes() -> list[tuple[int, Any]]:
    """What may be chosen, the shortest first: the hub refuses links that hold longer."""
    maximum = settings.VIEWERHUB_SIGNED_LINK_LIFETIME
    shorter = [(seconds, name) for seconds, name in LIFETIMES if seconds <= maximum]
    return shorter or [(maximum, gettext("%(count)s seconds") % {"count": maximum})]


def default_lifetime() -> int:
    return min(lifetimes()[-1][0], USUAL_LIFETIME)


class UrlBuilderForm(forms.Form):
    """What links are to open, and how."""

    kind = forms.ChoiceField(label=_("Identifier"), choices=Identifier, widget=Select)
    value = forms.CharField(
        label=_("Value"),
        max_length=2000,
        widget=TextInput({"autocomplete": "off", "spellcheck": "false"}),
        help_text=_("Put commas between several."),
    )
    archives = forms.ModelMultipleChoiceField(
        Archive.objects.none(),
        label=_("Archives"),
        required=False,
        to_field_name="slug",
        widget=CheckboxSelectMultiple,
        help_text=_("Nothing chosen means those of the template, or all."),
    )
    template = forms.ModelChoiceField(
        LaunchTemplate.objects.all(),
        label=_("Template"),
        required=False,
        empty_label=_("As viewer rules say"),
        to_field_name="slug",
        widget=Select,
    )
    client = forms.ModelChoiceField(
        ApiClient.objects.none(),
        required=False,
        label=_("Signed by"),
        empty_label=_("Nobody"),
        to_field_name="slug",
        widget=Select,
        help_text=_("API clients that have a signing secret."),
    )
    lifetime = forms.TypedChoiceField(
        label=_("Signature holds"),
        coerce=int,
        required=False,
        widget=Select,
    )

    tester = forms.ModelChoiceField(
        ApiClient.objects.none(),
        required=False,
        label=_("Test calls as"),
        empty_label=_("Nobody"),
        to_field_name="slug",
        widget=Select,
        help_text=_(
            "The API client whose key the calls would have. A test stores nothing."
        ),
    )

    def __init__(
        self,
        *args: Any,
        archives: ArchiveQuerySet | None = None,
        may_sign: bool = False,
        may_test: bool = False,
        **kwargs: Any,
    ) -> None:
        super().__init__(*args, **{"label_suffix": "", **kwargs})
        if archives is not None:
            self.fields["archives"].queryset = archives  # type: ignore[attr-defined]
        if may_sign:
            signers = ApiClient.objects.active().exclude(signing_secret="")
            self.fields["client"].queryset = signers  # type: ignore[attr-defined]
            lifetime = self.fields["lifetime"]
            lifetime.choices = lifetimes()  # type: ignore[attr-defined]
            lifetime.initial = default_lifetime()
        else:
            del self.fields["client"], self.fields["lifetime"]
        if may_test:
            clients = ApiClient.objects.all()
            self.fields["tester"].queryset = clients  # type: ignore[attr-defined]
        else:
            del self.fields["tester"]

    def clean(self) -> dict[str, Any]:
        """What the hub would refuse in the link is refused here."""
        data = super().clean() or {}
        if "kind" in data and "value" in data:
            try:
                parse([(data["kind"], data["value"])])
            except CriteriaError as error:
                self.add_error(
                    "value", [translated(one.message) for one in error.problems]
                )
        if self.tested and "tester" in self.fields and not data.get("tester"):
            self.add_error("tester", _("Choose the API client that calls."))
        if self.tested and (client := data.get("tester")):
            mine = set(self.fields["archives"].queryset)  # type: ignore[attr-defined]
            if not mine.issuperset(client.usable_archives()):
                message = _("This client may use archives that you may not.")
                self.add_error("tester", message)
        return data

    @property
    def tested(self) -> str:
        """The key of the call that is to be tested; empty if none is."""
        return str(self.data.get("test", ""))

    def values(self) -> tuple[str, ...]:
        parts = self.cleaned_data["value"].split(",")
        return tuple(dict.fromkeys(filter(None, map(str.strip, parts))))
