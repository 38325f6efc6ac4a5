"""Whether a launch of the REST API is in order, and what it comes to."""

from __future__ import annotations

from dataclasses import dataclass

from archives.entities import Selection
from archives.models import Archive
from launcher.api.schemas import LaunchRequest
from launcher.api.selection import read_selection
from launcher.criteria import CriteriaError, Problem
from launcher.launching.callers import (
    Caller,
    archives_allowing,
    archives_named,
    kinds_of,
    template_named,
)
from launcher.models import ApiClient, LaunchTemplate


@dataclass(frozen=True, slots=True, kw_only=True)
class Accepted:
    selection: Selection
    archives: tuple[Archive, ...]
    template: LaunchTemplate


def accept(body: LaunchRequest, client: ApiClient) -> Accepted:
    """What the client may launch; stores nothing and asks no archive.

    Raises ``CriteriaError`` with every problem.
    """
    caller = Caller(api_client=client)
    problems: list[Problem] = []
    selection = read_selection(body, problems)
    template = None
    archives = []
    try:
        template = template_named(body.template)
    except CriteriaError as error:
        problems.extend(error.problems)
    try:
        archives = archives_named(body.archives, caller, template, field="archives")
    except CriteriaError as error:
        problems.extend(error.problems)
    if problems or template is None:
        raise CriteriaError(problems)
    allowed = archives_allowing(
        archives, kinds_of(selection), are_named=bool(body.archives)
    )
    return Accepted(selection=selection, archives=tuple(allowed), template=template)
