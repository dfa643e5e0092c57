"""The only place from which anything is written to the exchange: each action as its one request."""

from dataclasses import dataclass
from decimal import Decimal
from fractions import Fraction
from typing import assert_never

from automations.rules.actions import (
    AddMargin,
    CancelOrder,
    ClosePosition,
    Command,
    Notify,
    OpenPosition,
    PositionAction,
    ReducePosition,
    SetStopLoss,
    SetTakeProfit,
    SetTrailingStop,
)
from exchange.client import Client
from exchange.cross import CrossOrderId, CrossOrderState, NewCrossOrder
from exchange.errors import KeyRefusedError, OperatorNeededError, RejectedError, TransientError
from exchange.money import Usd
from exchange.position import CROSS, Position, PositionId, Regime
from exchange.trade import ClosedTrade, NewTrade, OpenOrder


@dataclass(frozen=True, slots=True, kw_only=True)
class Done:
    """What the exchange answered: the position as it is now, or the id of what was opened."""

    position: Position | None = None
    opened: PositionId | None = None
    quantity: Usd | None = None
    """How many contracts were opened or closed, where that was not known before."""
    rests: bool = False
    """Whether what was opened is an order that waits for its price."""
    ended: ClosedTrade | None = None
    """The isolated trade as it was closed."""


def perform(
    action: Command,
    position: Position | None,
    client: Client,
    *,
    label: str,
    urgency: Fraction | None = None,
) -> Done:
    """Send the one request of the action. `label` tells an order of ours from any other.

    `urgency` is how far the position's liquidation is, as a share of the price: where several wait for
    their turn at the exchange the nearest goes first.

    Raises:
        TransientError, RejectedError, UnknownOutcomeError, OperatorNeededError
    """
    if isinstance(action, OpenPosition):
        return _open(action.order, client)
    if isinstance(action, CancelOrder):
        return _cancel(action, client)
    assert position is not None
    if position.regime is Regime.CROSS:
        return client.changing(lambda: _on_cross(action, position, client, label, urgency), CROSS)
    return _on_isolated(action, client, urgency)


def _open(order: NewTrade | NewCrossOrder, client: Client) -> Done:
    if isinstance(order, NewCrossOrder):
        placed = client.changing(lambda: client.rest.cross.order(order), CROSS)
        return Done(opened=PositionId(placed.id), rests=placed.state is CrossOrderState.OPEN)
    opened = client.open_trade(order)
    runs = opened if isinstance(opened, Position) else None
    return Done(opened=opened.id, position=runs, quantity=opened.quantity, rests=runs is None)


def _cancel(order: CancelOrder, client: Client) -> Done:
    if order.regime is Regime.CROSS:
        client.changing(lambda: client.rest.cross.cancel(CrossOrderId(order.position_id)), CROSS)
    else:
        client.cancel(order.position_id)
    return Done()


def _on_isolated(action: PositionAction, client: Client, urgency: Fraction | None) -> Done:
    match action:
        case Notify():
            return Done()
        case AddMargin(position_id=position_id, amount=amount):
            return Done(position=client.add_margin(position_id, amount, urgency=urgency))
        case ReducePosition(position_id=position_id) | ClosePosition(position_id=position_id):
            return Done(ended=client.close(position_id, urgency=urgency))
        case SetStopLoss(position_id=position_id, price=price):
            return _still_running(client.set_stoploss(position_id, price, urgency=urgency))
        case SetTrailingStop(position_id=position_id, distance=distance):
            share = Decimal(distance.numerator) / Decimal(distance.denominator)
            return _still_running(
                client.set_stoploss(position_id, None, trailing=share, urgency=urgency)
            )
        case SetTakeProfit(position_id=position_id, price=price):
            return _still_running(client.set_takeprofit(position_id, price))
        case never:
            assert_never(never)


def _on_cross(
    action: PositionAction,
    position: Position,
    client: Client,
    label: str,
    urgency: Fraction | None,
) -> Done:
    match action:
        case Notify():
            return Done()
        case AddMargin(amount=amount):
            return Done(position=client.rest.cross.deposit(amount, urgency=urgency).running())
        case ReducePosition(quantity=quantity):
            return Done(quantity=_reduce_cross(position, quantity, client, label, urgency))
        case ClosePosition():
            client.rest.cross.close_position(urgency=urgency)
        case SetStopLoss() | SetTrailingStop() | SetTakeProfit():
            raise RejectedError("The cross position has neither stop nor take profit.")
        case never:
            assert_never(never)
    # What it is now is read afterwards: a failure of that reading is no failure of the write.
    return Done()


def _reduce_cross(
    position: Position, quantity: Usd, client: Client, label: str, urgency: Fraction | None
) -> Usd:
    """Order the other way, capped by a fresh read: a larger order would flip the position (7.1).

    Returns:
        how many contracts were closed.
    """
    fresh = _read_cross(client, urgency)
    if fresh is None or fresh.side is not position.side:
        raise RejectedError("The cross position is not what it was: it is flat or turned by now.")
    capped = Usd(min(quantity, fresh.quantity))
    order = NewCrossOrder(side=fresh.side.opposite, quantity=capped, client_id=label)
    client.rest.cross.order(order, protective=True, urgency=urgency)
    return capped


def _read_cross(client: Client, urgency: Fraction | None) -> Position | None:
    """Read the cross position right before an order.

    Raises:
        TransientError, KeyRefusedError: it cannot be read, whatever was answered, so nothing was sent.
    """
    try:
        return client.rest.cross.position(urgency=urgency).running()
    except KeyRefusedError:
        raise
    except (RejectedError, OperatorNeededError) as error:
        raise TransientError(f"Nothing was ordered: {error}") from error


def _still_running(answer: Position | OpenOrder) -> Done:
    return Done(position=answer if isinstance(answer, Position) else None)
