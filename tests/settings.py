"""Settings of the test run: the embedded mode, in a directory of its own.

``DATABASE_URL`` and ``VIEWERHUB_REDIS_URL`` are honoured, to run the same tests on other
servers; any other ``VIEWERHUB_*`` of the developer's environment is not. Without a Redis
given, the address is that of the Valkey server which the ``valkey`` fixture starts.
"""

import os

from tests.environment import prepare

prepare(os.environ)

from viewerhub.settings import *  # noqa: E402, F403
from viewerhub.settings import DATABASES, VIEWERHUB_DATA_DIR  # noqa: E402

if DATABASES["default"]["ENGINE"].endswith("sqlite3"):
    # A file, because threads of async views can't share an in-memory database.
    DATABASES["default"]["TEST"] = {"NAME": str(VIEWERHUB_DATA_DIR / "test.sqlite3")}

# Django's test client ends its event loop after each request.
MIDDLEWARE = ["tests.asgi.close_after_request", *MIDDLEWARE]  # noqa: F405

# Tests log in often, and guard nothing with these passwords.
PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]

# Static files come from where they are written; nothing is collected. They are looked up
# when they are asked for: to list them all takes longer than most requests of a test.
STATIC_ROOT = None
WHITENOISE_AUTOREFRESH = True
