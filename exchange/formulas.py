"""The inverse BTC/USD contract in exact arithmetic: every formula of the exchange in one place.

Amounts are sats, sizes US dollars, prices US dollars per bitcoin. Inputs are exact numbers, results are
exact fractions unless the name or the docstring says where the exchange rounds. Numbers in brackets are
sections of the API notes in `docs/exchange.md`.
"""

from decimal import Decimal
from enum import StrEnum
from fractions import Fraction
from math import floor
from typing import Final

from exchange.money import (
    MAX_PRICE,
    SATS_PER_BTC,
    Exact,
    Sats,
    Usd,
    UsdPerBtc,
    nearest_tick,
    rounded,
)

FIRST_TIER_FEE_RATE: Final = Decimal("0.001")
"""The fee rate of the first tier (6.4); reserves always use it."""


FEE_RATES: Final = (FIRST_TIER_FEE_RATE, Decimal("0.0008"), Decimal("0.0007"), Decimal("0.0006"))
"""The trading fee rates by the account's `feeTier` (6.4)."""


class Side(StrEnum):
    """The wire's words: `buy` is long, `sell` is short."""

    BUY = "buy"
    SELL = "sell"

    @property
    def sign(self) -> int:
        """+1 for a long, -1 for a short."""
        return 1 if self is Side.BUY else -1

    @property
    def opposite(self) -> "Side":
        return Side.SELL if self is Side.BUY else Side.BUY


def notional(quantity: Usd, price: Exact) -> Fraction:
    """Return the size in sats at a price: Q*S/P."""
    return Fraction(quantity * SATS_PER_BTC) / Fraction(price)


def profit(side: Side, quantity: Usd, entry: Exact, price: Exact) -> Fraction:
    """Return the unrounded profit in sats at `price`; a loss is negative (6.2)."""
    return side.sign * (notional(quantity, entry) - notional(quantity, price))


def profit_sats(side: Side, quantity: Usd, entry: Exact, price: Exact) -> Sats:
    """Return the profit as the exchange books it: rounded half up (6.2)."""
    return Sats(rounded(profit(side, quantity, entry, price)))


def price_at_profit(side: Side, quantity: Usd, entry: Exact, target: Exact) -> Fraction | None:
    """Return the price at which the profit is `target` sats; None where no price gives it (6.7, 6.8).

    Solves `profit(side, quantity, entry, P) == target` for P: 1/P = 1/E - side*target/(Q*S).
    """
    inverse = 1 / Fraction(entry) - side.sign * Fraction(target) / (quantity * SATS_PER_BTC)
    return 1 / inverse if inverse > 0 else None


def margin_for(quantity: Usd, entry: Exact, leverage: Exact) -> Sats:
    """Return Q*S/(E*L), floored as the exchange floors it (6.3)."""
    return Sats(floor(notional(quantity, entry) / Fraction(leverage)))


def quantity_for(margin: Sats, entry: Exact, leverage: Exact) -> Usd:
    """Return the contracts that `margin` buys: m*L*E/S, floored (6.3)."""
    return Usd(floor(margin * Fraction(leverage) * Fraction(entry) / SATS_PER_BTC))


def leverage_of(quantity: Usd, entry: Exact, margin: Sats) -> Fraction:
    """Return Q*S/(m*E) (6.3). `margin` must be positive."""
    return notional(quantity, entry) / margin


def fee(quantity: Usd, price: Exact, rate: Exact) -> Sats:
    """Return the trading fee in sats: Q*S/P*f, floored (6.4)."""
    return Sats(floor(notional(quantity, price) * Fraction(rate)))


def opening_reserve(quantity: Usd, entry: Exact) -> Sats:
    """Return what is set aside for the opening fee, at the first tier's rate (6.4)."""
    return fee(quantity, entry, FIRST_TIER_FEE_RATE)


def closing_reserve(quantity: Usd, liquidation: Exact) -> Sats:
    """Return what is set aside for the closing fee, at the first liquidation price (6.4)."""
    return fee(quantity, liquidation, FIRST_TIER_FEE_RATE)


def liquidation_price(side: Side, quantity: Usd, entry: Exact, margin: Sats) -> UsdPerBtc:
    """Return the price at which the loss equals the margin, on the grid (6.6).

    A short with at least its whole notional as margin has none; the exchange shows `MAX_PRICE` then.
    """
    price = price_at_profit(side, quantity, entry, -margin)
    if price is None or price > MAX_PRICE:
        return MAX_PRICE
    return nearest_tick(price)


def margin_ratio(margin: Sats, maintenance: Sats, profit: Fraction) -> Fraction:
    """Return maintenance / (margin + maintenance + profit), the exchange's margin ratio (6.7).

    It reaches 1 where the loss equals the margin; at and beyond that point the answer is 1.
    """
    if profit <= -margin:
        return Fraction(1)
    return Fraction(maintenance) / (margin + maintenance + profit)


def profit_at_margin_ratio(margin: Sats, maintenance: Sats, ratio: Exact) -> Fraction:
    """Return the profit at which the margin ratio is `ratio`: M*(1/T - 1) - m (6.7). `ratio` > 0."""
    return maintenance * (1 / Fraction(ratio) - 1) - margin


def largest_margin(quantity: Usd, entry: Exact) -> Sats:
    """Return the margin at leverage 1; `add-margin` is refused beyond it (6.9)."""
    return Sats(floor(notional(quantity, entry)))


def stoploss_fits(side: Side, stop: Exact, *, liquidation: Exact, reference: Exact) -> bool:
    """Whether a stop lies from liquidation, which is allowed, up to `reference`, which is not (6.10).

    The reference is the market for a running trade, the limit price for an open one.
    """
    return side.sign * liquidation <= side.sign * stop < side.sign * reference


def takeprofit_fits(side: Side, takeprofit: Exact, *, reference: Exact) -> bool:
    """Whether a take profit lies strictly on the winning side of `reference` (6.10)."""
    return side.sign * takeprofit > side.sign * reference


def trailing_level(side: Side, distance: Exact, reference: Exact) -> UsdPerBtc | None:
    """Return where a trailing stop lies for the best price so far, on the grid (6.10).

    `distance` is a share of the price. None where a long's stop would be at or below zero.
    """
    level = nearest_tick(Fraction(reference) * (1 - side.sign * Fraction(distance)))
    return level if level > 0 else None
