"""Amounts and prices as types of their own, and the grid on which prices lie."""

from decimal import Decimal
from fractions import Fraction
from math import ceil, floor
from typing import Final, NewType

Sats = NewType("Sats", int)
"""Satoshis; 100,000,000 are one bitcoin."""

Usd = NewType("Usd", int)
"""Contracts: each is one US dollar of notional."""

UsdPerBtc = NewType("UsdPerBtc", Decimal)
"""A price. The exchange's own prices are multiples of `TICK`."""

Exact = Fraction | Decimal | int
"""A plain number of any exact type. Never float: money is computed without error, then rounded once."""

SATS_PER_BTC: Final = 100_000_000
MOST_SATS: Final = Sats(21_000_000 * SATS_PER_BTC)
TICK: Final = Decimal("0.5")
MIN_PRICE: Final = UsdPerBtc(Decimal(1))
MAX_PRICE: Final = UsdPerBtc(Decimal(100_000_000))


def rounded(value: Fraction) -> int:
    """Round half up, as the exchange rounds profit and loss (API notes, 6.2)."""
    return floor(value + Fraction(1, 2))


def nearest_tick(price: Fraction) -> UsdPerBtc:
    """Round to the grid, half a tick upwards (API notes, section 0)."""
    return _on_grid(rounded(price * 2))


def tick_below(price: Fraction) -> UsdPerBtc:
    """Return the highest price of the grid that is not above `price`."""
    return _on_grid(floor(price * 2))


def tick_above(price: Fraction) -> UsdPerBtc:
    """Return the lowest price of the grid that is not below `price`."""
    return _on_grid(ceil(price * 2))


def is_on_grid(price: Decimal) -> bool:
    return price % TICK == 0


def _on_grid(half_dollars: int) -> UsdPerBtc:
    return UsdPerBtc(half_dollars * TICK)
