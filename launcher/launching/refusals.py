"""Launches that can't be, beyond parameters that are wrong (``criteria.CriteriaError``)."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager

from launcher.criteria import CriteriaError, Problem


class RefusedError(Exception):
    """``status`` is that of HTTP; ``problems`` say why, for the person at the screen."""

    def __init__(self, status: int, problems: Iterable[Problem]) -> None:
        self.status = status
        self.problems = tuple(problems)
        super().__init__("; ".join(problem.message for problem in self.problems))


class UnknownCallerError(Exception):
    """Nothing says who is calling, or that the caller may launch."""


class Findings:
    """Problems of several checks, to be told together."""

    def __init__(self) -> None:
        self._errors: list[CriteriaError] = []

    @property
    def has_any(self) -> bool:
        return bool(self._errors)

    @contextmanager
    def checking(self) -> Iterator[None]:
        """Keep the ``CriteriaError`` of one check, and go on with the next."""
        try:
            yield
        except CriteriaError as error:
            self.add(error)

    def add(self, error: CriteriaError) -> None:
        self._errors.append(error)

    def error(self) -> CriteriaError:
        """One error for all: of their own kind if they are of one kind."""
        problems = [problem for error in self._errors for problem in error.problems]
        kinds = {type(error) for error in self._errors}
        kind = kinds.pop() if len(kinds) == 1 else CriteriaError
        return kind(dict.fromkeys(problems))

    def raise_all(self) -> None:
        if self._errors:
            raise self.error()
