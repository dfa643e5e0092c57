"""What the market says: prices with their age and source, candles, funding."""

from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from enum import StrEnum

from exchange.money import Usd, UsdPerBtc


class Source(StrEnum):
    """Which way a value came."""

    STREAM = "stream"
    REST = "rest"


@dataclass(frozen=True, slots=True, kw_only=True)
class Quote:
    """The last price, with what is needed to judge its age."""

    price: UsdPerBtc
    at: datetime
    """Aware; the value is at least this fresh: when a frame came, or before a request left."""
    time_ms: int
    """The exchange's own stamp."""
    source: Source


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """The offer for orders of `least` to `most` contracts; a side without a price is None."""

    least: Usd
    most: Usd
    ask: UsdPerBtc | None
    bid: UsdPerBtc | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Ticker:
    """The market at one moment. `last_price` None means unknown, never 0."""

    time: datetime
    last_price: UsdPerBtc | None
    index: UsdPerBtc | None
    funding_rate: Decimal | None
    """A share of the notional, settled at `funding_time`; positive: longs pay."""
    funding_time: datetime | None
    steps: tuple[Step, ...] = ()
