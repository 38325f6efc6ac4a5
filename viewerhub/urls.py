"""Addresses of the hub."""

from django.contrib import admin
from django.urls import include, path

urlpatterns = [
    path("admin/", admin.site.urls),
    path("accounts/", include("allauth.urls")),
    path("", include("django_prometheus.urls")),
    path("", include("launcher.urls")),
]
