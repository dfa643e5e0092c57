"""Whether a close of ours may be what ended a position: its owner and the exchange close it, too."""

from collections.abc import Iterable
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Final

from accounts.gateway import server_clock
from automations.models import Execution
from exchange.config import Network
from exchange.cross import CrossOrder, CrossOrderType
from exchange.trade import ClosedTrade

_INEXACT: Final = timedelta(seconds=1)
"""So far our notion of the exchange's clock may be off."""


def decided_at(execution: Execution) -> datetime:
    """Return when the execution was decided, by the exchange's own clock."""
    clock = server_clock(Network(execution.account.network))
    return execution.decided_at + timedelta(milliseconds=clock.offset_ms)


def may_be_ours(trade: ClosedTrade, execution: Execution) -> bool:
    """Whether the close may have ended the trade: not where it ended before, or the exchange ended it.

    Whose hand it was that closed at the market after that moment, nothing tells.
    """
    if trade.closed_at is not None and trade.closed_at < decided_at(execution) - _INEXACT:
        return False
    before = execution.before
    stop = trade.stoploss or _level(before.get("stoploss"))
    target = trade.takeprofit or _level(before.get("takeprofit"))
    if trade.exit in {stop, target}:
        return False
    liquidation = trade.liquidation or _level(before.get("liquidation"))
    beyond = liquidation is not None and trade.side.sign * (trade.exit - liquidation) <= 0
    return not beyond and trade.profit > -trade.margin


def may_be_by(orders: Iterable[CrossOrder], execution: Execution) -> bool:
    """Whether the close may be what left the cross position flat, by the orders filled since."""
    side = execution.before.get("side")
    ending = next((order for order in orders if order.side != side), None)
    if ending is None or ending.filled_at is None:
        return True
    before = ending.filled_at < decided_at(execution) - _INEXACT
    return not before and ending.type is not CrossOrderType.LIQUIDATION


def _level(text: str | None) -> Decimal | None:
    return None if text is None else Decimal(text)
