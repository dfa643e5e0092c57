"""What the stream hears of cross orders and positions (API notes, 5.7)."""

from exchange.money import Sats, UsdPerBtc
from exchange.simulator.engine.cross_position import CrossOrder, CrossPosition, OrderState
from exchange.simulator.engine.events import CROSS_ORDERS, CROSS_POSITION, PAIR, Event


def order_changed(account: str, event: str, order: CrossOrder) -> Event:
    """Return `new`, `limit` or `canceled`; the fields follow from the order's state."""
    fields: dict[str, object] = {
        "id": order.id,
        "side": order.side,
        "type": order.type,
        "quantity": order.quantity,
        "price": order.price,
        "clientId": order.client_id,
        "createdAt": order.created_at_ms,
    }
    if order.state is OrderState.CANCELED:
        fields["canceledAt"] = order.canceled_at_ms
    else:
        fields["tradingFee"] = order.trading_fee
    if order.state is OrderState.FILLED:
        fields["filledAt"] = order.filled_at_ms
    data = {"pair": PAIR, "event": event, "order": fields}
    return Event(topic=CROSS_ORDERS, account=account, data=data)


def position_changed(
    account: str, event: str, position: CrossPosition, *, initial: Sats, price: UsdPerBtc
) -> Event:
    """Return the position after `event`. `initial` is the margin that open orders would need."""
    fields = {**position_fields(position, initial=initial, price=price)}
    fields["updatedAt"] = position.updated_at_ms
    data = {"pair": PAIR, "event": event, "position": fields}
    return Event(topic=CROSS_POSITION, account=account, data=data)


def position_fields(position: CrossPosition, *, initial: Sats, price: UsdPerBtc) -> dict[str, object]:
    """Return what REST and stream say alike of a position; REST adds its id, both their own time."""
    return {
        "quantity": position.quantity,
        "leverage": position.leverage,
        "margin": position.margin,
        "entryPrice": position.entry,
        "liquidation": position.liquidation,
        "totalPl": position.realised,
        "fundingFees": position.funding_fees,
        "tradingFees": position.trading_fees,
        "initialMargin": initial,
        "maintenanceMargin": position.maintenance_margin,
        "runningMargin": position.running_margin,
        "deltaPl": position.profit_sats(price),
    }
