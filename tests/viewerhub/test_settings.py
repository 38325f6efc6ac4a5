"""Settings are read once per process, so each test reads them in a process of its own."""

from __future__ import annotations

import json
import os
import secrets
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.settings_reader import ROOT, read_settings

PRODUCTION = {
    "ALLOWED_HOSTS": "viewerhub.example.org",
    "DATABASE_URL": "postgres://hub:word@db.example.org/viewerhub",
    "SECRET_KEY": secrets.token_urlsafe(48),
    "VIEWERHUB_ENCRYPTION_KEYS": secrets.token_urlsafe(48),
    "VIEWERHUB_PRODUCTION": "true",
    "VIEWERHUB_PUBLIC_URL": "https://viewerhub.example.org",
    "VIEWERHUB_REDIS_URL": "redis://redis.example.org/0",
}


def read(*names: str, **environment: str) -> dict[str, Any]:
    """These settings, or why they are refused under the key ``refused``."""
    return read_settings(list(names or ("DEBUG",)), environment)


def test_settings_production_names_every_missing_value_at_once() -> None:
    refused = read(VIEWERHUB_PRODUCTION="true")["refused"]

    for name in PRODUCTION.keys() - {"VIEWERHUB_PRODUCTION"}:
        assert name in refused


@pytest.mark.parametrize("name", sorted(PRODUCTION.keys() - {"VIEWERHUB_PRODUCTION"}))
def test_settings_production_refuses_an_empty_value(name: str) -> None:
    refused = read(**PRODUCTION | {name: ""})["refused"]

    assert name in refused
    assert not any(
        other in refused for other in PRODUCTION.keys() - {name, "VIEWERHUB_PRODUCTION"}
    )


@pytest.mark.parametrize("name", ["SECRET_KEY", "VIEWERHUB_ENCRYPTION_KEYS"])
def test_settings_production_refuses_an_empty_secret_file(
    tmp_path: Path, name: str
) -> None:
    file = tmp_path / "secret"
    file.write_text("\n")
    environment = PRODUCTION | {f"{name}_FILE": str(file)}
    del environment[name]

    assert name in read(**environment)["refused"]


def test_settings_production_starts_with_what_it_asks_for() -> None:
    values = read(
        "SESSION_COOKIE_NAME", "SESSION_COOKIE_SECURE", "DATABASES", **PRODUCTION
    )

    assert values["SESSION_COOKIE_NAME"] == "__Host-session"
    assert values["SESSION_COOKIE_SECURE"] is True
    assert values["DATABASES"]["default"]["HOST"] == "db.example.org"


@pytest.mark.parametrize("name", ["SECRET_KEY", "VIEWERHUB_ENCRYPTION_KEYS"])
def test_settings_production_refuses_short_secrets_without_showing_them(
    name: str,
) -> None:
    refused = read(**PRODUCTION | {name: "only-thirty-one-characters-here"})["refused"]

    assert name in refused
    assert "only-thirty-one" not in refused


def test_settings_production_refuses_one_short_key_in_the_ring() -> None:
    ring = f"{'k' * 50},short"

    assert "refused" in read(**PRODUCTION | {"VIEWERHUB_ENCRYPTION_KEYS": ring})


def test_settings_production_refuses_debug() -> None:
    assert "DEBUG" in read(**PRODUCTION, DEBUG="true")["refused"]


def test_settings_take_values_from_files_without_their_line_feed(
    tmp_path: Path,
) -> None:
    environment = dict(PRODUCTION)
    for name in ("SECRET_KEY", "VIEWERHUB_ENCRYPTION_KEYS", "DATABASE_URL"):
        file = tmp_path / name
        file.write_text(environment.pop(name) + "\n")
        environment[f"{name}_FILE"] = str(file)

    values = read("SECRET_KEY", "VIEWERHUB_ENCRYPTION_KEYS", "DATABASES", **environment)

    assert values["SECRET_KEY"] == PRODUCTION["SECRET_KEY"]
    assert values["VIEWERHUB_ENCRYPTION_KEYS"] == [
        PRODUCTION["VIEWERHUB_ENCRYPTION_KEYS"]
    ]
    assert values["DATABASES"]["default"]["NAME"] == "viewerhub"


def test_settings_say_which_secret_file_is_missing(tmp_path: Path) -> None:
    refused = read(SECRET_KEY_FILE=str(tmp_path / "nowhere"))["refused"]

    assert "SECRET_KEY_FILE" in refused


def test_settings_take_a_secret_that_begins_with_a_dollar_sign(tmp_path: Path) -> None:
    secret = "$" + "s" * 50

    values = read("SECRET_KEY", SECRET_KEY=secret, VIEWERHUB_DATA_DIR=str(tmp_path))

    assert values["SECRET_KEY"] == secret


