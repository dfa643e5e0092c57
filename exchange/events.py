"""What a stream session tells: each frame as one typed value."""

from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from enum import StrEnum

from exchange.cross import CrossOrderId, CrossOrderType, CrossPosition
from exchange.formulas import Side
from exchange.market import Candle, CandleRange, Step
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


@dataclass(frozen=True, slots=True, kw_only=True)
class TradeEvent:
    """Something happened to an isolated trade.

    Only what this kind of event brings is set. It lacks too much to act on: read the trade by REST.
    """

    kind: TradeEventKind | None
    """None: a kind that is new to us; likewise of the other events."""
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


@dataclass(frozen=True, slots=True, kw_only=True)
class IndexTick:
    """The index price changed."""

    index: UsdPerBtc
    time_ms: int
    received_at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class LadderUpdate:
    """The offers by order size changed."""

    steps: tuple[Step, ...]
    time_ms: int
    received_at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class FundingSettled:
    """Funding was settled at this rate; positive: longs paid."""

    rate: Decimal
    time_ms: int
    received_at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class CandleUpdate:
    """The running candle of a range; the last one of the same time wins."""

    each: CandleRange
    candle: Candle
    received_at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Announcement:
    """Word from the exchange's people. One taken back has only its id."""

    id: str
    title: str | None
    message: str | None
    link: str | None
    received_at: datetime


class CrossOrderEventKind(StrEnum):
    """What happened to a cross order (API notes, 5.7)."""

    NEW = "new"
    LIMIT = "limit"
    """A resting order was filled."""
    CANCELED = "canceled"


@dataclass(frozen=True, slots=True, kw_only=True)
class CrossOrderEvent:
    """Something happened to a cross order."""

    kind: CrossOrderEventKind | None
    order_id: CrossOrderId
    type: CrossOrderType | None
    side: Side
    quantity: Usd
    price: UsdPerBtc
    filled: bool
    client_id: str | None
    received_at: datetime


class CrossPositionEventKind(StrEnum):
    """What moved the cross position (API notes, 5.7)."""

    NEW = "new"
    LIMIT = "limit"
    CANCEL = "cancel"
    LEVERAGE = "leverage"
    DEPOSIT = "deposit"
    WITHDRAW = "withdraw"
    LIQUIDATION = "liquidation"
    FUNDING = "funding"


@dataclass(frozen=True, slots=True, kw_only=True)
class CrossPositionEvent:
    """The cross position as it is now."""

    kind: CrossPositionEventKind | None
    position: CrossPosition
    received_at: datetime


class WalletDirection(StrEnum):
    DEPOSIT = "deposit"
    WITHDRAWAL = "withdrawal"


@dataclass(frozen=True, slots=True, kw_only=True)
class WalletEvent:
    """Bitcoin came in or went out."""

    direction: WalletDirection
    id: str
    network: str
    """`lightning` or `bitcoin`."""
    amount: Sats
    balance: Sats
    """After the movement."""
    status: str
    received_at: datetime


StreamEvent = (
    PriceTick
    | TickerUpdate
    | IndexTick
    | LadderUpdate
    | FundingSettled
    | CandleUpdate
    | Announcement
    | TradeEvent
    | CrossOrderEvent
    | CrossPositionEvent
    | WalletEvent
    | Heard
    | BadFrame
)
