"""Users and groups with the look of the rest, and nothing of allauth that holds secrets."""

from __future__ import annotations

from typing import Any

from allauth.account.models import EmailAddress
from allauth.mfa.models import Authenticator
from allauth.socialaccount.models import SocialAccount, SocialApp, SocialToken
from django.apps import apps
from django.contrib import admin
from django.contrib.admin.models import LogEntry
from django.contrib.auth.admin import GroupAdmin as DjangoGroupAdmin
from django.contrib.auth.admin import UserAdmin as DjangoUserAdmin
from django.contrib.auth.models import Group, User
from django.http import HttpRequest
from django.urls import path
from django.utils.translation import gettext_lazy as _

from viewerhub.system import system_view

# The page of how the hub is set up belongs to no model.
_urls_of_models = admin.site.get_urls


def _urls() -> list[Any]:
    system = admin.site.admin_view(system_view)
    return [path("system/", system, name="system"), *_urls_of_models()]


admin.site.get_urls = _urls  # type: ignore[method-assign]

# Providers are configured by the environment, and tokens concern nobody.
for model in (Authenticator, EmailAddress, SocialAccount, SocialApp, SocialToken):
    if admin.site.is_registered(model):
        admin.site.unregister(model)

if apps.is_installed("unfold"):
    from unfold.admin import ModelAdmin
    from unfold.forms import AdminPasswordChangeForm, UserChangeForm, UserCreationForm

    admin.site.unregister([User, Group])

    @admin.register(User)
    class UserAdmin(DjangoUserAdmin, ModelAdmin):  # type: ignore[misc, type-arg]
        form = UserChangeForm
        add_form = UserCreationForm
        change_password_form = AdminPasswordChangeForm

    @admin.register(Group)
    class GroupAdmin(DjangoGroupAdmin, ModelAdmin):  # type: ignore[misc]
        pass

else:
    from django.contrib.admin import ModelAdmin


@admin.register(LogEntry)
class LogEntryAdmin(ModelAdmin):  # type: ignore[misc]
    """What members of staff did here."""

    list_display = ["action_time", "user", "action", "content_type", "object_repr"]
    list_filter = [
        "action_flag",
        ("user", admin.RelatedOnlyFieldListFilter),
        ("content_type", admin.RelatedOnlyFieldListFilter),
        "action_time",
    ]
    list_select_related = ["user", "content_type"]
    date_hierarchy = "action_time"
    search_fields = ["user__username", "object_repr", "change_message"]
    search_help_text = _("User, object or what was changed")
    fields = ["action_time", "user", "action", "content_type", "object_repr", "change"]
    readonly_fields = fields

    @admin.display(description=_("action"), ordering="action_flag")
    def action(self, entry: LogEntry) -> str:
        return str(entry.get_action_flag_display())

    @admin.display(description=_("change"))
    def change(self, entry: LogEntry) -> str:
        return entry.get_change_message()

    def has_add_permission(self, request: HttpRequest) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False


@admin.register(Authenticator)
class AuthenticatorAdmin(ModelAdmin):  # type: ignore[misc]
    """Second factors, to remove one that a user has lost; never their secrets."""

    list_display = ["user", "type", "created_at", "last_used_at"]
    list_filter = ["type"]
    search_fields = ["user__username"]
    fields = ["user", "type", "created_at", "last_used_at"]
    readonly_fields = fields

    def has_add_permission(self, request: HttpRequest) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False
