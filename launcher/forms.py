"""What is asked of an administrator about launch templates and API clients."""

from __future__ import annotations

from django import forms
from django.apps import apps

from launcher.models import ApiClient, LaunchTemplate

if apps.is_installed("unfold"):
    from unfold.widgets import (
        UnfoldAdminCheckboxSelectMultipleWidget as CheckboxSelectMultiple,
    )
else:
    from django.forms import CheckboxSelectMultiple

__all__ = [
    "ApiClientForm",
    "CheckboxSelectMultiple",
    "LaunchTemplateForm",
    "TemplatePreviewForm",
]


class LaunchTemplateForm(forms.ModelForm):  # type: ignore[type-arg]
    """A template; becoming the default takes that from the one that was."""

    becomes_default = forms.BooleanField(
        required=False,
        label="Make this the default",
        help_text="Launches that name no template use the default. There is one only.",
    )


class TemplatePreviewForm(forms.ModelForm):  # type: ignore[type-arg]
    """The part of a template that its preview needs, saved or not."""

    class Meta:
        model = LaunchTemplate
        fields = ["archives", "mode", "commands", "properties", "cdb", "wcfg"]


class ApiClientForm(forms.ModelForm):  # type: ignore[type-arg]
    scopes = forms.MultipleChoiceField(
        choices=ApiClient.Scope,
        widget=CheckboxSelectMultiple,
        help_text="What the client's key may be used for.",
    )
