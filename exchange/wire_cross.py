"""The exchange's field names of the cross regime: JSON documents to values, orders to bodies."""

from dataclasses import dataclass
from datetime import datetime
from typing import Final

from exchange import formulas
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
from exchange.fields import Fields, Scalar, json_text, readable
from exchange.formulas import Side
from exchange.money import MIN_PRICE, Sats, Usd, UsdPerBtc
from exchange.rows import Rows, rows
from exchange.wire import client_id

_MOST_CONTRACTS: Final = 2**31 - 1
_NOTHING: Final = Sats(0)
_MOST_LEVERAGE: Final = 100


def order(fields: Fields) -> CrossOrder:
    return CrossOrder(
        id=CrossOrderId(fields.text("id", most=64)),
        type=fields.known_choice("type", CrossOrderType),
        state=_state(fields),
        side=fields.choice("side", Side),
        quantity=fields.usd("quantity"),
        price=fields.price("price"),
        trading_fee=readable(fields.sats, "tradingFee") or _NOTHING,
        created_at=readable(fields.time, "createdAt"),
        filled_at=readable(fields.time, "filledAt"),
        canceled_at=readable(fields.time, "canceledAt"),
        client_id=client_id(fields),
    )


def orders(document: object, where: str) -> Rows[CrossOrder]:
    return rows(document, order, where)


def position(fields: Fields) -> CrossPosition:
    """Return the position: what can be computed is, and what decides nothing may be missing."""
    return position_of(fields, readable(fields.time, "updatedAt"))


def position_of(fields: Fields, updated_at: datetime | None) -> CrossPosition:
    """Return the position of `fields`, whose time is written differently by REST and stream."""
    signed = fields.integer("quantity", least=-_MOST_CONTRACTS, most=_MOST_CONTRACTS)
    margin = fields.sats("margin") if signed else readable(fields.sats, "margin") or _NOTHING
    held = _held(fields, signed, margin) if signed else None
    return CrossPosition(
        side=held.side if held else None,
        quantity=Usd(abs(signed)),
        leverage=_leverage(fields, held),
        margin=margin,
        entry=held.entry if held else None,
        liquidation=held.liquidation if held else None,
        running_margin=_running_margin(fields, held),
        maintenance_margin=held.maintenance_margin if held else _NOTHING,
        initial_margin=readable(fields.sats, "initialMargin") or _NOTHING,
        trading_fees=readable(fields.signed_sats, "tradingFees") or _NOTHING,
        funding_fees=readable(fields.signed_sats, "fundingFees"),
        total_profit=readable(fields.signed_sats, "totalPl") or _NOTHING,
        delta_profit=readable(fields.signed_sats, "deltaPl") or _NOTHING,
        updated_at=updated_at,
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class _Held:
    """What is told of a position that is not flat."""

    side: Side
    quantity: Usd
    entry: UsdPerBtc
    maintenance_margin: Sats
    liquidation: UsdPerBtc


def _held(fields: Fields, signed: int, margin: Sats) -> _Held:
    side, quantity = Side.BUY if signed > 0 else Side.SELL, Usd(abs(signed))
    entry = fields.price("entryPrice")  # nothing tells it: one that runs must say where it began
    maintenance = readable(fields.sats, "maintenanceMargin")
    computed = formulas.cross_liquidation(side, quantity, entry, margin)
    return _Held(
        side=side,
        quantity=quantity,
        entry=entry,
        maintenance_margin=(
            formulas.cross_maintenance(quantity, entry) if maintenance is None else maintenance
        ),
        liquidation=readable(fields.price, "liquidation") or max(MIN_PRICE, computed),
    )


def _leverage(fields: Fields, held: _Held | None) -> int:
    """Return what the exchange shows, else what size and running margin make of it, at least 1."""
    shown = readable(lambda name: fields.integer(name, least=1, most=_MOST_LEVERAGE), "leverage")
    if shown is not None:
        return shown
    used = readable(fields.sats, "runningMargin")
    if held is None or not used:
        return 1
    of_margin = round(formulas.leverage_of(held.quantity, held.entry, used))
    return min(max(1, of_margin), _MOST_LEVERAGE)


def _running_margin(fields: Fields, held: _Held | None) -> Sats:
    """Return what the exchange shows, else what size and leverage ask for (6.12)."""
    shown = readable(fields.sats, "runningMargin")
    if shown is not None or held is None:
        return shown or _NOTHING
    return formulas.margin_for(held.quantity, held.entry, _leverage(fields, held))


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
