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


def seconds(call: Callable[[], object]) -> float:
    started_s = time.perf_counter()
    call()
    return time.perf_counter() - started_s


def each_of(call: Callable[[], object], times: int) -> list[float]:
    """Return how many seconds each call took; the first, which finds everything cold, is left out."""
    call()
    return [seconds(call) for _ in range(times)]


def spread(taken_s: Sequence[float], unit: Unit) -> dict[str, float]:
    """Return p50, p95, p99 and the longest, in that unit."""
    cuts = quantiles(taken_s, n=100, method="inclusive")
    found = {"p50": median(taken_s), "p95": cuts[94], "p99": cuts[98], "max": max(taken_s)}
    return {
        f"{name}_{unit.name.lower()}": round(value * unit.value, 4) for name, value in found.items()
    }
