"""Medians of things measured in turn, so that a noisy machine disturbs all alike."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from statistics import median

REPEATS = 15


def medians(measures: Mapping[str, Callable[[], object]]) -> dict[str, float]:
    """Milliseconds of each, after one run of each that does not count."""
    times: dict[str, list[float]] = {name: [] for name in measures}
    for number in range(REPEATS + 1):
        for name, measure in measures.items():
            started = time.perf_counter()
            measure()
            if number:
                times[name].append((time.perf_counter() - started) * 1000)
    return {name: median(values) for name, values in times.items()}


def table(title: str, rows: list[tuple[str, ...]]) -> None:
    """Print rows of text in columns; the first row is the head."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    print(f"\n{title}")
    for row in rows:
        print(
            "  " + "  ".join(cell.rjust(w) for cell, w in zip(row, widths, strict=True))
        )
