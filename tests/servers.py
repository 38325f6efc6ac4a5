"""Archives that behave badly, each in one way that real ones were seen to.

They serve in process; see ``archives.embedded`` for what they do otherwise.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from itertools import islice
from typing import Any

from pynetdicom import evt
from pynetdicom.presentation import PresentationContext

from archives.embedded import EmbeddedArchive, Level, Query
from archives.embedded.index import PATIENT_ID, UNIQUE_KEYS, Attributes, Entity
from archives.embedded.server import GET, MOVE, Results


class WithoutRetrieval(EmbeddedArchive):
    """Offers neither C-GET nor C-MOVE."""

    def contexts(self) -> Iterator[PresentationContext]:
        for context in super().contexts():
            if context.abstract_syntax not in {*GET, *MOVE}:
                yield context


class WithoutGet(EmbeddedArchive):
    """Sends by C-MOVE alone."""

    def contexts(self) -> Iterator[PresentationContext]:
        for context in super().contexts():
            if context.abstract_syntax not in GET:
                yield context


class WithoutCompressedSyntaxes(EmbeddedArchive):
    """Holds compressed objects, but offers to send them uncompressed only."""

    def contexts(self) -> Iterator[PresentationContext]:
        for context in super().contexts():
            plain = [uid for uid in context.transfer_syntax if not uid.is_compressed]
            context.transfer_syntax = plain
            yield context


class WrongPatient(EmbeddedArchive):
    """Answers with the Patient ID ``SOMEBODY-ELSE``, whoever was asked for."""

    def answer(self, query: Query, entity: Entity) -> Attributes:
        answer = super().answer(query, entity)
        if PATIENT_ID in answer:
            answer[PATIENT_ID] = "SOMEBODY-ELSE"
        return answer


class IgnoresKeys(EmbeddedArchive):
    """Answers every C-FIND with all it has at that level."""

    def matches(self, query: Query) -> Iterator[Attributes]:
        for entity in self.index.find(query.level, {}):
            yield self.answer(query, entity)


class Limited(EmbeddedArchive):
    """Answers at most ``limit`` matches, and says Success as if that were all."""

    limit = 100

    def matches(self, query: Query) -> Iterator[Attributes]:
        return islice(super().matches(query), self.limit)


class ListsNothing(EmbeddedArchive):
    """Finds studies and counts their instances, but lists neither those nor series."""

    def matches(self, query: Query) -> Iterator[Attributes]:
        return super().matches(query) if query.level is Level.STUDY else iter(())


class Hierarchical(EmbeddedArchive):
    """Wants the unique keys of all levels above (PS3.4 C.4.1.2.1): answers 0xA900 to
    anything else, and does not agree to relational queries."""

    def negotiate(self, event: evt.Event) -> dict[str, bytes]:
        return {}

    def find(self, event: evt.Event) -> Results:
        query = Query.from_event(event)
        levels = list(Level)
        first = Level.PATIENT if query.is_patient_root else Level.STUDY
        above = levels[levels.index(first) : levels.index(query.level)]
        keys = [query.keys.get(UNIQUE_KEYS[level], "") for level in above]
        if not all(keys) or any("\\" in key or "*" in key for key in keys):
            return iter([(0xA900, None)])
        return super().find(event)


class Slow(EmbeddedArchive):
    """Waits before each answer: until ``proceed`` is set, or for ``pause`` seconds.

    ``asked`` is set when a query came, ``cancelled`` when one was cancelled, which it
    obeys at once.
    """

    def __init__(self, *arguments: Any, pause: float = 3600.0, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self.pause = pause
        self.asked = threading.Event()
        self.proceed = threading.Event()
        self.cancelled = threading.Event()

    def find(self, event: evt.Event) -> Results:
        for status, answer in super().find(event):
            if status == 0xFF00:
                self.asked.set()
            if status == 0xFE00 or self._is_cancelled(event):
                self.cancelled.set()
                yield 0xFE00, None
                return
            yield status, answer

    def _is_cancelled(self, event: evt.Event) -> bool:
        """Wait; whether that was ended by a C-CANCEL, which pynetdicom tells only once."""
        deadline = time.monotonic() + self.pause
        while not self.proceed.wait(0.02) and time.monotonic() < deadline:
            if event.is_cancelled:
                return True
        return False

    def stop(self) -> None:
        self.proceed.set()
        super().stop()


class Dying(EmbeddedArchive):
    """Aborts the association after ``answers`` matches."""

    answers = 1

    def find(self, event: evt.Event) -> Results:
        yield from islice(super().find(event), self.answers)
        event.assoc.abort()


class Failing(EmbeddedArchive):
    """Ends every C-FIND with the status "Out of resources", after the matches."""

    status = 0xA700

    def find(self, event: evt.Event) -> Results:
        yield from super().find(event)
        yield self.status, None


class Choosy(EmbeddedArchive):
    """Accepts associations from the AE title ``FRIEND`` only."""

    def start(self) -> None:
        self._ae.require_calling_aet = ["FRIEND"]
        super().start()
