"""Recorded one-minute candles as a price path."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import timedelta
from decimal import Decimal
from fractions import Fraction
from itertools import pairwise
from pathlib import Path
from typing import Final

from exchange.money import MAX_PRICE, MIN_PRICE, UsdPerBtc, nearest_tick
from exchange.simulator import codec
from exchange.simulator.prices import exports
from exchange.simulator.prices.exports import BrokenFile

__all__ = ["CANDLE_S", "BrokenFile", "Candle", "fall_over_s", "read", "ticks"]

CANDLE_S: Final = 60
CANDLE_MS: Final = CANDLE_S * 1000


@dataclass(frozen=True, slots=True, kw_only=True)
class Candle:
    open_ms: int
    open: Decimal
    high: Decimal
    low: Decimal
    close: Decimal

    @property
    def corners(self) -> tuple[Decimal, Decimal, Decimal, Decimal]:
        """The order in which the price is said to have visited them."""
        if self.close >= self.open:
            return self.open, self.low, self.high, self.close
        return self.open, self.high, self.low, self.close


def read(path: Path) -> list[Candle]:
    """Return all candles of a file, the oldest first, whichever way round they are in the file.

    Raises:
        BrokenFile: the file cannot be read, a candle makes no sense, or two that follow each other are
            not one minute apart.
    """
    candles: list[Candle] = []
    lines: list[int] = []
    for row in exports.rows(path):
        try:
            candles.append(_candle(row))
        except ValueError as error:
            raise BrokenFile(f"{path}, line {row.line}: {error}") from None
        lines.append(row.line)
    if not candles:
        raise BrokenFile(f"{path}, line 2: there is no candle")
    _check_minutes(path, candles, lines)
    return candles if candles[0].open_ms <= candles[-1].open_ms else candles[::-1]


def _check_minutes(path: Path, candles: Sequence[Candle], lines: Sequence[int]) -> None:
    """Check that each candle is one minute after the one before it in the file, or each one before."""
    steps = [after.open_ms - before.open_ms for before, after in pairwise(candles)]
    wanted_ms = -CANDLE_MS if steps and steps[0] < 0 else CANDLE_MS
    for number, step in enumerate(steps, start=1):
        if step != wanted_ms:
            way = "before" if step < 0 else "after"
            raise BrokenFile(
                f"{path}, line {lines[number]}: open_time {codec.iso(candles[number].open_ms)} is"
                f" {timedelta(milliseconds=abs(step))} {way} line {lines[number - 1]}, where candles of"
                f" one minute are needed, in order and without a gap"
            )


def _candle(row: exports.Row) -> Candle:
    candle = Candle(
        open_ms=row.cells[exports.TIME].time_ms(),
        open=_price(row.cells["open"]),
        high=_price(row.cells["high"]),
        low=_price(row.cells["low"]),
        close=_price(row.cells["close"]),
    )
    if candle.high < candle.low:
        raise ValueError("high is below low")
    if (
        not candle.low
        <= min(candle.open, candle.close)
        <= max(candle.open, candle.close)
        <= candle.high
    ):
        raise ValueError("open and close are not between low and high")
    return candle


def _price(cell: exports.Cell) -> Decimal:
    price = cell.number()
    if price <= 0:
        raise ValueError(f"{cell.name} {cell.text[:60]} is not above zero")
    if not MIN_PRICE <= price <= MAX_PRICE:
        raise ValueError(f"{cell.name} {cell.text[:60]} is not between {MIN_PRICE} and {MAX_PRICE}")
    return price


def fall_over_s(candles: Sequence[Candle]) -> float:
    """Return the seconds from the first open to the end of the deepest fall from any high before it."""
    deepest, over, high = Fraction(0), 0, candles[0].open
    for number, candle in enumerate(candles, start=1):
        for price in candle.corners:
            high = max(high, price)
            fallen = 1 - Fraction(price) / Fraction(high)
            if fallen > deepest:
                deepest, over = fallen, number
    return float(over * CANDLE_S)


def ticks(candles: Iterable[Candle], *, tick_s: float) -> Iterator[tuple[float, UsdPerBtc]]:
    """Yield the seconds since the tick before and the price, about every `tick_s` of market time.

    Every corner of every candle is a tick, however long `tick_s` is.
    """
    steps = max(1, round(CANDLE_S / 3 / tick_s))
    for candle in candles:
        # The step from one candle's close to the next one's open takes no time.
        yield 0.0, nearest_tick(Fraction(candle.open))
        for before, after in pairwise(candle.corners):
            for step in range(1, steps + 1):
                way = Fraction(after - before) * step / steps
                yield CANDLE_S / 3 / steps, nearest_tick(Fraction(before) + way)
