"""A running trade with more or less margin (API notes, 6.9)."""

from dataclasses import replace

from exchange import formulas
from exchange.money import Sats, UsdPerBtc
from exchange.simulator.engine.refused import Refused
from exchange.simulator.engine.trade import MAX_LEVERAGE, Trade


def with_margin(trade: Trade, margin: Sats) -> Trade:
    """Return the trade with another margin and what follows from it; `margin` must be positive."""
    return replace(
        trade,
        margin=margin,
        leverage=formulas.leverage_of(trade.quantity, trade.price, margin),
        liquidation=trade.liquidation_with(margin),
    )


def cashed_in(trade: Trade, amount: Sats, *, market: UsdPerBtc) -> Trade:
    """Return the trade after taking sats out; `Refused` where it would not stand."""
    taken = formulas.cash_in(
        trade.side, trade.quantity, trade.price, trade.margin, amount=amount, market=market
    )
    if taken.margin < 1 or (
        formulas.leverage_of(trade.quantity, taken.entry, taken.margin) > MAX_LEVERAGE
    ):
        raise Refused(f"Leverage would rise above {MAX_LEVERAGE}")
    changed = with_margin(replace(trade, price=taken.entry), taken.margin)
    sign = trade.side.sign
    if sign * changed.liquidation >= sign * market:
        raise Refused("The trade would be liquidated")
    stop = changed.stoploss
    if stop is not None and trade.trailing is None and sign * stop < sign * changed.liquidation:
        stop = None
    return replace(
        changed,
        stoploss=stop,
        sum_cash_in_pl=Sats(trade.sum_cash_in_pl + taken.from_profit),
        sum_cash_in_margin=Sats(trade.sum_cash_in_margin + taken.from_margin),
    )
