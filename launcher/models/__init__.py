"""Launch templates, the clients that launch, and launches with their builds."""

from launcher.models.clients import ApiClient
from launcher.models.launches import ArchiveOutcome, Build, Launch
from launcher.models.opened import OpenedStudy
from launcher.models.preferences import Preferences
from launcher.models.rules import ViewerRule
from launcher.models.searches import SavedSearch
from launcher.models.templates import DateMeaning, LaunchTemplate
from launcher.models.viewers import Viewer

__all__ = [
    "ApiClient",
    "ArchiveOutcome",
    "Build",
    "DateMeaning",
    "Launch",
    "LaunchTemplate",
    "OpenedStudy",
    "Preferences",
    "SavedSearch",
    "Viewer",
    "ViewerRule",
]
