"""The exchange's field names of the cross regime: JSON documents to values, orders to bodies."""

from datetime import datetime
from typing import Final

from exchange.cross import (
    CrossOrder,
    CrossOrderId,
    CrossOrderState,
    CrossOrderType,
    CrossPosition,
    FundingFee,
    NewCrossOrder,
    Transfer,
)
from exchange.fields import Fields, Scalar, json_text, objects
from exchange.formulas import Side
from exchange.money import Usd

_MOST_CONTRACTS: Final = 10**12
_MOST_LEVERAGE: Final = 100


def order(fields: Fields) -> CrossOrder:
    return CrossOrder(
        id=CrossOrderId(fields.text("id", most=64)),
        type=fields.choice("type", CrossOrderType),
        state=_state(fields),
        side=fields.choice("side", Side),
        quantity=fields.usd("quantity"),
        price=fields.price("price"),
        trading_fee=fields.sats("tradingFee"),
        created_at=fields.time("createdAt"),
        filled_at=fields.time_or_none("filledAt"),
        canceled_at=fields.time_or_none("canceledAt"),
        client_id=fields.text_or_none("clientId", most=1000),
    )


def orders(document: object, where: str) -> tuple[CrossOrder, ...]:
    return tuple(order(fields) for fields in objects(document, where))


def position(fields: Fields) -> CrossPosition:
    return position_of(fields, fields.time("updatedAt"))


def position_of(fields: Fields, updated_at: datetime) -> CrossPosition:
    """Return the position of `fields`, whose time is written differently by REST and stream."""
    signed = fields.integer("quantity", least=-_MOST_CONTRACTS, most=_MOST_CONTRACTS)
    flat = signed == 0
    return CrossPosition(
        side=None if flat else Side.BUY if signed > 0 else Side.SELL,
        quantity=Usd(abs(signed)),
        leverage=fields.integer("leverage", least=1, most=_MOST_LEVERAGE),
        margin=fields.sats("margin"),
        # A position that runs must say where it began and where it ends.
        entry=None if flat else fields.price("entryPrice"),
        liquidation=None if flat else fields.price("liquidation"),
        running_margin=fields.sats("runningMargin"),
        maintenance_margin=fields.sats("maintenanceMargin"),
        initial_margin=fields.sats("initialMargin"),
        trading_fees=fields.signed_sats("tradingFees"),
        funding_fees=fields.signed_sats("fundingFees"),
        total_profit=fields.signed_sats("totalPl"),
        delta_profit=fields.signed_sats("deltaPl"),
        updated_at=updated_at,
    )


def transfer(fields: Fields) -> Transfer:
    return Transfer(id=fields.text("id"), amount=fields.signed_sats("amount"), time=fields.time("time"))


def funding_fee(fields: Fields) -> FundingFee:
    return FundingFee(
        settlement_id=fields.text("settlementId"),
        trade_id=fields.text_or_none("tradeId"),
        fee=fields.signed_sats("fee"),
        time=fields.time("time"),
    )


def new_order_body(order: NewCrossOrder) -> str:
    wanted: dict[str, Scalar] = {
        "type": CrossOrderType.MARKET if order.limit is None else CrossOrderType.LIMIT,
        "side": order.side,
        "quantity": order.quantity,
        "price": order.limit,
        "clientId": order.client_id,
    }
    return json_text({name: value for name, value in wanted.items() if value is not None})


def _state(fields: Fields) -> CrossOrderState:
    """An order is in exactly one state (3.7)."""
    states = [state for state in CrossOrderState if fields.flag(state)]
    if len(states) != 1:
        said = " and ".join(states) or "nothing"
        raise fields.fault("open", f"does not settle the state: the order says {said}")
    return states[0]
