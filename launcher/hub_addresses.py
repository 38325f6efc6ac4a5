"""Addresses of the hub that viewers are told."""

from __future__ import annotations

from django.conf import settings


def dicomweb_url(slug: str) -> str:
    """Where viewers ask the hub for an archive's images by DICOMweb.

    The same in every launch: Weasis skips a series it knows from elsewhere.
    """
    return f"{settings.VIEWERHUB_PUBLIC_URL}/gateway/{slug}/dicom-web"
