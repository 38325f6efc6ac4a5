"""Addresses of the launcher; their names are what templates and tests use."""

from django.urls import URLPattern

app_name = "launcher"
urlpatterns: list[URLPattern] = []
