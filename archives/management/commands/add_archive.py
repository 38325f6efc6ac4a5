"""Register an archive from a script, a compose file or the documentation."""

from __future__ import annotations

import argparse
import re
import textwrap
from collections.abc import Mapping
from typing import Any

from django.core.exceptions import ValidationError
from django.core.management.base import BaseCommand, CommandError, CommandParser

from archives.management import logins
from archives.models import Archive
from archives.presets import PRESETS
from archives.verification import Verification, verify

_ADDRESS = re.compile(
    r"(?P<ae_title>.+)@(?:\[(?P<ipv6>.+)]|(?P<host>[^:]+)):(?P<port>\d+)"
)

# Which option a field of the model comes from, for errors.
_OPTIONS = {
    "slug": "SLUG",
    "name": "--name",
    "host": "--dimse",
    "port": "--dimse",
    "called_ae_title": "--dimse",
    "calling_ae_title": "--calling-ae-title",
    "url": "--dicomweb",
    "wado_uri_url": "--wado-uri",
    "preset": "--product",
    "previous_names": "--previous-names",
    "images": "--images",
    "protocol": "--dimse or --dicomweb",
    **logins.OPTIONS,
}

_PRODUCTS = "\n".join(
    f"{preset.slug:20} {preset.name} ({' or '.join(preset.protocols)})"
    for preset in PRESETS.values()
)

_EPILOG = f"""\
{logins.EXPLANATION}

products:
{textwrap.indent(_PRODUCTS, "  ")}

An archive that exists keeps every setting that is not given. What “Verify connection”
finds is printed as a checklist.

exit status:
  0  the archive is saved, whatever the verification found
  1  nothing was saved; standard error names the option
  2  wrong usage
  3  saved, but the verification failed (only with --check)
"""


class Command(BaseCommand):
    help = "Create or update an archive, then verify the connection to it."

    def create_parser(
        self, prog_name: str, subcommand: str, **kwargs: Any
    ) -> CommandParser:
        parser = super().create_parser(prog_name, subcommand, epilog=_EPILOG, **kwargs)
        parser.formatter_class = argparse.RawDescriptionHelpFormatter
        return parser

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("slug", metavar="SLUG", help="short name in addresses")
        parser.add_argument(
            "--product",
            choices=list(PRESETS),
            metavar="PRODUCT",
            help="what the archive runs, see below",
        )
        protocol = parser.add_mutually_exclusive_group()
        protocol.add_argument(
            "--dimse",
            metavar="AET@HOST:PORT",
            help="a DIMSE archive: its AE title, host and port; IPv6 in brackets",
        )
        protocol.add_argument(
            "--dicomweb",
            metavar="URL",
            help="a DICOMweb archive: the part before /studies",
        )
        parser.add_argument("--wado-uri", metavar="URL", help="its WADO-URI address")
        logins.add_login_options(parser)
        parser.add_argument(
            "--calling-ae-title", metavar="AET", help="what the hub calls itself"
        )
        parser.add_argument(
            "--images",
            choices=Archive.Images.values,
            help="fetch images through the hub, or straight from the archive",
        )
        parser.add_argument("--name", help="what users see; the slug if never given")
        parser.add_argument(
            "--previous-names",
            metavar="NAMES",
            help="other names in addresses, with commas between them",
        )
        parser.add_argument(
            "--check",
            action="store_true",
            help="exit with status 3 if the verification fails",
        )

    def handle(self, *args: Any, **options: Any) -> None:
        archive = Archive.objects.filter(slug=options["slug"]).first()
        is_new = archive is None
        archive = archive or Archive(slug=options["slug"], name=options["slug"])
        if options["product"] not in (None, archive.preset):
            archive.page_size = PRESETS[options["product"]].page_size
        for name, value in _values(options).items():
            setattr(archive, name, value)
        login = logins.chosen_login(options)
        is_dimse = archive.protocol == Archive.Protocol.DIMSE
        if login and is_dimse and not archive.wado_uri_url:
            option = login.replace("_", "-")
            raise CommandError(
                f"--{option}: a DIMSE archive only has it with a --wado-uri address."
            )
        _save(archive)
        done = "Added" if is_new else "Updated"
        self.stdout.write(f"{done} {archive.name} ({archive.slug}), {archive.address}")
        [(_, verification)] = verify([archive])
        self._print(verification)
        if options["check"] and verification.failure:
            raise CommandError("The verification failed.", returncode=3)

    def _print(self, verification: Verification) -> None:
        width = max(len(step.name) for step in verification.steps)
        for step in verification.steps:
            sign = self.style.SUCCESS("✓") if step.is_ok else self.style.ERROR("✗")
            if step.is_warning:
                sign = self.style.WARNING("!")
            elif step.is_unknown:
                sign = "–"
            self.stdout.write(
                f"{sign} {step.name:{width}} "
                f"{step.milliseconds:6.0f} ms  {step.message}"
            )


def _values(options: Mapping[str, Any]) -> dict[str, Any]:
    """The fields that the options give."""
    values: dict[str, Any] = {}
    if options["dimse"]:
        values |= {"protocol": Archive.Protocol.DIMSE, **_dimse(options["dimse"])}
    elif options["dicomweb"]:
        values |= {"protocol": Archive.Protocol.DICOMWEB, "url": options["dicomweb"]}
    for option, field in (
        ("wado_uri", "wado_uri_url"),
        ("calling_ae_title", "calling_ae_title"),
        ("images", "images"),
        ("name", "name"),
        ("product", "preset"),
        ("previous_names", "previous_names"),
    ):
        if options[option] is not None:
            values[field] = options[option]
    return values | logins.login_values(options)


def _dimse(text: str) -> dict[str, Any]:
    match = _ADDRESS.fullmatch(text)
    if not match:
        raise CommandError(
            "--dimse: write it as AET@HOST:PORT, such as PACS@10.0.0.5:104."
        )
    return {
        "called_ae_title": match["ae_title"],
        "host": match["ipv6"] or match["host"],
        "port": int(match["port"]),
    }


def _save(archive: Archive) -> None:
    if not archive.protocol:
        raise CommandError("A new archive needs --dimse or --dicomweb.")
    try:
        archive.full_clean()
    except ValidationError as error:
        raise CommandError(
            "\n".join(
                f"{_OPTIONS.get(field, field)}: {message}"
                for field, messages in error.message_dict.items()
                for message in messages
            )
        ) from error
    archive.save()
