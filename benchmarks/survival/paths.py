"""Made-up and recorded price paths: when which price is there."""

import random
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from functools import lru_cache
from pathlib import Path
from typing import Final

from benchmarks.report import ROOT
from exchange.money import TICK, UsdPerBtc, nearest_tick
from exchange.simulator.prices import candles
from exchange.simulator.prices.candles import Candle

START: Final = 100_000
CALM_MS: Final = 5_000
"""Before anything happens: positions are opened, and guards leave what they leave at the exchange."""
AFTER_MS: Final = 30_000
"""After it: what is on its way arrives, and the sweep looks once more."""
RECORDED: Final = ROOT.parent / "shared" / "data"
_MINUTE_MS: Final = 60_000


@dataclass(frozen=True, slots=True)
class PricePath:
    """Ticks in the order of time. Prices are half dollars: whole numbers compare fast."""

    times_ms: Sequence[int]
    halves: Sequence[int]

    def price(self, tick: int) -> UsdPerBtc:
        return price_of(self.halves[tick])

    @property
    def end_ms(self) -> int:
        return self.times_ms[-1]


def price_of(halves: int) -> UsdPerBtc:
    return UsdPerBtc(halves * TICK)


def halves_of(price: UsdPerBtc) -> int:
    return int(price / TICK)


Corner = tuple[float, float]
"""Seconds since the beginning, and the price there as a share of the first."""


def drawn(corners: Iterable[Corner], tick_ms: int, *, noise: float = 0, seed: int = 0) -> PricePath:
    """Return the ticks on straight lines between the corners, after a calm and before another.

    Two corners at one moment are a jump. `noise` is the spread of each tick around the line.
    """
    rng = random.Random(seed)  # noqa: S311 - a market, not a secret
    points = [(CALM_MS + round(at_s * 1000), share) for at_s, share in corners]
    points = [(0, points[0][1]), *points, (points[-1][0] + AFTER_MS, points[-1][1])]
    times = list(range(0, points[-1][0] + 1, tick_ms))
    leg, halves = 0, []
    for at in times:
        while leg < len(points) - 2 and at >= points[leg + 1][0]:
            leg += 1
        share = _between(points[leg], points[leg + 1], at)
        share += rng.gauss(0, noise) if noise else 0
        halves.append(max(2, round(START * 2 * share)))
    return PricePath(times, halves)


def _between(first: tuple[int, float], last: tuple[int, float], at: int) -> float:
    (begun, low), (ended, high) = first, last
    return high if ended == begun else low + (high - low) * (at - begun) / (ended - begun)


@lru_cache(maxsize=8)
def steady(sign: int, percent_per_s: float, depth: float, tick_ms: int) -> PricePath:
    """Return a fall (`sign` 1) or rise (-1) by `depth`, a share, against the position."""
    return drawn([(0, 1), (depth * 100 / percent_per_s, 1 - sign * depth)], tick_ms)


def gap(sign: int, landing: float, jump: float, tick_ms: int, *, first_s: float) -> PricePath:
    """Return a single jump, and a slow fall from where it ends.

    It ends at `landing`, a share of the first price; or, with `first_s`, it begins there after so many
    seconds, in which guards have done what they do at that price.
    """
    begun = landing / (1 - sign * jump)
    corners = [(0.0, 1.0), (30.0, landing), (30 + first_s, landing)] if first_s else [(0.0, 1.0)]
    at_s = corners[-1][0] + 30
    end = landing * (1 - sign * jump) if first_s else landing
    begun = landing if first_s else begun
    corners += [(at_s, begun), (at_s, end), (at_s + 30, end * (1 - sign * 0.03))]
    return drawn(corners, tick_ms)


def v_shape(sign: int, percent_per_s: float, depth: float, tick_ms: int) -> PricePath:
    turn_s = depth * 100 / percent_per_s
    return drawn([(0, 1), (turn_s, 1 - sign * depth), (2 * turn_s, 1)], tick_ms)


def whipsaw(sign: int, percent_per_s: float, depth: float, tick_ms: int, seed: int) -> PricePath:
    """Return waves, each deeper than the one before, with noise on each tick."""
    corners, at_s, level = [(0.0, 1.0)], 0.0, 0.0
    for wave in range(1, 7):
        for to in (depth * wave / 6, depth * wave / 6 * 0.4):
            at_s += abs(to - level) * 100 / percent_per_s
            level = to
            corners.append((at_s, 1 - sign * level))
    return drawn(corners, tick_ms, noise=0.0004, seed=seed)


@dataclass(frozen=True, slots=True, kw_only=True)
class Window:
    """A part of a day: from which minute on the worst hour is, and which way it went."""

    sign: int
    """1: against longs; -1: against shorts."""
    first: int
    last: int
    """Numbers of candles, both included."""


HOUR: Final = 60


def worst(rows: Sequence[Candle], sign: int, *, count: int) -> list[Window]:
    """Return the hours in which the price went furthest against the side, without overlap."""
    found: list[tuple[Fraction, int]] = []
    for first in range(0, max(1, len(rows) - HOUR), 5):
        hour = rows[first : first + HOUR]
        begun = hour[0].open
        end = min(row.low for row in hour) if sign > 0 else max(row.high for row in hour)
        found.append((sign * (1 - Fraction(end) / Fraction(begun)), first))
    kept: list[int] = []
    for _, first in sorted(found, reverse=True):
        if len(kept) < count and all(abs(first - other) >= HOUR for other in kept):
            kept.append(first)
    return [
        Window(sign=sign, first=first, last=min(first + HOUR + HOUR // 2, len(rows) - 1))
        for first in kept
    ]


@lru_cache(maxsize=8)
def recorded(file: Path) -> tuple[Candle, ...]:
    """Return the candles of a file; `BrokenFile` says in one sentence what is wrong with it."""
    return tuple(candles.read(file))


@lru_cache(maxsize=8)
def played(file: Path, first: int, last: int, tick_ms: int) -> PricePath:
    """Return the ticks of some candles of a file."""
    rows = recorded(file)[first : last + 1]
    at_s = 0.0
    times: list[int] = []
    halves: list[int] = []
    for after_s, price in _ticks(rows, tick_ms):
        at_s += after_s
        at_ms = round(at_s * 1000)
        if times and at_ms <= times[-1]:
            # A candle's open comes with the close before it: the jump is the next tick's.
            continue
        times.append(at_ms)
        halves.append(halves_of(price))
    return PricePath(times, halves)


def _ticks(rows: Sequence[Candle], tick_ms: int) -> Iterator[tuple[float, UsdPerBtc]]:
    yield 0.0, nearest_tick(Fraction(rows[0].open))
    yield from candles.ticks(rows, tick_s=tick_ms / 1000)
