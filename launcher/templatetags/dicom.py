"""DICOM values for people: names, dates, times, ages."""

from __future__ import annotations

from datetime import date, time
from typing import Any, Final

from django import template
from django.utils.formats import date_format
from django.utils.html import format_html, format_html_join
from django.utils.safestring import SafeString
from django.utils.translation import gettext as _

from archives.entities import Study
from launcher.search.criteria import read_date
from launcher.search.person_names import NameGroup, is_wide, name_groups, name_parts

register = template.Library()

SHOWN_MODALITIES: Final = 5


@register.filter
def person_name(value: str) -> SafeString:
    """``FAMILY, Given``; ideographic and phonetic groups on a second line."""
    groups = name_groups(value)
    if not groups:
        return format_html('<span class="missing">{}</span>', _("No name"))
    first = _group(groups[0], "name")
    if len(groups) == 1:
        return first
    others = format_html_join(" ", "{}", ((_group(one, ""),) for one in groups[1:]))
    return format_html('{}<span class="name-more">{}</span>', first, others)


def _group(group: NameGroup, css: str) -> SafeString:
    language = format_html(' lang="{}"', group.language) if group.language else ""
    family = format_html('<span class="family">{}</span>', group.family)
    separator = " " if group.language else ", "
    parts = [family] if group.family else []
    if group.rest:
        parts.append(format_html("{}", group.rest))
    text = format_html_join(separator, "{}", ((part,) for part in parts))
    attributes = format_html(' class="{}"', css) if css else ""
    return format_html('<bdi{} dir="auto"{}>{}</bdi>', attributes, language, text)


@register.filter
def plain_name(value: str) -> str:
    """The first group of a name in one line, for labels of controls."""
    groups = name_groups(value)
    if not groups:
        return _("No name")
    return ", ".join(filter(None, (groups[0].family, groups[0].rest)))


@register.filter
def name_keys(text: str) -> str:
    """What of a name is compared, for who typed the text: parts with their wildcards."""
    family, given = name_parts(text)
    if is_wide(family):
        return _("name %(name)s") % {"name": family}
    names = {"family": family, "given": given}
    if family and given:
        return _("family name %(family)s, given name %(given)s") % names
    if given:
        return _("given name %(given)s") % names
    return _("family name %(family)s") % names if family else ""


@register.filter
def dicom_date(value: str) -> SafeString:
    """A DA in the user's locale, ISO in the tooltip; what is no date as it is."""
    day = read_date(value)
    if day:
        text, iso = date_format(day, "SHORT_DATE_FORMAT"), day.isoformat()
        return format_html('<time datetime="{0}" title="{0}">{1}</time>', iso, text)
    if value.strip():
        return format_html('<span class="missing" dir="auto">{}</span>', value)
    return format_html('<span class="missing">{}</span>', _("No date"))


@register.filter
def plain_date(value: str) -> str:
    """A DA for labels, where there is no room for markup."""
    day = read_date(value)
    return date_format(day, "SHORT_DATE_FORMAT") if day else value


@register.filter
def dicom_time(value: str) -> SafeString:
    """Hours and minutes of a TM (PS3.5 6.2), or nothing."""
    clock = _read_time(value)
    if clock is None:
        return SafeString("")
    return format_html('<time datetime="{0}">{0}</time>', f"{clock:%H:%M}")


def _read_time(value: str) -> time | None:
    digits = value.replace(":", "").partition(".")[0].strip()
    if not digits.isascii() or not digits.isdecimal() or len(digits) not in (2, 4, 6):
        return None
    try:
        return time(int(digits[:2]), int(digits[2:4] or 0))
    except ValueError:
        return None


@register.filter
def age(study: Study) -> str:
    """Age at the study date: days, weeks, months or years, as read in a report."""
    born, then = (
        read_date(study.patient.patient_birth_date),
        read_date(study.study_date),
    )
    if not born or not then or born > then:
        return ""
    days, months = (then - born).days, _whole_months(born, then)
    if months >= 24:
        return _("%(count)d y") % {"count": months // 12}
    if months >= 3:
        return _("%(count)d m") % {"count": months}
    if days >= 14:
        return _("%(count)d w") % {"count": days // 7}
    return _("%(count)d d") % {"count": days}


def _whole_months(born: date, then: date) -> int:
    months = (then.year - born.year) * 12 + then.month - born.month
    return months - (then.day < born.day)


@register.filter
def sex(value: str) -> str:
    names = {"F": _("Female"), "M": _("Male"), "O": _("Other sex")}
    return names.get(value.strip().upper(), "")


@register.inclusion_tag("launcher/_modalities.html")
def modalities(values: tuple[str, ...]) -> dict[str, Any]:
    """The first few, and how many more; the rest stays readable in a tooltip."""
    shown = values if len(values) <= SHOWN_MODALITIES + 1 else values[:SHOWN_MODALITIES]
    return {"shown": shown, "rest": values[len(shown) :]}
