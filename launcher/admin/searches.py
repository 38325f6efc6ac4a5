"""Saved searches, to look after and to delete.

Names and criteria may be of patients. They concern those who may use the search, not
administrators: here is only which criteria there are.
"""

from __future__ import annotations

from django.contrib import admin
from django.contrib.auth.models import User
from django.http import HttpRequest
from django.utils.translation import gettext
from django.utils.translation import gettext_lazy as _

from launcher.admin.base import BaseAdmin
from launcher.models import SavedSearch
from launcher.search.saved import criteria_labels


@admin.register(SavedSearch)
class SavedSearchAdmin(BaseAdmin):
    list_display = ["created", "owner_name", "group", "asks_for", "used"]
    list_filter = [
        ("group", admin.RelatedOnlyFieldListFilter),
        ("owner", admin.RelatedOnlyFieldListFilter),
        "created",
        "used",
    ]
    date_hierarchy = "created"
    search_fields = [
        "=id",
        "owner__username",
        "owner__first_name",
        "owner__last_name",
        "group__name",
    ]
    search_help_text = _("User, group, or the identifier in the search's address")
    list_select_related = ["owner", "group"]
    list_per_page = 50
    fields = ["id", "owner_name", "group", "asks_for", "created", "used"]
    readonly_fields = ["id", "owner_name", "group", "asks_for", "created", "used"]

    def has_add_permission(self, request: HttpRequest) -> bool:
        return False

    def has_change_permission(
        self, request: HttpRequest, obj: SavedSearch | None = None
    ) -> bool:
        return False

    @admin.display(description=_("owner"), ordering="owner__username")
    def owner_name(self, saved: SavedSearch) -> User:
        return saved.owner

    @admin.display(description=_("searches by"))
    def asks_for(self, saved: SavedSearch) -> str:
        criteria = saved.get_criteria()
        if criteria is None:
            return gettext("Can't be read: its key left VIEWERHUB_ENCRYPTION_KEYS")
        return ", ".join(criteria_labels(criteria, saved.preset))
