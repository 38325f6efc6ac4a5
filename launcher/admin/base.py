"""What the administration of every model here begins with."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from django.apps import apps
from django.contrib.admin.utils import unquote
from django.contrib.admin.widgets import RelatedFieldWidgetWrapper
from django.core.exceptions import PermissionDenied
from django.db.models import ManyToManyField
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseNotAllowed
from django.urls import URLPattern, path

from launcher.forms import CheckboxSelectMultiple

if TYPE_CHECKING or not apps.is_installed("unfold"):
    from django.contrib.admin import ModelAdmin
else:
    from unfold.admin import ModelAdmin


class BaseAdmin(ModelAdmin):  # type: ignore[type-arg]
    formfield_overrides = {ManyToManyField: {"widget": CheckboxSelectMultiple}}
    # What it means that nothing is chosen, by the names of foreign keys.
    empty_labels: Mapping[str, Any] = {}

    class Media:
        css = {"all": ["viewerhub/admin.css"]}
        js = ["viewerhub/admin.js"]

    def formfield_for_dbfield(
        self, db_field: Any, request: HttpRequest, **kwargs: Any
    ) -> Any:
        field = super().formfield_for_dbfield(db_field, request, **kwargs)
        if field and isinstance(field.widget, RelatedFieldWidgetWrapper):
            field.widget = field.widget.widget  # archives are made on their own page
        return field

    def formfield_for_foreignkey(
        self, db_field: Any, request: HttpRequest, **kwargs: Any
    ) -> Any:
        field = super().formfield_for_foreignkey(db_field, request, **kwargs)
        if field and db_field.name in self.empty_labels:  # Unfold has one for all
            field.empty_label = self.empty_labels[db_field.name]
        return field

    def object_action(
        self,
        name: str,
        may: Callable[[HttpRequest], bool],
        act: Callable[[HttpRequest, Any], HttpResponse],
    ) -> URLPattern:
        """The address ``<object>/<name>/`` of a button on the object's page (POST)."""

        def view(request: HttpRequest, object_id: str) -> HttpResponse:
            found = self.get_object(request, unquote(object_id))
            if found is None:
                raise Http404
            if not may(request):
                raise PermissionDenied
            if request.method != "POST":
                return HttpResponseNotAllowed(["POST"])
            return act(request, found)

        url_name = f"{self.opts.app_label}_{self.opts.model_name}_{name}"
        return path(
            f"<path:object_id>/{name}/", self.admin_site.admin_view(view), name=url_name
        )
