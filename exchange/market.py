"""What the market says: prices with their age and source, candles, funding."""

from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from enum import StrEnum

from exchange.formulas import Side
from exchange.money import Usd, UsdPerBtc


class Source(StrEnum):
    """Which way a value came."""

    STREAM = "stream"
    REST = "rest"


@dataclass(frozen=True, slots=True, kw_only=True)
class Quote:
    """The last price and the index, with what is needed to judge the price's age."""

    price: UsdPerBtc
    at: datetime
    """Aware; the value is at least this fresh: when a frame came, or before a request left."""
    time_ms: int
    """The exchange's own stamp."""
    source: Source
    index: UsdPerBtc | None = None
    """The exchange's index as last heard, a few seconds ago at most; None: not known."""

    def worst_for(self, side: Side) -> UsdPerBtc:
        """Return the worse of price and index for a position of that side, as far as both are known.

        By which of the two the exchange liquidates has not been proven: `docs/exchange.md`.
        """
        if self.index is None:
            return self.price
        return min(self.price, self.index) if side is Side.BUY else max(self.price, self.index)


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

    time: datetime | None
    last_price: UsdPerBtc | None
    index: UsdPerBtc | None
    funding_rate: Decimal | None
    """A share of the notional, settled at `funding_time`; positive: longs pay."""
    funding_time: datetime | None
    steps: tuple[Step, ...] = ()


class CandleRange(StrEnum):
    """How long one candle lasts, in the exchange's words (API notes, 3.4)."""

    MINUTE = "1m"
    MINUTES_3 = "3m"
    MINUTES_5 = "5m"
    MINUTES_10 = "10m"
    MINUTES_15 = "15m"
    MINUTES_30 = "30m"
    MINUTES_45 = "45m"
    HOUR = "1h"
    HOURS_2 = "2h"
    HOURS_3 = "3h"
    HOURS_4 = "4h"
    DAY = "1d"
    WEEK = "1w"
    MONTH = "1month"
    MONTHS_3 = "3months"


@dataclass(frozen=True, slots=True, kw_only=True)
class Candle:
    """Prices of one range; the newest ones may still change."""

    time: datetime
    """Its start."""
    open: UsdPerBtc
    high: UsdPerBtc
    low: UsdPerBtc
    close: UsdPerBtc
    volume: Decimal


@dataclass(frozen=True, slots=True, kw_only=True)
class FundingSettlement:
    """One settlement of funding: the rate applied at that price."""

    id: str
    time: datetime
    rate: Decimal
    """A share of the notional; positive: longs paid."""
    fixing_price: UsdPerBtc


@dataclass(frozen=True, slots=True, kw_only=True)
class BestPrice:
    """What synthetic dollars cost now."""

    ask: UsdPerBtc
    bid: UsdPerBtc


@dataclass(frozen=True, slots=True, kw_only=True)
class Leader:
    """One line of the leaderboard."""

    username: str
    profit: int
    direction: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Leaderboard:
    daily: tuple[Leader, ...]
    weekly: tuple[Leader, ...]
    monthly: tuple[Leader, ...]
    all_time: tuple[Leader, ...]
