"""A running position and what can be said of it at a price."""

from dataclasses import dataclass, replace
from datetime import datetime
from decimal import Decimal
from enum import StrEnum
from fractions import Fraction
from math import ceil
from typing import Final, NewType, Self

from exchange import formulas
from exchange.formulas import Side
from exchange.market import Source
from exchange.money import MOST_SATS, Exact, Sats, Usd, UsdPerBtc
from exchange.unreadable import Unreadable

PositionId = NewType("PositionId", str)

CROSS: Final = PositionId("cross")
"""The one cross position of an account; the exchange gives it an id, which its events lack (5.7)."""


class Regime(StrEnum):
    """Whose margin stands behind a position: its own, or that of the whole cross account."""

    ISOLATED = "isolated"
    CROSS = "cross"


_NONE: Final = Sats(0)


@dataclass(frozen=True, slots=True, kw_only=True)
class Position:
    """One running isolated trade, or the cross position while it is not flat.

    For the cross position `margin` is its collateral less the maintenance margin: with that in place
    of an isolated trade's margin every formula below holds for it too (6.12).
    """

    id: PositionId
    side: Side
    quantity: Usd
    entry: UsdPerBtc
    """The reference price of profit and loss (`price` on the wire); a cash-in moves it (6.9)."""
    margin: Sats
    maintenance_margin: Sats
    liquidation: UsdPerBtc
    leverage: Decimal
    stoploss: UsdPerBtc | None
    takeprofit: UsdPerBtc | None
    filled_at: datetime | None
    client_id: str | None
    trailing: Decimal | None = None
    """The distance of a trailing stop as a share of the price; None: the stop is fixed or unset."""
    funding_fees: Sats | None = _NONE
    """Signed total so far: positive was paid, out of the margin; None: not known."""
    cashed_in: Sats | None = _NONE
    """Total taken out so far, from profit and from margin; None: not known."""
    entry_margin: Sats | None = None
    """The margin at the fill (`entryMargin` on the wire, 3.6.2); None where the exchange does not say.
    Of the cross position: what its size and leverage ask for at its entry (`runningMargin`, 3.7)."""
    regime: Regime = Regime.ISOLATED

    @property
    def first_margin(self) -> Sats:
        """The margin of which budgets are shares; where the first is unknown, the present one."""
        return self.margin if self.entry_margin is None else self.entry_margin

    def profit_at(self, price: Exact) -> Fraction:
        """Return the unrounded profit in sats; a loss is negative."""
        return formulas.profit(self.side, self.quantity, self.entry, price)

    def margin_ratio_at(self, price: Exact) -> Fraction:
        """Return the exchange's margin ratio: 1 at liquidation and beyond (6.7)."""
        return formulas.margin_ratio(self.margin, self.maintenance_margin, self.profit_at(price))

    def margin_used_at(self, price: Exact) -> Fraction:
        """Return the loss as a share of the margin: 0 or less in profit, 1 at liquidation (6.8)."""
        return -self.profit_at(price) / self.margin

    def liquidation_distance_at(self, price: Exact) -> Fraction:
        """Return how far liquidation is, as a share of the price; 0 or less once it is reached."""
        room = Fraction(price) - Fraction(self.liquidation)
        return self.side.sign * room / Fraction(price)

    def price_at_margin_ratio(self, ratio: Exact) -> Fraction | None:
        """Return the price at which the margin ratio is `ratio`, 0 < ratio <= 1 (6.7)."""
        target = formulas.profit_at_margin_ratio(self.margin, self.maintenance_margin, ratio)
        return formulas.price_at_profit(self.side, self.quantity, self.entry, target)

    def price_at_margin_used(self, share: Exact) -> Fraction | None:
        """Return the price at which the loss is `share` of the margin (6.8)."""
        target = -Fraction(share) * self.margin
        return formulas.price_at_profit(self.side, self.quantity, self.entry, target)

    def price_at_liquidation_distance(self, share: Exact) -> Fraction | None:
        """Return the price from which liquidation is `share` of that price away."""
        divisor = 1 - self.side.sign * Fraction(share)
        return Fraction(self.liquidation) / divisor if divisor > 0 else None

    def margin_to_reach_ratio(self, ratio: Exact, price: Exact) -> int:
        """Return the least sats to add that bring the ratio at `price` down to `ratio` (6.7)."""
        target = formulas.profit_at_margin_ratio(self.margin, self.maintenance_margin, ratio)
        return ceil(target - self.profit_at(price))

    def margin_to_reach_used(self, share: Exact, price: Exact) -> int:
        """Return the least sats to add that make the loss at `price` `share` of the margin."""
        return ceil(-self.profit_at(price) / Fraction(share)) - self.margin

    def margin_to_reach_liquidation(self, liquidation: Exact) -> int:
        """Return the least sats to add that move the unrounded liquidation price there (6.9)."""
        return ceil(-self.profit_at(liquidation)) - self.margin

    @property
    def largest_top_up(self) -> Sats:
        """The most that can be added before the leverage falls below 1 (6.9); never negative.

        Margin on the cross position changes no leverage: no bound but the number of sats there are.
        """
        if self.regime is Regime.CROSS:
            return MOST_SATS
        most = formulas.largest_margin(self.quantity, self.entry) - self.margin
        return Sats(max(0, most))

    def with_margin_added(self, amount: Sats) -> Self:
        """Return the position as the exchange shows it after `add-margin` (6.9)."""
        margin = Sats(self.margin + amount)
        if self.regime is Regime.CROSS:
            liquidation = formulas.liquidation_price(self.side, self.quantity, self.entry, margin)
            return replace(self, margin=margin, liquidation=liquidation)
        leverage = formulas.leverage_of(self.quantity, self.entry, margin)
        return replace(
            self,
            margin=margin,
            leverage=Decimal(leverage.numerator) / Decimal(leverage.denominator),
            liquidation=formulas.liquidation_price(self.side, self.quantity, self.entry, margin),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class PositionsSnapshot:
    """All running isolated trades of one account at one moment; an empty one says there are none."""

    positions: tuple[Position, ...]
    unreadable: tuple[Unreadable, ...] = ()
    """Shown besides, and not to be read: they are not gone, and nothing is decided on them."""
    at: datetime
    """Aware; when they were read: taken before the request left."""
    source: Source
    confirmed_at: datetime | None = None
    """Until then a live stream brought no change of them. Changes without an event (API notes, 5.9)
    may have come since `at`, our own writes among them."""
    with_cross: bool = False
    """Whether the cross position was read, too: then it is flat if it is not among them."""

    def hidden(self, position_id: str) -> Unreadable | None:
        """Return the unreadable row that is this position, or may be; None: it runs, or surely not."""
        if any(each.id == position_id for each in self.positions):
            return None
        for row in self.unreadable:
            if row.id == position_id or (row.id is None and position_id != CROSS):
                return row
        return None

    def lost_since(self, before: "PositionsSnapshot") -> frozenset[PositionId]:
        """Return what ran in that reading, and by this one runs no more, or on the other side."""
        sides = {each.id: each.side for each in self.positions}
        return frozenset(
            each.id
            for each in before.positions
            if sides.get(each.id) is not each.side
            and self.hidden(each.id) is None
            and (each.id != CROSS or self.with_cross)
        )

    @property
    def is_empty(self) -> bool:
        """Whether surely nothing runs."""
        return not self.positions and not self.unreadable

    @property
    def fresh_at(self) -> datetime:
        """How fresh they are, as far as the exchange tells."""
        return self.confirmed_at or self.at
