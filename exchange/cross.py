"""The cross margin regime: one position per account, netted over orders, with its own margin."""

from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from enum import StrEnum
from typing import NewType

from exchange.formulas import Side
from exchange.money import Sats, Usd, UsdPerBtc
from exchange.position import CROSS, Position, Regime
from exchange.trade import LARGEST_ORDER, check_client_id, check_price

CrossOrderId = NewType("CrossOrderId", str)


class CrossOrderType(StrEnum):
    LIMIT = "limit"
    MARKET = "market"
    LIQUIDATION = "liquidation"


class CrossOrderState(StrEnum):
    OPEN = "open"
    FILLED = "filled"
    CANCELED = "canceled"


@dataclass(frozen=True, slots=True, kw_only=True)
class NewCrossOrder:
    """One order on the cross position (API notes, 3.7).

    It knows no reduce-only: an order larger than an opposite position flips it.

    Raises:
        ValueError: it breaks a rule the exchange would refuse it for.
    """

    side: Side
    quantity: Usd
    limit: UsdPerBtc | None = None
    """None: at market."""
    client_id: str | None = None

    def __post_init__(self) -> None:
        if not 1 <= self.quantity <= LARGEST_ORDER:
            raise ValueError(f"quantity must be 1 to {LARGEST_ORDER}, was {self.quantity}")
        check_price("limit", self.limit)
        check_client_id(self.client_id)


@dataclass(frozen=True, slots=True, kw_only=True)
class CrossOrder:
    """An order as the exchange last reported it."""

    id: CrossOrderId
    type: CrossOrderType | None
    """None: a type that is new to us."""
    state: CrossOrderState
    side: Side
    quantity: Usd
    price: UsdPerBtc
    """The limit, or the price of the fill."""
    trading_fee: Sats
    created_at: datetime | None
    filled_at: datetime | None
    canceled_at: datetime | None
    client_id: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class CrossPosition:
    """The one cross position of an account; `side` is None while it is flat."""

    side: Side | None
    quantity: Usd
    """Without sign."""
    leverage: int
    margin: Sats
    """The collateral of the whole cross account."""
    entry: UsdPerBtc | None
    liquidation: UsdPerBtc | None
    running_margin: Sats
    maintenance_margin: Sats
    initial_margin: Sats
    """What the open orders hold (meaning chosen in 3.7)."""
    trading_fees: Sats
    funding_fees: Sats | None
    """Signed: positive was paid; None: not known."""
    total_profit: Sats
    delta_profit: Sats
    updated_at: datetime | None

    def running(self) -> Position | None:
        """Return it as a position to be guarded; None while it is flat."""
        if self.side is None or self.entry is None or self.liquidation is None:
            return None
        return Position(
            id=CROSS,
            regime=Regime.CROSS,
            side=self.side,
            quantity=self.quantity,
            entry=self.entry,
            # Shares of it are computed: where nothing is left of it, one sat stands for nothing.
            margin=Sats(max(1, self.margin - self.maintenance_margin)),
            maintenance_margin=self.maintenance_margin,
            liquidation=self.liquidation,
            leverage=Decimal(self.leverage),
            stoploss=None,
            takeprofit=None,
            filled_at=None,
            client_id=None,
            funding_fees=self.funding_fees,
            entry_margin=self.running_margin or None,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Transfer:
    """Sats moved between the balance and the cross margin; positive: into the margin."""

    id: str
    amount: Sats
    time: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class FundingFee:
    """One settlement's fee on one trade, or on the cross position where `trade_id` is None."""

    settlement_id: str
    trade_id: str | None
    fee: Sats
    """Signed: positive was paid."""
    time: datetime
