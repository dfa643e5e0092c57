"""The candles of the market, minute by minute and longer (API notes, 3.4)."""

import functools
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from itertools import groupby
from typing import Final

from exchange.money import UsdPerBtc

MINUTE_MS: Final = 60_000
MOST_MINUTES: Final = 60 * 24 * 30


class Range(StrEnum):
    M1 = "1m"
    M3 = "3m"
    M5 = "5m"
    M10 = "10m"
    M15 = "15m"
    M30 = "30m"
    M45 = "45m"
    H1 = "1h"
    H2 = "2h"
    H3 = "3h"
    H4 = "4h"
    D1 = "1d"
    W1 = "1w"
    MONTH = "1month"
    QUARTER = "3months"


_MINUTES: Final = {
    Range.M1: 1,
    Range.M3: 3,
    Range.M5: 5,
    Range.M10: 10,
    Range.M15: 15,
    Range.M30: 30,
    Range.M45: 45,
    Range.H1: 60,
    Range.H2: 120,
    Range.H3: 180,
    Range.H4: 240,
    Range.D1: 1440,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Candle:
    """What happened from `time_ms` on. `volume` is in contracts."""

    time_ms: int
    open: UsdPerBtc
    high: UsdPerBtc
    low: UsdPerBtc
    close: UsdPerBtc
    volume: int


def begin_of(range_: Range, at_ms: int) -> int:
    """Return when the candle of this range that holds `at_ms` begins (UTC; weeks on Monday)."""
    if range_ in _MINUTES:
        span_ms = _MINUTES[range_] * MINUTE_MS
        return at_ms // span_ms * span_ms
    day = datetime.fromtimestamp(at_ms // 1000, tz=UTC).replace(
        hour=0, minute=0, second=0, microsecond=0
    )
    if range_ is Range.W1:
        day -= timedelta(days=day.weekday())
    elif range_ is Range.MONTH:
        day = day.replace(day=1)
    else:
        day = day.replace(day=1, month=(day.month - 1) // 3 * 3 + 1)
    return int(day.timestamp()) * 1000


class Chart:
    """Candles of one minute, the last still growing; longer ones are put together from these.

    Args:
        past: returns the minutes before this one, the oldest first; asked only when someone looks.
    """

    def __init__(self, price: UsdPerBtc, now_ms: int, past: Callable[[], Sequence[Candle]]) -> None:
        self._past = functools.cache(past)
        self._minutes = deque([_flat(begin_of(Range.M1, now_ms), price)], maxlen=MOST_MINUTES)

    def priced(self, price: UsdPerBtc, volume: int, now_ms: int) -> None:
        """Note the last price of a moment, and the contracts traded since the moment before."""
        last = self._current(now_ms)
        self._minutes[-1] = Candle(
            time_ms=last.time_ms,
            open=last.open,
            high=max(last.high, price),
            low=min(last.low, price),
            close=price,
            volume=last.volume + volume,
        )

    def candles(self, range_: Range, now_ms: int) -> Iterator[Candle]:
        """Yield the candles of a range, the newest first; the first one still grows."""
        self._current(now_ms)
        if range_ is Range.M1:
            yield from self._newest_first()
            return
        for begin_ms, minutes in groupby(
            self._newest_first(), key=lambda minute: begin_of(range_, minute.time_ms)
        ):
            yield _joined(begin_ms, list(minutes))

    def price_before(self, at_ms: int) -> UsdPerBtc | None:
        """Return the last price before a moment, None where the chart does not reach so far."""
        for minute in self._newest_first():
            if minute.time_ms < at_ms:
                return minute.close
        return None

    def _newest_first(self) -> Iterator[Candle]:
        yield from reversed(self._minutes)
        yield from reversed(self._past())

    def _current(self, now_ms: int) -> Candle:
        """Return the minute of `now_ms`, after drawing the still ones since the last."""
        while (last := self._minutes[-1]).time_ms + MINUTE_MS <= now_ms:
            self._minutes.append(_flat(last.time_ms + MINUTE_MS, last.close))
        return last


def _flat(time_ms: int, price: UsdPerBtc) -> Candle:
    return Candle(time_ms=time_ms, open=price, high=price, low=price, close=price, volume=0)


def _joined(begin_ms: int, newest_first: list[Candle]) -> Candle:
    return Candle(
        time_ms=begin_ms,
        open=newest_first[-1].open,
        high=max(minute.high for minute in newest_first),
        low=min(minute.low for minute in newest_first),
        close=newest_first[0].close,
        volume=sum(minute.volume for minute in newest_first),
    )
