"""What is asked of an administrator about API clients."""

from __future__ import annotations

from typing import Any, Final

from django import forms
from django.utils.translation import gettext
from django.utils.translation import gettext_lazy as _

from archives.fields import SecretUnreadableError
from archives.forms import SecretInput
from launcher import legacy_encryption
from launcher.forms import CheckboxSelectMultiple
from launcher.messages import translated
from launcher.models import ApiClient

SECRETS: Final = ("encryption_key", "encryption_salt")
NOT_ENCRYPTED: Final = ApiClient.Encryption.NONE


class ApiClientForm(forms.ModelForm):  # type: ignore[type-arg]
    """A client. Secrets left blank stay as they are, unless encryption is switched off."""

    scopes = forms.MultipleChoiceField(
        choices=ApiClient.Scope,
        widget=CheckboxSelectMultiple,
        label=_("Scopes"),
        help_text=_(
            "What the client's key may be used for. Signed links need the first."
        ),
    )

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        if "slug" in self.fields:
            self.fields["slug"].required = False
            self.fields["slug"].help_text = _(
                "The short name in signed links, as client=ris. Left blank, it is made "
                "from the name."
            )
        for name in SECRETS:
            self.initial.pop(name, None)
            if name in self.fields and self.instance.__dict__.get(name):
                kept = gettext("A value is stored. Leave blank to keep it.")
                self.fields[name].help_text = f"{self.fields[name].help_text} {kept}"

    def clean(self) -> dict[str, Any]:
        cleaned: dict[str, Any] = super().clean() or self.cleaned_data
        if "slug" in self.fields and not cleaned.get("slug"):
            named = ApiClient(name=cleaned.get("name", ""))
            cleaned["slug"] = named.slug_of_name()
        if set(SECRETS) <= set(self.fields):
            self._clean_encryption(cleaned)
        return cleaned

    def _clean_encryption(self, cleaned: dict[str, Any]) -> None:
        scheme = cleaned.get("encryption", NOT_ENCRYPTED)
        if scheme == NOT_ENCRYPTED:
            cleaned.update(dict.fromkeys(SECRETS, ""))
            return
        for name, check in (
            ("encryption_key", legacy_encryption.key_problem),
            ("encryption_salt", legacy_encryption.salt_problem),
        ):
            cleaned[name] = cleaned.get(name) or self._stored(name)
            if problem := check(scheme, cleaned[name]):
                self.add_error(name, translated(problem))

    def _stored(self, name: str) -> str:
        try:
            return str(getattr(self.instance, name))
        except SecretUnreadableError:
            return ""  # it has to be entered again

    class Meta:
        widgets = {name: SecretInput() for name in SECRETS}
