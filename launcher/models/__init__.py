"""Launch templates, the clients that launch, and launches with their builds."""

from launcher.models.clients import ApiClient
from launcher.models.launches import ArchiveOutcome, Build, Launch
from launcher.models.templates import (
    DateMeaning,
    LaunchTemplate,
    Viewer,
    ViewerRule,
)

__all__ = [
    "ApiClient",
    "ArchiveOutcome",
    "Build",
    "DateMeaning",
    "Launch",
    "LaunchTemplate",
    "Viewer",
    "ViewerRule",
]
