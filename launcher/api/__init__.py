"""The REST API for external systems, at ``/api/v1/``."""
