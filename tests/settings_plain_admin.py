"""Settings of the test run with Django's own admin in place of Unfold's."""

from tests.settings import *  # noqa: F403
from tests.settings import INSTALLED_APPS

INSTALLED_APPS = [app for app in INSTALLED_APPS if app != "unfold"]
