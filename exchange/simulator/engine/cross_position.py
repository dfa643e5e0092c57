"""The cross position of one account and what an execution makes of it (API notes, 3.7, 6.12)."""

from dataclasses import dataclass, replace
from decimal import Decimal
from enum import StrEnum
from typing import Final

from exchange import formulas
from exchange.formulas import Side
from exchange.money import Sats, Usd, UsdPerBtc

NO_SATS: Final = Sats(0)


class CrossOrderType(StrEnum):
    LIMIT = "limit"
    MARKET = "market"
    LIQUIDATION = "liquidation"


class OrderState(StrEnum):
    OPEN = "open"
    FILLED = "filled"
    CANCELED = "canceled"


@dataclass(frozen=True, slots=True, kw_only=True)
class CrossOrder:
    """Times are milliseconds since the epoch. `price` is the limit, then what it executed at."""

    id: str
    type: CrossOrderType
    side: Side
    quantity: Usd
    price: UsdPerBtc
    created_at_ms: int
    client_id: str | None
    state: OrderState = OrderState.OPEN
    trading_fee: Sats = NO_SATS
    filled_at_ms: int | None = None
    canceled_at_ms: int | None = None

    @property
    def signed(self) -> int:
        """Contracts, negative for a sell."""
        return self.side.sign * self.quantity


@dataclass(frozen=True, slots=True, kw_only=True)
class CrossPosition:
    """A value. `margin` is what was deposited and realised less withdrawals, fees and funding."""

    id: str
    updated_at_ms: int
    quantity: int = 0
    """Signed: negative is short, 0 is flat."""
    leverage: int = 10
    margin: Sats = NO_SATS
    entry: UsdPerBtc | None = None
    realised: Sats = NO_SATS
    trading_fees: Sats = NO_SATS
    funding_fees: Sats = NO_SATS

    @property
    def side(self) -> Side:
        return Side.SELL if self.quantity < 0 else Side.BUY

    @property
    def size(self) -> Usd:
        return Usd(abs(self.quantity))

    @property
    def running_margin(self) -> Sats:
        return formulas.margin_for(self.size, self.entry, self.leverage) if self.entry else NO_SATS

    @property
    def maintenance_margin(self) -> Sats:
        return formulas.cross_maintenance(self.size, self.entry) if self.entry else NO_SATS

    @property
    def liquidation(self) -> UsdPerBtc | None:
        if self.entry is None:
            return None
        return formulas.cross_liquidation(self.side, self.size, self.entry, self.margin)

    def profit_sats(self, price: UsdPerBtc) -> Sats:
        """Return the unrealised profit at a price."""
        if self.entry is None:
            return NO_SATS
        return formulas.profit_sats(self.side, self.size, self.entry, price)

    def is_liquidated_at(self, price: UsdPerBtc) -> bool:
        level = self.liquidation
        return level is not None and self.side.sign * (price - level) <= 0


def executed(
    position: CrossPosition, side: Side, quantity: Usd, price: UsdPerBtc, *, fee_rate: Decimal
) -> tuple[CrossPosition, Sats]:
    """Return the position after an execution, and the fee that it took from the margin."""
    paid = formulas.fee(quantity, price, fee_rate)
    charged = replace(
        position,
        margin=Sats(position.margin - paid),
        trading_fees=Sats(position.trading_fees + paid),
    )
    if position.entry is None or position.side is side:
        return _enlarged(charged, side, quantity, price), paid
    closed = Usd(min(quantity, position.size))
    rest = _reduced(charged, closed, price)
    if quantity > closed:
        rest = _enlarged(rest, side, Usd(quantity - closed), price)
    return rest, paid


def _enlarged(position: CrossPosition, side: Side, quantity: Usd, price: UsdPerBtc) -> CrossPosition:
    entry = price
    if position.entry is not None:
        entry = formulas.average_entry(position.size, position.entry, quantity, price)
    return replace(position, quantity=position.quantity + side.sign * quantity, entry=entry)


def _reduced(position: CrossPosition, closed: Usd, price: UsdPerBtc) -> CrossPosition:
    """Close a part: a gain goes to the margin, a loss is carried by the rest if it can be (6.12)."""
    assert position.entry is not None
    left = position.quantity - position.side.sign * closed
    gain = formulas.profit_sats(position.side, closed, position.entry, price)
    if left and gain < 0:
        entry = formulas.entry_after_losing_part(position.size, position.entry, closed, price)
        if entry is not None:
            return replace(position, quantity=left, entry=entry)
    return replace(
        position,
        quantity=left,
        entry=position.entry if left else None,
        margin=Sats(position.margin + gain),
        realised=Sats(position.realised + gain),
    )
