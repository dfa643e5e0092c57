"""A made-up market: calm, a crash, a recovery, calm, over and over, the same for the same seed."""

import random
from collections.abc import Iterator
from decimal import Decimal
from fractions import Fraction
from itertools import pairwise
from typing import Final

from exchange.money import UsdPerBtc, nearest_tick

TICK_S: Final = 0.1
FALL_OVER_S: Final = 40
"""When the first crash is at its deepest."""
_CYCLE: Final = ((0, "1"), (20, "1"), (FALL_OVER_S, "0.94"), (100, "1"), (180, "1"))
"""Seconds into the cycle, and the price there as a share of where it began."""
_NOISE: Final = 0.0003
_PULL: Final = 0.05
"""How much of the noise each tick takes back, so that the walk does not drift away."""


def ticks(seed: int, start: UsdPerBtc) -> Iterator[tuple[float, UsdPerBtc]]:
    """Yield, without end, the seconds since the tick before and the price."""
    rng = random.Random(seed)  # noqa: S311 - a market, not a secret
    noise, second = 0.0, Fraction(0)
    while True:
        second = (second + Fraction(1, 10)) % _CYCLE[-1][0]
        noise += rng.gauss(0, _NOISE * _PULL) - noise * _PULL
        share = _share(second) * (1 + Fraction(noise))
        yield TICK_S, nearest_tick(Fraction(start) * share)


def _share(second: Fraction) -> Fraction:
    legs = pairwise(_CYCLE)
    (begin, low), (end, high) = next(leg for leg in legs if second < leg[1][0])
    first, last = Fraction(Decimal(low)), Fraction(Decimal(high))
    return first + (last - first) * (second - begin) / (end - begin)
