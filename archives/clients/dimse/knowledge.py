"""What was learned of an archive, to ask it in the fewest queries it answers completely.

Kept per process. All of it is found out again when forgotten.
"""

from __future__ import annotations

import time
from collections import OrderedDict
from dataclasses import dataclass, field
from typing import Final

from archives.clients.base import DimseEndpoint

_ENDPOINTS: Final = 256
_SERIES: Final = 4096
# Archives are repaired and reconfigured; then the quick way deserves another try.
_FORGET_SECONDS: Final = 3600.0


@dataclass(slots=True)
class Knowledge:
    """Of one endpoint.

    ``answers_below`` is how many instances the answer to one IMAGE level query over
    whole studies may have and still be complete; 0 if such queries are refused.
    ``answers_lists`` is whether such a query may be about several studies.
    ``sends_series`` is whether a whole series can be retrieved at once.
    """

    answers_below: float = float("inf")
    answers_lists: bool = True
    sends_series: bool = True
    learned: float = field(default_factory=time.monotonic)
    sop_classes: OrderedDict[str, str] = field(default_factory=OrderedDict)

    def answers_whole_studies(self, instances: int) -> bool:
        return instances < self.answers_below

    def remember_limit(self, instances: int) -> None:
        """An answer with as many instances as this was not complete."""
        self.answers_below = min(self.answers_below, instances)

    def remember_sop_class(self, series_instance_uid: str, sop_class_uid: str) -> None:
        self.sop_classes[series_instance_uid] = sop_class_uid
        self.sop_classes.move_to_end(series_instance_uid)
        if len(self.sop_classes) > _SERIES:
            self.sop_classes.popitem(last=False)


_known: OrderedDict[DimseEndpoint, Knowledge] = OrderedDict()


def knowledge_of(endpoint: DimseEndpoint) -> Knowledge:
    knowledge = _known.get(endpoint)
    if knowledge is None or time.monotonic() - knowledge.learned > _FORGET_SECONDS:
        knowledge = _known[endpoint] = Knowledge()
    _known.move_to_end(endpoint)
    if len(_known) > _ENDPOINTS:
        _known.popitem(last=False)
    return knowledge
