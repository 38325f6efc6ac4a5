"""Links and calls that start a launch, in every form an integrator may use."""

from __future__ import annotations

import json
import secrets
import shlex
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from html import escape
from typing import Final
from urllib.parse import urlencode

from django.utils.translation import gettext as _
from django.utils.translation import ngettext

from launcher import signed_links
from launcher.criteria import (
    ACCESSION_NUMBER,
    OBJECT_UID,
    PATIENT_ID,
    SERIES_UID,
    STUDY_UID,
)

# How a launch of the REST API names what a URL names.
_REST: Final = {
    PATIENT_ID: "patient_ids",
    STUDY_UID: "study_instance_uids",
    ACCESSION_NUMBER: "accession_numbers",
    SERIES_UID: "series",
    OBJECT_UID: "instances",
}
_REST_ITEM: Final = {
    SERIES_UID: "series_instance_uid",
    OBJECT_UID: "sop_instance_uid",
}
CURL: Final = "curl"
REST: Final = "rest"
_REQUEST_TYPE: Final = {
    PATIENT_ID: "PATIENT",
    STUDY_UID: "STUDY",
    ACCESSION_NUMBER: "STUDY",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Signer:
    """An API client that may sign links, and for how many seconds they hold."""

    client: str
    secret: str
    lifetime: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """What the links open. ``values`` are identifiers of one ``kind``."""

    hub_url: str
    kind: str
    values: tuple[str, ...]
    archives: tuple[str, ...] = ()
    template: str = ""
    viewer: str = ""
    signer: Signer | None = None

    def parameters(self) -> list[tuple[str, str]]:
        pairs = [(self.kind, ",".join(self.values))]
        pairs += [("archive", ",".join(self.archives))] if self.archives else []
        pairs += [("template", self.template)] if self.template else []
        pairs += [("viewer", self.viewer)] if self.viewer else []
        return pairs


@dataclass(frozen=True, slots=True, kw_only=True)
class Form:
    """One way to launch.

    A browser tries it by ``test_url``. What ``is_call`` needs a key, which nobody but
    its client has.
    """

    key: str
    title: str
    text: str
    note: str
    test_url: str = ""
    is_call: bool = False


def forms_of(wanted: Wanted) -> list[Form]:
    """Every form; one that this launch can't have says so in its note."""
    link = f"{wanted.hub_url}/weasis?{urlencode(wanted.parameters())}"
    return [
        Form(
            key="plain",
            title=_("Link"),
            text=link,
            note=_("For users who are signed in, and for networks the hub trusts."),
            test_url=link,
        ),
        _signed(wanted),
        _iid(wanted),
        Form(
            key="html",
            title="HTML",
            text=f'<a href="{escape(link)}">Open images</a>',
            note=_("The same link, for a page of your own."),
            test_url=link,
        ),
        Form(
            key=CURL,
            title="curl",
            text="curl --silent --include \\\n"
            '  --header "Authorization: Bearer $VIEWERHUB_KEY" \\\n'
            f"  {shlex.quote(link)}",
            note=_(
                "The answer's Location header is the address to open in the user's "
                "browser. The key is that of an API client."
            ),
            is_call=True,
        ),
        _rest(wanted),
    ]


def _signed(wanted: Wanted) -> Form:
    title = _("Signed link")
    if wanted.signer is None:
        note = _(
            "Choose an API client that has a signing secret. Whoever has a signed link "
            "can open it, once, until it expires."
        )
        return Form(key="signed", title=title, text="", note=note)
    signer = wanted.signer
    path = signed_links.sign(
        "/weasis",
        wanted.parameters(),
        client=signer.client,
        secret=signer.secret,
        expires=int(time.time()) + signer.lifetime,
        nonce=secrets.token_urlsafe(12),
    )
    link = f"{wanted.hub_url}{path}"
    note = ngettext(
        "Opens once, within %(count)d minute from now; a test uses it up. Your system "
        "signs a new one for each launch.",
        "Opens once, within %(count)d minutes from now; a test uses it up. Your system "
        "signs a new one for each launch.",
        signer.lifetime // 60,
    ) % {"count": signer.lifetime // 60}
    return Form(key="signed", title=title, text=link, note=note, test_url=link)


def _iid(wanted: Wanted) -> Form:
    title = _("IHE Invoke Image Display")
    request_type = _REQUEST_TYPE.get(wanted.kind)
    if request_type is None or (request_type == "PATIENT" and len(wanted.values) > 1):
        note = _(
            "The profile opens one patient, or studies by UID or accession number."
        )
        return Form(key="iid", title=title, text="", note=note)
    query = urlencode([("requestType", request_type), *wanted.parameters()])
    link = f"{wanted.hub_url}/IHEInvokeImageDisplay?{query}"
    note = _(
        "The hub asks the archives first, and answers 404 if all say that they have no "
        "such study."
    )
    return Form(key="iid", title=title, text=link, note=note, test_url=link)


def _rest(wanted: Wanted) -> Form:
    body = json.dumps(rest_body(wanted), indent=2, ensure_ascii=False)
    text = (
        f"curl {shlex.quote(wanted.hub_url + '/api/v1/launches')} \\\n"
        '  --header "Authorization: Bearer $VIEWERHUB_KEY" \\\n'
        '  --header "Content-Type: application/json" \\\n'
        f"  --data {shlex.quote(body)}"
    )
    note = _("The answer's weasis_uri is the address to open in the user's browser.")
    return Form(key=REST, title=_("REST API"), text=text, note=note, is_call=True)


def rest_body(wanted: Wanted) -> dict[str, object]:
    """What is posted to the REST API."""
    return dict(_rest_body(wanted))


def _rest_body(wanted: Wanted) -> Iterator[tuple[str, object]]:
    item = _REST_ITEM.get(wanted.kind)
    values: Sequence[object] = wanted.values
    if item:
        values = [{item: value} for value in wanted.values]
    yield _REST[wanted.kind], list(values)
    if wanted.archives:
        yield "archives", list(wanted.archives)
    if wanted.template:
        yield "template", wanted.template
