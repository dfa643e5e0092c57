"""The prices of a soak, made up by a seed or recorded; each is kept, to judge what was savable."""

import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from decimal import Decimal
from itertools import cycle
from pathlib import Path
from random import Random
from typing import Final

from exchange.simulator.prices import candles

START: Final = 100_000.0
STEP_S: Final = 0.5
_FURTHEST: Final = 0.12
_FASTEST_A_S: Final = 0.004
"""As a share: from half of the margin to liquidation takes 8 s at least, at 15x."""


def made_up(draws: Random) -> Iterator[float]:
    """Yield a price for each step, for ever: legs to somewhere within 12 % of the first price."""
    price = START
    while True:
        goal = START * (1 + draws.uniform(-_FURTHEST, _FURTHEST))
        speed = price * draws.uniform(_FASTEST_A_S / 10, _FASTEST_A_S) * STEP_S
        while abs(goal - price) > speed:
            price += speed if goal > price else -speed
            yield price + draws.gauss(0, price * 0.0002)


def recorded(file: Path) -> Iterator[float]:
    """Yield one recorded minute a second, again and again."""
    closes = [float(candle.close) for candle in candles.read(file)]
    for close in cycle(closes):
        yield from (close, close)


@dataclass(slots=True)
class History:
    """What was sent when."""

    steps: list[tuple[float, Decimal]] = field(default_factory=list)
    """Seconds of the wall clock, and the price."""

    def add(self, price: float) -> Decimal:
        on_grid = Decimal(round(price * 2)) / 2
        self.steps.append((time.time(), on_grid))
        return on_grid
