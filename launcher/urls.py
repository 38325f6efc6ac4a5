"""Addresses of the launcher; their names are what templates and tests use."""

from typing import Final

from django.urls import URLPattern, path

from launcher import gateway
from launcher.views import (
    launch_pages,
    launch_urls,
    launches,
    manifest_urls,
    manifests,
    preferences,
    saved_searches,
    search,
    thumbnails,
)
from launcher.views.launch_urls import launch_url

app_name = "launcher"
# First: images are asked for by the thousand, and each looks for its view.
viewers: list[URLPattern] = [
    path("m/<str:token>", manifests.manifest_detail, name="manifest_detail"),
    path("m/<str:token>/<str:part>", manifests.manifest_detail, name="manifest_part"),
    path("gateway/<slug:slug>/wado", gateway.wado_uri, name="gateway_wado_uri"),
    path(
        "gateway/<slug:slug>/wado/<str:study>/<str:series>/<str:name>",
        gateway.file,
        name="gateway_file",
    ),
    path(
        "gateway/<slug:slug>/dicom-web/<path:path>",
        gateway.dicomweb,
        name="gateway_dicomweb",
    ),
]
portal: list[URLPattern] = [
    path("", search.search_start, name="search_start"),
    path("search/", search.search_create, name="search_create"),
    path("search/r/<str:search_id>/", search.search_results, name="search_results"),
    path(
        "search/r/<str:search_id>/archives/<slug:slug>/",
        search.search_archive,
        name="search_archive",
    ),
    path(
        "search/r/<str:search_id>/studies/<slug:key>/",
        search.search_study,
        name="search_study",
    ),
    path(
        "search/r/<str:search_id>/studies/<slug:study_key>/<slug:series_key>.jpg",
        thumbnails.series_thumbnail,
        name="series_thumbnail",
    ),
    path("searches/", saved_searches.saved_search_list, name="saved_search_list"),
    path("searches/<uuid:saved_id>/", saved_searches.saved_search, name="saved_search"),
    path(
        "searches/<uuid:saved_id>/run/",
        saved_searches.saved_search_run,
        name="saved_search_run",
    ),
    path(
        "searches/<uuid:saved_id>/change/",
        saved_searches.saved_search_change,
        name="saved_search_change",
    ),
    path(
        "searches/<uuid:saved_id>/delete/",
        saved_searches.saved_search_delete,
        name="saved_search_delete",
    ),
    path("launch/", launches.launch_create, name="launch_create"),
    path("launch/ahead/", launches.launch_ahead, name="launch_ahead"),
    path("launch/<uuid:launch_id>/", launch_pages.launch_detail, name="launch_detail"),
    path(
        "launch/<uuid:launch_id>/state/", launch_pages.launch_state, name="launch_state"
    ),
    path("launch/<uuid:launch_id>/retry/", launches.launch_retry, name="launch_retry"),
    path(
        "launch/<uuid:launch_id>/revoke/",
        launch_pages.launch_revoke,
        name="launch_revoke",
    ),
    path("launches/", launch_pages.launch_list, name="launch_list"),
    path("facts/", preferences.facts, name="facts"),
    path("theme/", preferences.theme, name="theme"),
]
IID: Final = {"is_iid": True}
MEMBERS: Final = {"members_only": True}
launch_paths: list[URLPattern] = [
    path("weasis", launch_url, name="weasis_launch"),
    path("IHEInvokeImageDisplay", launch_url, IID),
    path("display", launch_url, name="display_launch"),
    path("display/weasis", launch_url),
    path("display/IHEInvokeImageDisplay", launch_url, IID),
    path("display/auth", launch_url, MEMBERS),
    path("display/auth/weasis", launch_url, MEMBERS),
    path("display/auth/IHEInvokeImageDisplay", launch_url, IID | MEMBERS),
    # Where weasis-pacs-connector is served, so that only the host name changes.
    path("weasis-pacs-connector/weasis", launch_url),
    path("weasis-pacs-connector/IHEInvokeImageDisplay", launch_url, IID),
    path("weasis-pacs-connector/manifest", manifest_urls.manifest_url),
]
external: list[URLPattern] = [
    *launch_paths,
    path("manifest", manifest_urls.manifest_url, name="manifest_url"),
    path(
        "launch/resume/<str:launch_id>/",
        launch_urls.launch_resume,
        name="launch_resume",
    ),
    path(
        "manifest/resume/<str:launch_id>/",
        manifest_urls.manifest_resume,
        name="manifest_resume",
    ),
]
urlpatterns: list[URLPattern] = [*viewers, *portal, *external]
