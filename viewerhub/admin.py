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
from django.db.models import Count, Q, QuerySet
from django.http import HttpRequest
from django.urls import path
from django.utils.translation import gettext_lazy as _

from archives.models import Archive
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

admin.site.index_title = _("Overview")
admin.site.unregister([User, Group])

if apps.is_installed("unfold"):
    from unfold.admin import ModelAdmin
    from unfold.forms import AdminPasswordChangeForm, UserChangeForm, UserCreationForm

    class BaseUserAdmin(DjangoUserAdmin, ModelAdmin):  # type: ignore[misc, type-arg]
        form = UserChangeForm
        add_form = UserCreationForm
        change_password_form = AdminPasswordChangeForm

    class BaseGroupAdmin(DjangoGroupAdmin, ModelAdmin):  # type: ignore[misc]
        pass

else:
    from django.contrib.admin import ModelAdmin

    BaseUserAdmin = DjangoUserAdmin  # type: ignore[misc, assignment]
    BaseGroupAdmin = DjangoGroupAdmin  # type: ignore[misc, assignment]


@admin.register(User)
class UserAdmin(BaseUserAdmin):
    list_display = [
        "username",
        "full_name",
        "email",
        "group_names",
        "is_staff",
        "is_active",
        "last_login",
    ]
    list_filter = ["is_active", "is_staff", "is_superuser", "groups", "last_login"]
    search_help_text = _("User name, name or mail address")

    @admin.display(description=_("name"), ordering="last_name")
    def full_name(self, user: User) -> str:
        return user.get_full_name()

    @admin.display(description=_("groups"))
    def group_names(self, user: User) -> str:
        return ", ".join(group.name for group in user.groups.all())

    def get_queryset(self, request: HttpRequest) -> Any:
        return super().get_queryset(request).prefetch_related("groups")


class GroupArchiveFilter(admin.SimpleListFilter):
    title = _("archive")
    parameter_name = "archive"

    def lookups(self, request: HttpRequest, model_admin: Any) -> Any:
        return [(one.slug, one.name) for one in Archive.objects.all()]

    def queryset(
        self, request: HttpRequest, queryset: QuerySet[Group]
    ) -> QuerySet[Group]:
        slug = self.value()
        return queryset.filter(archive__slug=slug) if slug else queryset


@admin.register(Group)
class GroupAdmin(BaseGroupAdmin):
    list_display = ["name", "members", "archive_names"]
    list_filter = [GroupArchiveFilter]

    @admin.display(description=_("active members"), ordering="member_count")
    def members(self, group: Group) -> int:
        return int(group.member_count)  # type: ignore[attr-defined]

    @admin.display(description=_("archives"))
    def archive_names(self, group: Group) -> str:
        return ", ".join(one.name for one in group.archive_set.all())

    def get_queryset(self, request: HttpRequest) -> Any:
        active = Count("user", filter=Q(user__is_active=True), distinct=True)
        groups = super().get_queryset(request).annotate(member_count=active)
        return groups.prefetch_related("archive_set")


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
