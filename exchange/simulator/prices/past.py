"""A made-up week before the paper exchange opened, so that its candles and settlements have a past."""

import random
import uuid
from decimal import Decimal
from typing import Final

from exchange.money import TICK, UsdPerBtc
from exchange.simulator.engine.chart import MINUTE_MS, Candle
from exchange.simulator.engine.funding import Settlement
from exchange.simulator.engine.market import FUNDING_EVERY_MS, next_funding_ms

MINUTES: Final = 7 * 24 * 60
SETTLEMENTS: Final = 7 * 3
_STEP: Final = 8
"""The most that the price moves within a minute, in parts of ten thousand."""
_MOST_VOLUME: Final = 200_000


def candles(seed: int, end_ms: int, price: UsdPerBtc) -> list[Candle]:
    """Return one-minute candles, the oldest first, that lead to `price` at the minute `end_ms`."""
    rng = random.Random(f"past {seed}")  # noqa: S311 - a market, not a secret
    newest_first: list[Candle] = []
    close = int(price / TICK)
    for number in range(1, MINUTES + 1):
        reach = close * _STEP // 10_000
        open_ = max(2, close + rng.randint(-reach, reach))
        newest_first.append(
            Candle(
                time_ms=end_ms - number * MINUTE_MS,
                open=_price(open_),
                high=_price(max(open_, close) + rng.randint(0, reach)),
                low=_price(max(2, min(open_, close) - rng.randint(0, reach))),
                close=_price(close),
                volume=rng.randrange(_MOST_VOLUME),
            )
        )
        close = open_
    return newest_first[::-1]


def settlements(seed: int, now_ms: int, price: UsdPerBtc, rate: Decimal) -> list[Settlement]:
    """Return the settlements before now, the oldest first, at rates around `rate`."""
    rng = random.Random(f"settlements {seed}")  # noqa: S311 - a market, not a secret
    last_ms = next_funding_ms(now_ms) - FUNDING_EVERY_MS
    return [
        Settlement(
            id=str(uuid.UUID(int=rng.getrandbits(128), version=4)),
            time_ms=last_ms - number * FUNDING_EVERY_MS,
            rate=rate * rng.randrange(-5, 16) / 10,
            fixing=_price(int(price / TICK) * rng.randrange(980, 1020) // 1000),
        )
        for number in reversed(range(SETTLEMENTS))
    ]


def _price(half_dollars: int) -> UsdPerBtc:
    return UsdPerBtc(half_dollars * TICK)
