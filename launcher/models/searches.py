"""Searches that users keep, for themselves or with a group of theirs."""

from __future__ import annotations

import json
import uuid
from datetime import datetime
from typing import Self

from django.conf import settings
from django.contrib.auth.models import Group, User
from django.db import models
from django.db.models import Q
from django.db.models.functions import Coalesce
from django.urls import reverse
from django.utils import timezone
from django.utils.translation import gettext_lazy as _

from archives.fields import EncryptedTextField
from launcher.search.criteria import (
    SearchCriteria,
    criteria_from_json,
    criteria_to_json,
)


class SavedSearchQuerySet(models.QuerySet["SavedSearch"]):
    def visible_to(self, user: User) -> Self:
        """Their own, and those that are shared with a group they are in."""
        return self.filter(Q(owner=user) | Q(group__in=user.groups.all()))

    def recent_first(self) -> Self:
        return self.order_by(Coalesce("used", "created").desc())


class SavedSearch(models.Model):
    """Criteria under a name. Only the owner changes them; the group sees and uses them.

    Name and criteria may be of patients: both are encrypted, and nothing but the pages
    of those who may use the search shows them.
    """

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    owner = models.ForeignKey(
        settings.AUTH_USER_MODEL,
        models.CASCADE,
        related_name="saved_searches",
        verbose_name=_("owner"),
    )
    group = models.ForeignKey(
        Group,
        models.SET_NULL,
        null=True,
        blank=True,
        verbose_name=_("shared with"),
    )
    name = EncryptedTextField(unreadable="")
    criteria = EncryptedTextField(unreadable="")
    # Which period was chosen; one that is relative to the day has no days in the criteria.
    preset = models.CharField(max_length=16, blank=True)
    created = models.DateTimeField(_("created"), auto_now_add=True)
    used = models.DateTimeField(_("last used"), null=True)

    objects = SavedSearchQuerySet.as_manager()

    class Meta:
        ordering = ["-created"]
        verbose_name = _("saved search")
        verbose_name_plural = _("saved searches")

    def __str__(self) -> str:
        return str(self.pk)  # what logs and the history of the admin say

    def get_absolute_url(self) -> str:
        return reverse("launcher:saved_search", args=[self.pk])

    def get_criteria(self) -> SearchCriteria | None:
        """``None`` if the key that encrypted them is gone."""
        return criteria_from_json(json.loads(self.criteria)) if self.criteria else None

    def set_criteria(self, criteria: SearchCriteria) -> None:
        self.criteria = json.dumps(criteria_to_json(criteria))

    def mark_used(self, at: datetime | None = None) -> None:
        self.used = at or timezone.now()
        self.save(update_fields=["used"])
