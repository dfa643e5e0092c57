"""What one price step does to one trade (API notes, 6.6, 6.10)."""

from collections.abc import Iterator
from dataclasses import replace
from fractions import Fraction

from exchange import formulas
from exchange.money import UsdPerBtc, tick_below
from exchange.simulator.engine.trade import Exit, Trade


def fills(trade: Trade, before: UsdPerBtc, now: UsdPerBtc) -> bool:
    """Whether the step touches the limit of an open trade, from whichever side (3.6.1)."""
    return min(before, now) <= trade.price <= max(before, now)


def exit_in(trade: Trade, before: UsdPerBtc, now: UsdPerBtc) -> tuple[Exit, UsdPerBtc] | None:
    """Return why and at which price the step ends a running trade, None where it goes on.

    Liquidation where the step begins beyond it, else the level nearest to its beginning.
    """
    sign = trade.side.sign
    if sign * before <= sign * trade.liquidation:
        return Exit.LIQUIDATION, trade.liquidation
    reached = [
        (kind, level)
        for kind, level in levels_of(trade)
        # A take profit lies ahead of the trade, the other two behind it.
        if (sign * now >= sign * level if kind is Exit.TAKEPROFIT else sign * now <= sign * level)
    ]
    return min(reached, key=lambda exit_: abs(exit_[1] - before)) if reached else None


def trailed(trade: Trade, price: UsdPerBtc) -> Trade:
    """Return the trade with its trailing stop drawn after `price`; a stop never loosens."""
    if trade.trailing is None:
        return trade
    level = formulas.trailing_level(trade.side, trade.trailing, price)
    if level is None or not _tighter(trade, level):
        return trade
    return replace(trade, stoploss=level)


def tightens_beyond(trade: Trade) -> UsdPerBtc | None:
    """Return a price up to which a trailing stop surely rests, None where it never moves."""
    if trade.trailing is None or trade.stoploss is None:
        return None
    best = Fraction(trade.stoploss) / (1 - trade.side.sign * Fraction(trade.trailing))
    return tick_below(best)


def _tighter(trade: Trade, level: UsdPerBtc) -> bool:
    return trade.stoploss is None or trade.side.sign * (level - trade.stoploss) > 0


def levels_of(trade: Trade) -> Iterator[tuple[Exit, UsdPerBtc]]:
    """Yield the prices that would end a running trade, and why."""
    # A stop may lie at the liquidation price; being first, it then ends the trade.
    if trade.stoploss is not None:
        yield Exit.STOPLOSS, trade.stoploss
    yield Exit.LIQUIDATION, trade.liquidation
    if trade.takeprofit is not None:
        yield Exit.TAKEPROFIT, trade.takeprofit
