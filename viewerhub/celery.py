"""The Celery app. Its settings are the ``CELERY_*`` of ``viewerhub.settings``."""

import os

from celery import Celery

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "viewerhub.settings")

app = Celery("viewerhub")
app.config_from_object("django.conf:settings", namespace="CELERY")
app.autodiscover_tasks()
