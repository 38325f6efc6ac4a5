"""What tests of the REST API do with its answers."""

from __future__ import annotations

from typing import Any

import httpx2

from launcher.models import Launch
from launcher.tasks import build_manifest


def problems_of(response: httpx2.Response) -> dict[str, str]:
    """Field -> message of a refusal."""
    assert response.headers["Content-Type"] == "application/problem+json"
    body = response.json()
    assert body["status"] == response.status_code
    assert set(body) == {"type", "title", "status", "detail", "errors"}
    return {error["field"]: error["message"] for error in body["errors"]}


def launch(client: httpx2.Client, **body: Any) -> dict[str, Any]:
    """Start a launch, of patient 1CT1 unless told otherwise."""
    response = client.post("/launches", json=body or {"patient_ids": ["1CT1"]})
    assert response.status_code == 201, response.text
    created: dict[str, Any] = response.json()
    return created


def build(created: dict[str, Any]) -> None:
    """Build the manifest of a launch, as a worker would."""
    build_manifest(str(Launch.objects.get(pk=created["id"]).build_id))
