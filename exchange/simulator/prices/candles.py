"""Recorded one-minute candles as a price path (columns open_time, open, high, low, close)."""

import csv
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from decimal import Decimal, InvalidOperation
from fractions import Fraction
from itertools import pairwise
from pathlib import Path
from typing import Final

from exchange.money import MAX_PRICE, MIN_PRICE, UsdPerBtc, nearest_tick
from exchange.simulator import codec

CANDLE_S: Final = 60
_COLUMNS: Final = ("open_time", "open", "high", "low", "close")


class BrokenFile(Exception):  # noqa: N818 - the file is at fault, and the message says where
    """One sentence naming the file, the line and the fault."""


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
    """Return all candles of a file; `BrokenFile` at the first thing wrong with any of them."""
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            return _candles(path, csv.reader(file))
    except OSError as error:
        raise BrokenFile(f"{path}: {error.strerror or error}") from None
    except UnicodeDecodeError:
        raise BrokenFile(f"{path}: not a text file") from None
    except csv.Error as error:
        raise BrokenFile(f"{path}: {error}") from None


def _candles(path: Path, rows: Iterable[list[str]]) -> list[Candle]:
    numbered = enumerate(rows, start=1)
    _, header = next(numbered, (1, []))
    missing = [column for column in _COLUMNS if column not in header]
    if missing:
        raise BrokenFile(f"{path}, line 1: column {missing[0]} is missing")
    candles: list[Candle] = []
    for line, row in numbered:
        if not row:
            continue
        try:
            candles.append(_candle(header, row, after=candles[-1] if candles else None))
        except ValueError as error:
            raise BrokenFile(f"{path}, line {line}: {error}") from None
    if not candles:
        raise BrokenFile(f"{path}, line 2: there is no candle")
    return candles


def _candle(header: list[str], row: list[str], *, after: Candle | None) -> Candle:
    if len(row) != len(header):
        raise ValueError(f"{len(row)} values where the header has {len(header)}")
    values = dict(zip(header, row, strict=True))
    candle = Candle(
        open_ms=_time(values["open_time"]),
        open=_price("open", values["open"]),
        high=_price("high", values["high"]),
        low=_price("low", values["low"]),
        close=_price("close", values["close"]),
    )
    if after is not None and candle.open_ms <= after.open_ms:
        raise ValueError("open_time is not later than in the line before")
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


def _time(text: str) -> int:
    if text.isascii() and text.isdigit():
        return int(text)
    try:
        return codec.milliseconds(text)
    except ValueError:
        raise ValueError(f"open_time {text!r} is neither an ISO 8601 time nor milliseconds") from None


def _price(column: str, text: str) -> Decimal:
    try:
        price = Decimal(text)
    except InvalidOperation:
        raise ValueError(f"{column} {text!r} is not a number") from None
    if not price.is_finite():
        raise ValueError(f"{column} {text!r} is not a number")
    if price <= 0:
        raise ValueError(f"{column} {text} is not above zero")
    if not MIN_PRICE <= price <= MAX_PRICE:
        raise ValueError(f"{column} {text} is not between {MIN_PRICE} and {MAX_PRICE}")
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
