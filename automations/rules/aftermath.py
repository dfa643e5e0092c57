"""What an action would leave, by the exchange's own formulas. Pure; for people to look at beforehand.

Everything happens at one price: what the spread takes is not known before.
"""

from dataclasses import dataclass, replace
from decimal import Decimal
from typing import Final, assert_never

from automations.rules.actions import (
    Action,
    AddMargin,
    ClosePosition,
    Notify,
    OpenPosition,
    ReducePosition,
    SetStopLoss,
    SetTakeProfit,
    SetTrailingStop,
)
from automations.rules.reopening import gives_back, rest_of
from exchange import formulas
from exchange.cross import CrossPosition, NewCrossOrder
from exchange.formulas import Side
from exchange.money import Exact, Sats, Usd, UsdPerBtc
from exchange.position import CROSS, Position, PositionId, Regime
from exchange.trade import NewTrade

_NONE: Final = Sats(0)


@dataclass(frozen=True, slots=True, kw_only=True)
class Aftermath:
    """What is there afterwards, and what it took."""

    position: Position | None
    """None: nothing is open."""
    fees: Sats = _NONE
    """Trading fees paid."""
    profit: Sats = _NONE
    """Realised, before fees; a loss is negative."""
    balance_change: Sats = _NONE
    """What the free balance gains, or loses where negative."""
    refused: str | None = None
    """Why the exchange would refuse; the rest says then what would be without that."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Circumstances:
    """What an action meets."""

    price: UsdPerBtc
    fee_rate: Exact
    position: Position | None = None
    """What it acts on; an order on the cross position enlarges, reduces or turns it."""
    cross: CrossPosition | None = None
    """The account's cross margin, for an order there."""


def foresee(action: Action, at: Circumstances) -> Aftermath:
    """Return what the action would leave in these circumstances."""
    if isinstance(action, OpenPosition):
        return _opened(action, at)
    assert at.position is not None
    match action:
        case AddMargin(amount=amount):
            added = at.position.with_margin_added(amount)
            return Aftermath(position=added, balance_change=Sats(-amount))
        case ReducePosition():
            return _reduced(at.position, action, at)
        case ClosePosition():
            return _closed(at.position, at)
        case Notify() | SetStopLoss() | SetTakeProfit() | SetTrailingStop():
            return Aftermath(position=_with_exit(at.position, action, at.price))
        case never:
            assert_never(never)


def _with_exit(
    position: Position,
    action: Notify | SetStopLoss | SetTakeProfit | SetTrailingStop,
    price: UsdPerBtc,
) -> Position:
    match action:
        case Notify():
            return position
        case SetStopLoss(price=level):
            return replace(position, stoploss=level, trailing=None)
        case SetTakeProfit(price=level):
            return replace(position, takeprofit=level)
        case SetTrailingStop(distance=distance):
            level_now = formulas.trailing_level(position.side, distance, price)
            share = Decimal(distance.numerator) / Decimal(distance.denominator)
            return replace(position, stoploss=level_now, trailing=share)
        case never:
            assert_never(never)


def _closed(position: Position, at: Circumstances) -> Aftermath:
    """Return what closing all leaves; what the cross position gains stays in its margin (6.5, 6.12)."""
    if position.regime is Regime.CROSS:
        return _ordered_on_cross(position, position.side.opposite, position.quantity, at)
    profit = formulas.profit_sats(position.side, position.quantity, position.entry, at.price)
    fee = formulas.fee(position.quantity, at.price, at.fee_rate)
    returned = gives_back(position, at.price, at.fee_rate)
    return Aftermath(position=None, fees=fee, profit=profit, balance_change=returned)


def _reduced(position: Position, action: ReducePosition, at: Circumstances) -> Aftermath:
    """Return what reducing leaves: on an isolated trade a close, and the rest opened anew (7.1 A)."""
    if position.regime is Regime.CROSS:
        return _ordered_on_cross(position, position.side.opposite, action.quantity, at)
    closed = _closed(position, at)
    rest = _opened(
        rest_of(position, action, at.price, came_back=closed.balance_change, client_id=None), at
    )
    return replace(
        rest,
        fees=Sats(closed.fees + rest.fees),
        profit=closed.profit,
        balance_change=Sats(closed.balance_change + rest.balance_change),
    )


def _opened(action: OpenPosition, at: Circumstances) -> Aftermath:
    order = action.order
    if isinstance(order, NewTrade):
        return _opened_isolated(order, at)
    return _opened_on_cross(order, at)


def _opened_isolated(order: NewTrade, at: Circumstances) -> Aftermath:
    """Return the trade as it runs once filled; margin and both reserves leave the balance (6.5)."""
    entry = order.limit or at.price
    quantity = order.quantity or formulas.quantity_for(order.margin or _NONE, entry, order.leverage)
    margin = order.margin or formulas.margin_for(quantity, entry, order.leverage)
    if quantity < 1 or margin < 1:
        return Aftermath(position=None, refused="the margin is too small for one contract")
    liquidation = formulas.liquidation_price(order.side, quantity, entry, margin)
    fee = formulas.fee(quantity, entry, at.fee_rate)
    reserves = formulas.opening_reserve(quantity, entry)
    reserves = Sats(reserves + formulas.closing_reserve(quantity, liquidation))
    position = _running(order, entry, quantity, margin)
    position = replace(position, liquidation=liquidation, maintenance_margin=Sats(reserves - fee))
    return Aftermath(
        position=position,
        fees=fee,
        balance_change=Sats(-(margin + reserves)),
        refused=_unfit_exit(position),
    )


