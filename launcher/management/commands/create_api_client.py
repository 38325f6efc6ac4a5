"""Give an external system a key, from a script or the documentation."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

from django.core.exceptions import ValidationError
from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.db import transaction
from django.utils import timezone

from archives.models import Archive
from launcher.models import ApiClient


class Command(BaseCommand):
    help = (
        "Create an API client and print its key: the key alone on standard output, "
        "everything else on standard error, and with --signing the secret for signed "
        "links in a second line. Neither can be shown again."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        known = ",".join(ApiClient.Scope.values)
        parser.add_argument("name", metavar="NAME", help="the external system")
        parser.add_argument(
            "--scopes", metavar="SCOPE[,SCOPE...]", help=f"some of {known}"
        )
        parser.add_argument(
            "--archive",
            metavar="SLUG",
            action="append",
            dest="archives",
            help="an archive it may use, repeatable; none means every archive",
        )
        parser.add_argument(
            "--expires-days",
            metavar="N",
            type=int,
            help="days until the key expires; otherwise it does not",
        )
        parser.add_argument(
            "--slug", help="its short name, for client=… in links; else of the name"
        )
        parser.add_argument(
            "--signing",
            action="store_true",
            help="give it a secret to sign links with, too",
        )
        parser.add_argument(
            "--rotate",
            action="store_true",
            help="give a client that exists a new key and end the old one; its other "
            "settings stay unless given",
        )

    def handle(self, *args: Any, **options: Any) -> None:
        name, rotate = options["name"], options["rotate"]
        client = ApiClient.objects.filter(name=name).first()
        if client and not rotate:
            raise CommandError(
                f"{name} exists already. Use --rotate to give it a new key."
            )
        if not client and rotate:
            raise CommandError(f"There is no API client {name} to rotate.")
        client = client or ApiClient(name=name)
        if options["scopes"] is not None:
            client.scopes = _scopes(options["scopes"])
        if not client.scopes:
            raise CommandError("--scopes: give at least one.")
        if options["expires_days"] is not None:
            client.expires = _expiry(options["expires_days"])
        if options["slug"] is not None:
            client.slug = options["slug"]
        secret = client.issue_signing_secret() if options["signing"] else ""
        key = _save(client, options["archives"])
        done = "Replaced the key of" if rotate else "Created"
        self.stderr.write(
            f"{done} {name} ({', '.join(client.scopes)}). Keep the key: it can't be "
            "shown again."
        )
        self.stdout.write(key)
        if secret:
            self.stderr.write(
                f"The second line is the secret for signed links (client={client.slug})."
            )
            self.stdout.write(secret)


def _scopes(text: str) -> list[str]:
    scopes = list(dict.fromkeys(filter(None, map(str.strip, text.split(",")))))
    unknown = [scope for scope in scopes if scope not in ApiClient.Scope.values]
    if unknown:
        known = ", ".join(ApiClient.Scope.values)
        raise CommandError(
            f"--scopes: unknown {', '.join(unknown)}. Known are {known}."
        )
    return scopes


def _expiry(days: int) -> datetime:
    if not 1 <= days <= 36500:
        raise CommandError("--expires-days: give a number of days from 1 to 36500.")
    return timezone.now() + timedelta(days=days)


def _save(client: ApiClient, slugs: list[str] | None) -> str:
    """Store the client with a new key, and return it."""
    archives = list(Archive.objects.filter(slug__in=slugs or ()))
    unknown = set(slugs or ()) - {archive.slug for archive in archives}
    if unknown:
        raise CommandError(f"--archive: there is no {', '.join(sorted(unknown))}.")
    key = client.issue_key()
    client.slug = client.slug or client.slug_of_name() or client.key_prefix[3:]
    try:
        client.full_clean()
    except ValidationError as error:
        raise CommandError("; ".join(error.messages)) from error
    with transaction.atomic():
        client.save()
        if slugs is not None:
            client.archives.set(archives)
    return key
