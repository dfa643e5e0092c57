"""Where a stop loss and a take profit may lie, and how a trade looks with them (API notes, 6.10)."""

from dataclasses import replace
from decimal import Decimal
from typing import Final

from exchange import formulas
from exchange.money import UsdPerBtc
from exchange.simulator.engine.market import checked_price
from exchange.simulator.engine.refused import Refused
from exchange.simulator.engine.settlement import trailed
from exchange.simulator.engine.trade import State, Trade

_TRAILING: Final = (Decimal("0.001"), Decimal(10))


def with_stoploss(trade: Trade, value: Decimal, *, market: UsdPerBtc) -> Trade:
    """Return the trade with a fixed stop at `value`, or without any stop where it is 0."""
    stop = checked_price(value) if value else None
    if trade.trailing is None and stop == trade.stoploss:
        raise Refused("Stop loss already has this value")
    reference = _reference(trade, market)
    if stop is not None and not formulas.stoploss_fits(
        trade.side, stop, liquidation=trade.liquidation, reference=reference
    ):
        raise Refused(f"Stop loss must lie between liquidation {trade.liquidation} and {reference}")
    return replace(trade, stoploss=stop, trailing=None)


def with_trailing_stop(trade: Trade, distance: Decimal, *, market: UsdPerBtc) -> Trade:
    """Return the trade with a stop that follows the price; on an open trade it begins at the fill."""
    least, most = _TRAILING
    if not least <= distance <= most:
        raise Refused(f"Trailing stop loss must be between {least} and {most}")
    if trade.trailing == distance:
        raise Refused("Stop loss already has this value")
    changed = replace(trade, stoploss=None, trailing=distance)
    return trailed(changed, market) if trade.state is State.RUNNING else changed


def without_stoploss(trade: Trade) -> Trade:
    return replace(trade, stoploss=None, trailing=None)


def with_takeprofit(trade: Trade, value: Decimal, *, market: UsdPerBtc) -> Trade:
    """Return the trade with its take profit at `value`, or without one where it is 0."""
    target = checked_price(value) if value else None
    if target == trade.takeprofit:
        raise Refused("Take profit already has this value")
    reference = _reference(trade, market)
    if target is not None and not formulas.takeprofit_fits(trade.side, target, reference=reference):
        raise Refused(f"Take profit must lie beyond {reference} on the winning side")
    return replace(trade, takeprofit=target)


def _reference(trade: Trade, market: UsdPerBtc) -> UsdPerBtc:
    return market if trade.state is State.RUNNING else trade.price
