"""The inverse BTC/USD contract in exact arithmetic: every formula of the exchange in one place.

Amounts are sats, sizes US dollars, prices US dollars per bitcoin. Inputs are exact numbers, results are
exact fractions unless the name or the docstring says where the exchange rounds. Numbers in brackets are
sections of the API notes in `docs/exchange.md`.
"""

from dataclasses import dataclass
from decimal import Decimal
from enum import StrEnum
from fractions import Fraction
from math import ceil, floor
from typing import Final

from exchange.money import (
    MAX_PRICE,
    MIN_PRICE,
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

CROSS_MAINTENANCE_RATE: Final = Decimal("0.0015")
"""Share of the notional that a cross position keeps as maintenance margin (6.12)."""


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
    over, under = price.as_integer_ratio()
    return Fraction(quantity * SATS_PER_BTC * under, over)


def profit(side: Side, quantity: Usd, entry: Exact, price: Exact) -> Fraction:
    """Return the unrounded profit in sats at `price`; a loss is negative (6.2)."""
    bought, sold = notional(quantity, entry), notional(quantity, price)
    return bought - sold if side is Side.BUY else sold - bought


def profit_sats(side: Side, quantity: Usd, entry: Exact, price: Exact) -> Sats:
    """Return the profit as the exchange books it: rounded half up (6.2)."""
    return Sats(rounded(profit(side, quantity, entry, price)))


def price_at_profit(side: Side, quantity: Usd, entry: Exact, target: Exact) -> Fraction | None:
    """Return the price at which the profit is `target` sats; None where no price gives it (6.7, 6.8).

    Solves `profit(side, quantity, entry, P) == target` for P: 1/P = 1/E - side*target/(Q*S).
    """
    entry_over, entry_under = entry.as_integer_ratio()
    target_over, target_under = target.as_integer_ratio()
    size = quantity * SATS_PER_BTC * target_under
    inverse = entry_under * size - side.sign * target_over * entry_over
    return Fraction(entry_over * size, inverse) if inverse > 0 else None


def margin_for(quantity: Usd, entry: Exact, leverage: Exact) -> Sats:
    """Return Q*S/(E*L), floored as the exchange floors it (6.3)."""
    over, under = leverage.as_integer_ratio()
    size = notional(quantity, entry)
    return Sats(size.numerator * under // (size.denominator * over))


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


def break_even(side: Side, entry: Exact, rate: Exact) -> Fraction:
    """Return the price at which the profit pays both fees, before rounding and funding (6.8)."""
    cost = side.sign * Fraction(rate)
    return Fraction(entry) * (1 + cost) / (1 - cost)


def funding_fee(side: Side, quantity: Usd, fixing: Exact, rate: Exact) -> Sats:
    """Return what a position pays at a settlement; negative is received (6.11)."""
    return Sats(side.sign * rounded(notional(quantity, fixing) * Fraction(rate)))


@dataclass(frozen=True, slots=True, kw_only=True)
class CashIn:
    """An isolated trade after sats were taken out of it, and where they came from (6.9)."""

    entry: UsdPerBtc
    margin: Sats
    from_profit: Sats
    from_margin: Sats


def cash_in(
    side: Side, quantity: Usd, entry: UsdPerBtc, margin: Sats, *, amount: Sats, market: UsdPerBtc
) -> CashIn:
    """Return the trade after taking out `amount`: profit first, then margin (6.9).

    The answer may be impossible: leverage above its limit, liquidation beyond the market.
    """
    gain = profit(side, quantity, entry, market)
    from_profit = min(amount, max(0, floor(gain)))
    new_entry = entry
    if gain > 0:
        part = price_at_profit(side, quantity, entry, amount) if amount < floor(gain) else None
        new_entry = market if part is None else nearest_tick(part)
    return CashIn(
        entry=new_entry,
        margin=Sats(margin - (amount - from_profit)),
        from_profit=Sats(from_profit),
        from_margin=Sats(amount - from_profit),
    )


def largest_cash_in(
    side: Side, quantity: Usd, entry: UsdPerBtc, margin: Sats, *, market: UsdPerBtc, leverage: int
) -> Sats:
    """Return the most that can be taken out before the leverage passes its limit (6.9)."""
    gain = profit(side, quantity, entry, market)
    kept = ceil(notional(quantity, market if gain > 0 else entry) / leverage)
    return Sats(max(0, floor(gain)) + margin - kept)


def margin_to_move_liquidation(
    side: Side, quantity: Usd, entry: UsdPerBtc, margin: Sats, *, market: Exact, liquidation: Exact
) -> int:
    """Return the sats to add, or to cash in where negative, that bring liquidation there (6.9)."""
    needed = ceil(abs(notional(quantity, liquidation) - notional(quantity, market)))
    return needed - margin - profit_sats(side, quantity, entry, market)


def cross_maintenance(quantity: Usd, entry: Exact) -> Sats:
    """Return the maintenance margin of a cross position (6.12)."""
    return fee(quantity, entry, CROSS_MAINTENANCE_RATE)


def cross_liquidation(side: Side, quantity: Usd, entry: Exact, margin: Sats) -> UsdPerBtc:
    """Return the price at which only the maintenance margin of a cross position is left (6.12)."""
    room = Sats(margin - cross_maintenance(quantity, entry))
    return liquidation_price(side, quantity, entry, room)


def average_entry(first: Usd, first_entry: Exact, second: Usd, second_entry: Exact) -> UsdPerBtc:
    """Return the entry price after two sizes of one side became one, on the grid (6.12)."""
    parts = Fraction(first) / Fraction(first_entry) + Fraction(second) / Fraction(second_entry)
    return nearest_tick((first + second) / parts)


def entry_after_losing_part(quantity: Usd, entry: Exact, closed: Usd, price: Exact) -> UsdPerBtc | None:
    """Return the entry of the rest after a part was closed at a loss: the rest carries it (6.12).

    None where no price of the exchange carries it, for the whole loss of a long is at least the size of
    its rest, or the rest of a short would have its entry below the lowest price. Then the loss of the
    part is realised: it leaves the margin, and the rest keeps its entry. Margin and profit together are
    the same either way. `closed` must be less than `quantity`.
    """
    rest = Fraction(quantity) / Fraction(entry) - Fraction(closed) / Fraction(price)
    if rest <= 0:
        return None
    carried = nearest_tick((quantity - closed) / rest)
    return carried if MIN_PRICE <= carried <= MAX_PRICE else None


def largest_cross_position(leverage: int) -> Usd:
    """Return the largest cross position, a multiple of 5 that falls with the leverage (3.7)."""
    most = 15_000_000 - Fraction(5_000_000 * (leverage - 1), 99)
    return Usd(ceil(most / 5) * 5)
