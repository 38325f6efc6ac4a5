"""What is learned of an archive while it is used: how it pages, and which way is fast.

Kept per address in this process, lost with it: everything here only saves time.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from enum import Enum
from functools import cache
from typing import Final

_EXPLORED_EVERY: Final = 256
_EXPLORED_FIRST: Final = 32
_WORTH_MEASURING: Final = range(10, 512)
_WEIGHT_OF_THE_NEW: Final = 0.3


class Resource(Enum):
    """Two ways to learn of the instances of a study or series."""

    METADATA = "metadata"
    INSTANCES = "instances"


@dataclass(slots=True)
class ArchiveMemory:
    """Measured behaviour of one archive.

    ``seconds`` are per instance, by the size of the answer: a request has a cost of its
    own, so that only answers of like size can be compared.
    """

    seconds: dict[tuple[Resource, int], float] = field(default_factory=dict)
    unusable: set[Resource] = field(default_factory=set)
    largest_page: Counter[str] = field(default_factory=Counter)
    studies_at_once: int = 0  # as many as one search gave, and there were no more
    study_limit: int | None = None  # where the archive cuts without saying so
    takes_uid_lists: bool = True
    takes_include_fields: bool = True
    sends_series: bool | None = None  # all images of one at once; not known at first
    accepted: str = ""  # what an image was last asked for as, and sent
    is_near: bool = False  # by its last answer
    _choices: int = 0

    def order(self, expected: int | None) -> list[Resource]:
        """The ways to try, best first; all of them, for completeness' sake.

        Metadata is the first guess: archives have it at hand, and compute QIDO-RS
        answers. Where a wrong guess is cheap, the other way is tried now and then.
        """
        size = _size(expected or 0)
        first, second = sorted(
            Resource, key=lambda resource: self._cost(resource, size)
        )
        if expected in _WORTH_MEASURING:
            self._choices += 1
            if self._choices % _EXPLORED_EVERY == _EXPLORED_FIRST:
                return [second, first]
        return [first, second]

    def complete(self, resource: Resource, count: int, seconds: float) -> None:
        """Remember how long a complete answer of ``count`` instances took."""
        self.unusable.discard(resource)
        key, new = (resource, _size(count)), seconds / count
        old = self.seconds.get(key, new)
        self.seconds[key] = old + _WEIGHT_OF_THE_NEW * (new - old)

    def _cost(self, resource: Resource, size: int) -> tuple[bool, float]:
        guess = 0.0 if resource is Resource.METADATA else float("inf")
        return resource in self.unusable, self.seconds.get((resource, size), guess)

    def is_last_page(self, level: str, size: int) -> bool:
        """Whether a page this short has to be the last: the archive has sent longer ones."""
        return size < self.largest_page[level]

    def paged(self, level: str, size: int) -> None:
        self.largest_page[level] = max(size, self.largest_page[level])


def _size(count: int) -> int:
    """Classes that double: the larger ones are as the largest that is explored."""
    return min(count, _WORTH_MEASURING.stop - 1).bit_length()


@cache
def memory_of(url: str) -> ArchiveMemory:
    """The memory of the archive at this address, empty at first."""
    return ArchiveMemory()
