"""Administration of the launcher; the same with Unfold's look and without."""

from launcher.admin.clients import ApiClientAdmin
from launcher.admin.launches import LaunchAdmin
from launcher.admin.searches import SavedSearchAdmin
from launcher.admin.templates import LaunchTemplateAdmin
from launcher.admin.viewers import ViewerAdmin, ViewerRuleAdmin

__all__ = [
    "ApiClientAdmin",
    "LaunchAdmin",
    "LaunchTemplateAdmin",
    "SavedSearchAdmin",
    "ViewerAdmin",
    "ViewerRuleAdmin",
]