def test_settings_without_configuration_keep_their_generated_secrets(
    tmp_path: Path,
) -> None:
    names = ("SECRET_KEY", "VIEWERHUB_ENCRYPTION_KEYS", "VIEWERHUB_PUBLIC_URL")
    environment = {"VIEWERHUB_DATA_DIR": str(tmp_path / "data")}

    first, second = read(*names, **environment), read(*names, **environment)

    assert first == second
    assert len(first["SECRET_KEY"]) >= 50
    assert first["SECRET_KEY"] not in first["VIEWERHUB_ENCRYPTION_KEYS"]
    for file in (tmp_path / "data").glob("*.secret"):
        assert file.stat().st_mode & 0o077 == 0


def test_settings_find_the_redis_of_the_demo(tmp_path: Path) -> None:
    (tmp_path / "redis.url").write_text("redis://:word@127.0.0.1:4711/0")

    values = read("VIEWERHUB_REDIS_URL", VIEWERHUB_DATA_DIR=str(tmp_path))

    assert values["VIEWERHUB_REDIS_URL"] == "redis://:word@127.0.0.1:4711/0"


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("VIEWERHUB_TRUSTED_NETWORKS", "10.0.0.0/33"),
        ("VIEWERHUB_METRICS_NETWORKS", "monitoring.example.org"),
        ("VIEWERHUB_OUTGOING_NETWORKS", "10.0.0.0/33"),
        ("VIEWERHUB_OUTGOING_NETWORKS", "10.0.0.256"),
        ("VIEWERHUB_OUTGOING_NETWORKS", "https://pacs.example.org"),
        ("VIEWERHUB_OUTGOING_NETWORKS", "pacs.*.example.org"),
        ("VIEWERHUB_OIDC_PROVIDERS", "[{]"),
        ("VIEWERHUB_OIDC_PROVIDERS", '{"openid_connect": {}}'),
        ("VIEWERHUB_OIDC_PROVIDERS", '[{"settings": {"server_url": "login"}}]'),
        ("VIEWERHUB_PUBLIC_URL", "viewerhub.example.org"),
        ("VIEWERHUB_PUBLIC_URL", "https://viewerhub.example.org/hub"),
        ("VIEWERHUB_PUBLIC_URL", "ftp://viewerhub.example.org"),
    ],
)
def test_settings_refuse_what_they_cannot_use(
    tmp_path: Path, name: str, value: str
) -> None:
    refused = read(**{name: value, "VIEWERHUB_DATA_DIR": str(tmp_path)})["refused"]

    assert name in refused


def test_settings_production_shows_metrics_to_nobody_unless_told() -> None:
    assert read("VIEWERHUB_METRICS_NETWORKS", **PRODUCTION) == {
        "VIEWERHUB_METRICS_NETWORKS": []
    }


def test_settings_pass_identity_providers_to_the_login() -> None:
    server_url = "https://login.example.org/realms/hospital"
    apps = [{"provider_id": "hospital", "settings": {"server_url": server_url}}]
    environment = PRODUCTION | {"VIEWERHUB_OIDC_PROVIDERS": json.dumps(apps)}

    values = read("SOCIALACCOUNT_PROVIDERS", "CONTENT_SECURITY_POLICY", **environment)

    assert values["SOCIALACCOUNT_PROVIDERS"]["openid_connect"]["APPS"] == apps
    policy = values["CONTENT_SECURITY_POLICY"]["DIRECTIVES"]
    assert "https://login.example.org" in policy["form-action"]


def test_settings_of_production_pass_the_deployment_check() -> None:
    command = ("manage.py", "check", "--deploy", "--fail-level", "WARNING")
    path = {"PATH": os.environ["PATH"]} if "PATH" in os.environ else {}

    result = subprocess.run(
        [sys.executable, *command],
        cwd=ROOT,
        env=path | PRODUCTION,
        capture_output=True,
        text=True,
        check=False,
    )

    assert result.returncode == 0, result.stderr


def test_settings_read_where_the_hub_may_connect_to() -> None:
    listed = "10.0.0.0/8, pacs.example.org,*.example.com,::1"

    values = read(
        "VIEWERHUB_OUTGOING_NETWORKS",
        "VIEWERHUB_OUTGOING_LOOPBACK",
        VIEWERHUB_OUTGOING_NETWORKS=listed,
    )

    assert values["VIEWERHUB_OUTGOING_NETWORKS"] == [
        "10.0.0.0/8",
        "pacs.example.org",
        "*.example.com",
        "::1",
    ]
    assert values["VIEWERHUB_OUTGOING_LOOPBACK"] is True
    assert read("VIEWERHUB_OUTGOING_LOOPBACK", **PRODUCTION) == {
        "VIEWERHUB_OUTGOING_LOOPBACK": False
    }


@pytest.mark.parametrize(
    "origin",
    ["http://a.example", "https://a.example/", "https://*.example", "*", "null"],
)
def test_settings_take_origins_of_viewers_by_https_alone(origin: str) -> None:
    name = "VIEWERHUB_GATEWAY_ORIGINS"
    right = "https://ohif.example.org, https://b.example:8443"

    assert read(name, **{name: right})[name] == right.split(", ")
    assert name in read(name, **{name: origin})["refused"]
