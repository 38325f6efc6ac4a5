"""Addresses of the hub."""

from allauth.account.decorators import secure_admin_login
from django.contrib import admin
from django.urls import include, path
from django.views.i18n import set_language

from launcher.api.endpoints import api
from viewerhub import operations

# The admin's own login form knows neither second factors nor rate limits.
admin.site.login = secure_admin_login(admin.site.login)  # type: ignore[method-assign]

urlpatterns = [
    path("", include("launcher.urls")),
    path("admin/", admin.site.urls),
    path("accounts/", include("allauth.urls")),
    path("language/", set_language, name="set_language"),
    path("livez", operations.livez, name="livez"),
    path("readyz", operations.ReadinessView.as_view(), name="readyz"),
    path("metrics", operations.metrics, name="metrics"),
    path("api/v1/", api.urls),
]
