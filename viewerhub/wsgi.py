"""WSGI entry point, for management tools; serve the hub by ``viewerhub.asgi``."""

import os

from django.core.wsgi import get_wsgi_application

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "viewerhub.settings")

application = get_wsgi_application()
