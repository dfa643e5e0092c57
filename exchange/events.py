"""What a stream session tells: each frame as one typed value."""

from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from enum import StrEnum

from exchange.formulas import Side
from exchange.money import Sats, Usd, UsdPerBtc
from exchange.position import PositionId


@dataclass(frozen=True, slots=True, kw_only=True)
class PriceTick:
    """The last price changed."""

    price: UsdPerBtc
    time_ms: int
    """The exchange's stamp."""
    received_at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class TickerUpdate:
    """The market at one moment; None is unknown, never 0."""

    last_price: UsdPerBtc | None
    index: UsdPerBtc | None
    funding_rate: Decimal | None
    funding_time_ms: int | None
    time_ms: int
    received_at: datetime


class TradeEventKind(StrEnum):
    """What happened to an isolated trade (API notes, 5.6)."""

    OPEN = "open"
    FILLED = "filled"
    CLOSED = "closed"
    STOPLOSS = "stoploss"
    TAKEPROFIT = "takeprofit"
    LIQUIDATION = "liquidation"
    CANCELED = "canceled"
    FUNDING = "funding"

    @property
    def ends_trade(self) -> bool:
        return self not in {TradeEventKind.OPEN, TradeEventKind.FILLED, TradeEventKind.FUNDING}


@dataclass(frozen=True, slots=True, kw_only=True)
class TradeEvent:
    """Something happened to an isolated trade.

    Only what this kind of event brings is set. It lacks too much to act on: read the trade by REST.
    """

    kind: TradeEventKind
    trade_id: PositionId
    client_id: str | None
    received_at: datetime
    side: Side | None = None
    quantity: Usd | None = None
    margin: Sats | None = None
    price: UsdPerBtc | None = None
    profit: Sats | None = None
    exit: UsdPerBtc | None = None
    liquidation: UsdPerBtc | None = None
    funding_fee: Sats | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Heard:
    """The exchange answered a ping: all events it sent before `asked_at` have arrived."""

    asked_at: datetime
    received_at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class BadFrame:
    """A frame we cannot read; the session goes on."""

    why: str
    received_at: datetime


StreamEvent = PriceTick | TickerUpdate | TradeEvent | Heard | BadFrame
