"""One isolated trade, from its order to its end (API notes, 3.6.2)."""

from dataclasses import dataclass
from decimal import Decimal
from enum import StrEnum
from fractions import Fraction
from typing import Final

from exchange import formulas
from exchange.formulas import Side
from exchange.money import Sats, Usd, UsdPerBtc


class OrderType(StrEnum):
    LIMIT = "limit"
    MARKET = "market"


class State(StrEnum):
    OPEN = "open"
    RUNNING = "running"
    CLOSED = "closed"
    CANCELED = "canceled"


class Exit(StrEnum):
    """Why a running trade ended: the stream's event names (5.6)."""

    BY_USER = "closed"
    STOPLOSS = "stoploss"
    TAKEPROFIT = "takeprofit"
    LIQUIDATION = "liquidation"


NO_SATS: Final = Sats(0)
MAX_LEVERAGE: Final = 100
MAX_QUANTITY: Final = 500_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Trade:
    """A value: each change makes a new one. Times are milliseconds since the epoch."""

    id: str
    type: OrderType
    side: Side
    quantity: Usd
    margin: Sats
    leverage: Fraction
    price: UsdPerBtc
    """The limit price while open, then the reference of profit and loss; a cash-in moves it."""
    liquidation: UsdPerBtc
    maintenance_margin: Sats
    """Both reserves while open; less what was paid from them afterwards (6.4)."""
    created_at_ms: int
    state: State
    client_id: str | None
    entry_price: UsdPerBtc
    entry_margin: Sats
    stoploss: UsdPerBtc | None = None
    trailing: Decimal | None = None
    """The distance of a trailing stop as a share of the price; `stoploss` is its level."""
    takeprofit: UsdPerBtc | None = None
    opening_fee: Sats = NO_SATS
    closing_fee: Sats = NO_SATS
    realised: Sats = NO_SATS
    """The profit booked at the end, 0 before."""
    exit_price: UsdPerBtc | None = None
    filled_at_ms: int | None = None
    closed_at_ms: int | None = None
    sum_funding_fees: Sats = NO_SATS
    sum_cash_in_pl: Sats = NO_SATS
    sum_cash_in_margin: Sats = NO_SATS

    @property
    def locked(self) -> Sats:
        """What left the balance for this trade and may come back."""
        return Sats(self.margin + self.maintenance_margin)

    def profit_sats(self, price: UsdPerBtc) -> Sats:
        """Return the profit as booked: unrealised at `price` while running, realised afterwards."""
        if self.state is State.RUNNING:
            return formulas.profit_sats(self.side, self.quantity, self.price, price)
        return self.realised

    def liquidation_with(self, margin: int, price: UsdPerBtc | None = None) -> UsdPerBtc:
        """Return the liquidation price this trade would have with another margin and entry."""
        entry = self.price if price is None else price
        return formulas.liquidation_price(self.side, self.quantity, entry, Sats(margin))
