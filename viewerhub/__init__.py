"""Configuration of the project. Importing it makes the Celery app known to tasks."""

from viewerhub.celery import app as celery_app

__all__ = ["celery_app"]