def _running(order: NewTrade, entry: UsdPerBtc, quantity: Usd, margin: Sats) -> Position:
    stop = order.stoploss
    if order.trailing is not None:
        stop = formulas.trailing_level(order.side, order.trailing, entry)
    return Position(
        id=PositionId(""),
        side=order.side,
        quantity=quantity,
        entry=entry,
        margin=margin,
        maintenance_margin=_NONE,
        liquidation=entry,
        leverage=order.leverage,
        stoploss=stop,
        takeprofit=order.takeprofit,
        filled_at=None,
        client_id=order.client_id,
        trailing=order.trailing,
    )


def _unfit_exit(trade: Position) -> str | None:
    """Return why the exchange would refuse a new trade for its exits (6.10)."""
    stop, profit, entry = trade.stoploss, trade.takeprofit, trade.entry
    if stop is not None and not formulas.stoploss_fits(
        trade.side, stop, liquidation=trade.liquidation, reference=entry
    ):
        return f"a stop at {stop} is not between liquidation and {entry}"
    if profit is not None and not formulas.takeprofit_fits(trade.side, profit, reference=entry):
        return f"a take profit at {profit} is not beyond {entry}"
    return None


def _opened_on_cross(order: NewCrossOrder, at: Circumstances) -> Aftermath:
    assert at.cross is not None
    filled = replace(at, price=order.limit or at.price)
    held = at.cross.running()
    after = _ordered_on_cross(held, order.side, order.quantity, filled)
    if after.position is None or (held is not None and _is_smaller(after.position, held)):
        return after
    needed = formulas.margin_for(after.position.quantity, after.position.entry, at.cross.leverage)
    if needed < after.position.margin:
        return after
    return replace(after, refused=f"the cross margin does not hold the {needed:,} sats needed")


def _is_smaller(position: Position, than: Position) -> bool:
    return position.side is than.side and position.quantity < than.quantity


@dataclass(frozen=True, slots=True, kw_only=True)
class _Net:
    """The cross position as an order leaves it, before its fee."""

    side: Side
    quantity: Usd
    entry: UsdPerBtc
    gain: Sats = _NONE
    """What the closed part moves into the margin."""


def _ordered_on_cross(held: Position | None, side: Side, quantity: Usd, at: Circumstances) -> Aftermath:
    """Return what an order leaves of the cross position: the margin pays its fee (6.12)."""
    net = _enlarged(held, side, quantity, at.price)
    if held is not None and held.side is not side:
        net = _netted(held, quantity, at.price)
    fee = formulas.fee(quantity, at.price, at.fee_rate)
    collateral = Sats(_collateral(held, at.cross) + net.gain - fee)
    position = _on_cross(net, collateral, held, at.cross) if net.quantity else None
    return Aftermath(position=position, fees=fee, profit=net.gain)


def _enlarged(held: Position | None, side: Side, quantity: Usd, price: UsdPerBtc) -> _Net:
    if held is None:
        return _Net(side=side, quantity=quantity, entry=price)
    entry = formulas.average_entry(held.quantity, held.entry, quantity, price)
    return _Net(side=side, quantity=Usd(held.quantity + quantity), entry=entry)


def _netted(held: Position, quantity: Usd, price: UsdPerBtc) -> _Net:
    """Close a part or all of it; what the order has beyond that turns the position."""
    closed, left = Usd(min(quantity, held.quantity)), Usd(held.quantity - quantity)
    gain = formulas.profit_sats(held.side, closed, held.entry, price)
    if left <= 0:
        return _Net(side=held.side.opposite, quantity=Usd(-left), entry=price, gain=gain)
    carried = None
    if gain < 0:
        carried = formulas.entry_after_losing_part(held.quantity, held.entry, closed, price)
    if carried is None:
        return _Net(side=held.side, quantity=left, entry=held.entry, gain=gain)
    return _Net(side=held.side, quantity=left, entry=carried)


def _collateral(held: Position | None, cross: CrossPosition | None) -> Sats:
    if held is not None:
        return Sats(held.margin + held.maintenance_margin)
    return cross.margin if cross is not None else _NONE


def _on_cross(
    net: _Net, collateral: Sats, held: Position | None, cross: CrossPosition | None
) -> Position:
    maintenance = formulas.cross_maintenance(net.quantity, net.entry)
    leverage = held.leverage if held else Decimal(cross.leverage if cross else 1)
    return Position(
        id=CROSS,
        regime=Regime.CROSS,
        side=net.side,
        quantity=net.quantity,
        entry=net.entry,
        margin=Sats(collateral - maintenance),
        maintenance_margin=maintenance,
        liquidation=formulas.cross_liquidation(net.side, net.quantity, net.entry, collateral),
        leverage=leverage,
        stoploss=None,
        takeprofit=None,
        filled_at=None,
        client_id=None,
    )
