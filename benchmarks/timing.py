"""How long calls take: each measured on its own, told by median and tail."""

import time
from collections.abc import Callable, Sequence
from enum import Enum
from statistics import median, quantiles


class Unit(Enum):
    """By what seconds are multiplied."""

    S = 1
    MS = 1_000
    US = 1_000_000


Clock = Callable[[], float]
"""Seconds from any fixed start: of the wall, or worked by this thread alone."""


def each_of(call: Callable[[], object], times: int, *, clock: Clock = time.perf_counter) -> list[float]:
    """Return how many seconds each call took; the first, which finds everything cold, is left out."""
    call()
    return [_seconds(call, clock) for _ in range(times)]


def _seconds(call: Callable[[], object], clock: Clock) -> float:
    started_s = clock()
    call()
    return clock() - started_s


def spread(taken_s: Sequence[float], unit: Unit) -> dict[str, float]:
    """Return p50, p95, p99 and the longest, in that unit."""
    cuts = quantiles(taken_s, n=100, method="inclusive")
    found = {"p50": median(taken_s), "p95": cuts[94], "p99": cuts[98], "max": max(taken_s)}
    return {
        f"{name}_{unit.name.lower()}": round(value * unit.value, 4) for name, value in found.items()
    }
