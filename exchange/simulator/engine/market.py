"""The market of the paper exchange: its price, its index, and at what prices orders execute."""

from dataclasses import dataclass
from decimal import Decimal
from typing import Final

from exchange.formulas import Side
from exchange.money import MAX_PRICE, MIN_PRICE, Usd, UsdPerBtc, is_on_grid
from exchange.simulator.engine.funding import Settlement
from exchange.simulator.engine.refused import Refused
from exchange.simulator.engine.trade import MAX_QUANTITY

FUNDING_RATE: Final = Decimal("0.0001")
FUNDING_EVERY_MS: Final = 8 * 3_600_000
"""Settlements are at 00:00, 08:00 and 16:00 UTC (6.11)."""

_BUCKETS: Final = ((1, 5_000, 1), (5_001, 50_000, 2), (50_001, MAX_QUANTITY, 4))
"""Order sizes from, to, and how many times the smallest bucket's half spread they pay."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Bucket:
    """One rung of the ladder: what orders of `min_size` to `max_size` contracts pay (3.4)."""

    min_size: int
    max_size: int
    ask: UsdPerBtc
    bid: UsdPerBtc

    def execution(self, side: Side) -> UsdPerBtc:
        return self.ask if side is Side.BUY else self.bid


class Market:
    """The last price, and the ladder around it.

    Args:
        half_spread: dollars from the last price to the smallest bucket's ask and bid.
    """

    def __init__(self, *, price: UsdPerBtc, half_spread: Decimal) -> None:
        self.price = price
        self.half_spread = half_spread
        self.index_offset = Decimal(0)
        """Dollars by which the index lies above the last price."""
        self.funding_rate = FUNDING_RATE
        self._volume = 0
        self.settlements: list[Settlement] = []
        """Of funding, the oldest first."""

    @property
    def index(self) -> UsdPerBtc:
        return UsdPerBtc(min(MAX_PRICE, max(MIN_PRICE, self.price + self.index_offset)))

    def traded(self, quantity: Usd) -> None:
        """Count contracts that changed hands."""
        self._volume += quantity

    def take_volume(self) -> int:
        """Return the contracts that changed hands since the last call."""
        volume, self._volume = self._volume, 0
        return volume

    def ladder(self) -> list[Bucket]:
        return [
            Bucket(
                min_size=low,
                max_size=high,
                ask=min(MAX_PRICE, UsdPerBtc(self.price + self.half_spread * times)),
                bid=max(MIN_PRICE, UsdPerBtc(self.price - self.half_spread * times)),
            )
            for low, high, times in _BUCKETS
        ]

    def execution_price(self, side: Side, quantity: Usd) -> UsdPerBtc:
        """Return what a market order of this size executes at: the ask or the bid (6.2)."""
        for bucket in self.ladder():
            if quantity <= bucket.max_size:
                return bucket.execution(side)
        # Only the close of a whole cross position is larger than any order may be.
        return self.ladder()[-1].execution(side)


def next_funding_ms(now_ms: int) -> int:
    """Return when the next funding is settled, in milliseconds since the epoch."""
    return (now_ms // FUNDING_EVERY_MS + 1) * FUNDING_EVERY_MS


def checked_price(price: Decimal) -> UsdPerBtc:
    """Return a price that the market can have; `Refused` off the grid or out of range (6.1)."""
    if not MIN_PRICE <= price <= MAX_PRICE:
        raise Refused(f"Price must be between {MIN_PRICE} and {MAX_PRICE}")
    if not is_on_grid(price):
        raise Refused("Price must be a multiple of 0.5")
    return UsdPerBtc(price)
