"""How the images of one archive reach one viewer: from where, and in which form.

Decided when the manifest is asked for, from the archive, the template of the launch and
the version of Weasis that asks. The administrator's preview shows the same decision.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from archives.models import Archive
from archives.presets import LaunchMode
from launcher.direct_images import sends_as_stored, why_not_direct
from launcher.manifest import Form
from launcher.models import LaunchTemplate

Version = tuple[int, int, int]

# The first Weasis that fetches by WADO-RS where an arcQuery says so, and the first that
# fetches series whole.
WADO_RS_SINCE: Final[Version] = (4, 7, 0)
WADO_RS_SERIES_SINCE: Final[Version] = (4, 7, 2)

_WANTED = LaunchTemplate.Retrieval
_WADO_RS: Final = {_WANTED.WADO_RS, _WANTED.WADO_RS_SERIES, _WANTED.WADO_RS_STUDY}
# By form, and whether the images come from the archive itself.
_BY_WADO_RS: Final = {
    (Form.WADO_RS, True): gettext_lazy(
        "The images of %(archive)s come from the archive, by WADO-RS, image by image: "
        "%(reason)s."
    ),
    (Form.WADO_RS, False): gettext_lazy(
        "The images of %(archive)s go through the hub, by WADO-RS, image by image: "
        "%(reason)s."
    ),
    (Form.WADO_RS_SERIES, True): gettext_lazy(
        "The images of %(archive)s come from the archive, by WADO-RS, whole series at a "
        "time: %(reason)s."
    ),
    (Form.WADO_RS_SERIES, False): gettext_lazy(
        "The images of %(archive)s go through the hub, by WADO-RS, whole series at a "
        "time: %(reason)s."
    ),
    (Form.WADO_RS_STUDY, True): gettext_lazy(
        "The images of %(archive)s come from the archive, by WADO-RS, whole studies at a "
        "time: %(reason)s."
    ),
    (Form.WADO_RS_STUDY, False): gettext_lazy(
        "The images of %(archive)s go through the hub, by WADO-RS, whole studies at a "
        "time: %(reason)s."
    ),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Retrieval:
    """``is_direct``: from the archive itself, not through the hub. ``why`` is a sentence."""

    form: Form
    is_direct: bool
    why: str


def retrieval_of(
    archive: Archive, template: LaunchTemplate, version: Version | None
) -> tuple[Form, str]:
    """The form, and in plain words from where the images come and why."""
    chosen = choose(archive, template, version)
    return chosen.form, chosen.why


def choose(
    archive: Archive, template: LaunchTemplate, version: Version | None
) -> Retrieval:
    """An unknown version (``None``) gets what every version of Weasis understands."""
    if template.retrieval == _WANTED.FILES:
        why = _(
            "The template asks for files, and the hub has one for each image of "
            "%(archive)s."
        ) % {"archive": archive.name}
        return Retrieval(form=Form.FILES, is_direct=False, why=why)
    hindrance = why_not_direct(archive, template)
    if hindrance:
        return _through_hub(archive, template, version, hindrance)
    return _direct(archive, template, version)


def _through_hub(
    archive: Archive, template: LaunchTemplate, version: Version | None, reason: str
) -> Retrieval:
    if template.retrieval not in _WADO_RS:
        return _from_hub_by_wado_uri(archive, template, reason)
    problem = _why_not_wado_rs(archive, template, version)
    if problem:
        reason = _both(reason, problem)
        return _from_hub_by_wado_uri(archive, template, reason)
    return _by_wado_rs(archive, template.retrieval, version, is_direct=False)


def _from_hub_by_wado_uri(
    archive: Archive, template: LaunchTemplate, reason: str
) -> Retrieval:
    why = _(
        "The images of %(archive)s go through the hub, by WADO-URI: %(reason)s."
    ) % {
        "archive": archive.name,
        "reason": reason,
    }
    if template.transfer_syntax:
        if sends_as_stored(archive, template):
            more = _(
                "The archive sends them as they are stored, in no other transfer syntax."
            )
        else:
            more = _(
                "Those it can't send in the transfer syntax are as they are stored."
            )
        why = f"{why} {more}"
    return Retrieval(form=Form.WADO_URI, is_direct=False, why=why)


def _direct(
    archive: Archive, template: LaunchTemplate, version: Version | None
) -> Retrieval:
    wanted = template.retrieval
    problem = _why_not_wado_rs(archive, template, version)
    has_wado_uri = bool(archive.wado_uri_url)
    is_wado_rs_first = not has_wado_uri or _prefers_wado_rs(archive)
    if wanted in _WADO_RS or (wanted == _WANTED.AUTO and is_wado_rs_first):
        if not problem:
            return _by_wado_rs(archive, wanted, version, is_direct=True)
        reason = problem
    elif has_wado_uri and wanted == _WANTED.AUTO:
        reason = _("it has an address for it, and every version of Weasis reads it")
    else:
        reason = _("the template asks for it")
    if has_wado_uri:
        text = _(
            "The images of %(archive)s come from the archive, by WADO-URI: %(reason)s."
        )
        why = text % {"archive": archive.name, "reason": reason}
        return Retrieval(form=Form.WADO_URI, is_direct=True, why=why)
    missing = _("the archive has no WADO-URI address of its own")
    return _from_hub_by_wado_uri(archive, template, _both(reason, missing))


def _prefers_wado_rs(archive: Archive) -> bool:
    """Whether it comes before WADO-URI among the ways that the product has."""
    direct = (LaunchMode.WADO_URI, LaunchMode.WADO_RS)
    ways = [mode for mode in archive.product.launch_modes if mode in direct]
    return ways[:1] == [LaunchMode.WADO_RS]


def _why_not_wado_rs(
    archive: Archive, template: LaunchTemplate, version: Version | None
) -> str:
    if archive.protocol != Archive.Protocol.DICOMWEB:
        return _("it has no WADO-RS")
    if template.override_tags:
        return _("Weasis can't overwrite tags in images it fetches by WADO-RS")
    if version is None:
        return _("it is not known whether the viewer can fetch by WADO-RS")
    if version < WADO_RS_SINCE:
        text = _("Weasis %(version)s can't fetch by WADO-RS")
        return text % {"version": _text(version)}
    return ""


def _by_wado_rs(
    archive: Archive, wanted: str, version: Version | None, *, is_direct: bool
) -> Retrieval:
    values = {"archive": archive.name, "reason": _("the template asks for it")}
    whole = {
        _WANTED.WADO_RS_SERIES: Form.WADO_RS_SERIES,
        _WANTED.WADO_RS_STUDY: Form.WADO_RS_STUDY,
    }
    form = whole.get(_WANTED(wanted), Form.WADO_RS)
    if form == Form.WADO_RS:
        if wanted == _WANTED.AUTO:
            values["reason"] = _("the archive has no WADO-URI address")
            if archive.wado_uri_url:
                text = _("%(product)s is asked like this first")
                values["reason"] = text % {"product": archive.product.name}
    elif version is None or version < WADO_RS_SERIES_SINCE:
        text = (
            _("only Weasis %(version)s fetches whole series")
            if form == Form.WADO_RS_SERIES
            else _("only Weasis %(version)s fetches whole studies")
        )
        values["reason"] = text % {"version": _text(WADO_RS_SERIES_SINCE)}
        form = Form.WADO_RS
    why = str(_BY_WADO_RS[form, is_direct]) % values
    return Retrieval(form=form, is_direct=is_direct, why=why)


def _both(first: str, second: str) -> str:
    return _("%(first)s, and %(second)s") % {"first": first, "second": second}


def _text(version: Version) -> str:
    return ".".join(map(str, version))
