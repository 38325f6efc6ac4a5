"""What a manifest says of one archive, and how Weasis is to fetch the images."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from archives.entities import Study


class Severity(StrEnum):
    """The icon of the dialog Weasis shows."""

    INFO = "INFO"
    WARNING = "WARN"
    ERROR = "ERROR"


class Form(StrEnum):
    """How the images of a manifest are fetched.

    ``WADO_RS`` is read by Weasis 4.7.0, ``WADO_RS_SERIES`` and ``WADO_RS_STUDY``, where
    it finds the series itself, by 4.7.2; every version reads the others.
    """

    WADO_URI = "wado_uri"
    WADO_RS = "wado_rs"
    WADO_RS_SERIES = "wado_rs_series"
    WADO_RS_STUDY = "wado_rs_study"
    FILES = "files"

    @property
    def is_dicomweb(self) -> bool:
        return self is Form.WADO_RS or self.fetches_series

    @property
    def fetches_series(self) -> bool:
        """Whether series come whole, and not image by image."""
        return self in {Form.WADO_RS_SERIES, Form.WADO_RS_STUDY}


@dataclass(frozen=True, slots=True, kw_only=True)
class Message:
    """A dialog in Weasis; both texts must have something in them."""

    title: str
    description: str
    severity: Severity = Severity.WARNING


@dataclass(frozen=True, slots=True, kw_only=True)
class ArcQuery:
    """What one archive holds, and where its images are fetched.

    ``base_url`` is absolute, has no query and no trailing slash, and must be the same in
    every launch: Weasis skips a series it knows from another base. ``listed_series``
    are those of which only some instances are selected: where series are fetched, all
    others are fetched whole. ``listed_studies`` are those of which not everything is to
    be fetched from here: with ``WADO_RS_STUDY``, all others are named and no more.
    ``additional_parameters``, ``needs_only_object``,
    ``transfer_syntax`` and ``compression_rate`` are for ``WADO_URI``; ``override_tags``
    (``0x00100010,0x00100020``) for all but DICOMweb.
    """

    arc_id: str
    base_url: str
    studies: tuple[Study, ...] = ()
    http_tags: tuple[tuple[str, str], ...] = ()
    message: Message | None = None
    form: Form = Form.WADO_URI
    listed_series: frozenset[str] = frozenset()
    listed_studies: frozenset[str] = frozenset()
    additional_parameters: str = ""
    needs_only_object: bool = False
    transfer_syntax: str = ""
    compression_rate: int | None = None
    override_tags: str = ""
