"""The endpoints of cross margin (API notes, 3.7)."""

from collections.abc import Callable

from exchange.formulas import Side
from exchange.money import Sats, Usd
from exchange.simulator.engine.account import Scope
from exchange.simulator.engine.cross import NewCrossOrder
from exchange.simulator.engine.cross_position import CrossOrder
from exchange.simulator.engine.trade import MAX_LEVERAGE, MAX_QUANTITY, OrderType
from exchange.simulator.rest import payloads
from exchange.simulator.rest.answers import bad_request
from exchange.simulator.rest.endpoints import Call, Done, Read, Routes, Write
from exchange.simulator.rest.paging import page
from exchange.simulator.rest.params import MOST_SATS, Params

_BASE = "/v3/futures/cross"


def _order(call: Call) -> Done:
    order = call.account.cross.order(_new_order(call.params), call.now_ms)
    return _done(order, f"{order.state} {order.side} {order.quantity} at {order.price}")


def _new_order(params: Params) -> NewCrossOrder:
    type_ = params.choice("type", OrderType)
    if params.has("price") != (type_ is OrderType.LIMIT):
        raise bad_request("price is required for a limit order and must be absent for a market order")
    return NewCrossOrder(
        side=params.choice("side", Side),
        quantity=Usd(params.integer("quantity", least=1, most=MAX_QUANTITY)),
        price=params.number("price") if params.has("price") else None,
        client_id=params.text("clientId", least=0, most=64) if params.has("clientId") else None,
    )


def _cancel(call: Call) -> Done:
    return _done(call.account.cross.cancel(call.params.text("id"), call.now_ms), "canceled")


def _cancel_all(call: Call) -> Done:
    orders = call.account.cross.cancel_all(call.now_ms)
    answer = [payloads.cross_order(order) for order in orders]
    return Done(answer=answer, effect=f"canceled {len(orders)} orders")


def _close(call: Call) -> Done:
    order = call.account.cross.close(call.now_ms)
    return _done(order, f"closed {order.quantity} at {order.price}")


def _leverage(call: Call) -> Done:
    leverage = call.params.integer("leverage", least=1, most=MAX_LEVERAGE)
    call.account.cross.set_leverage(leverage, call.now_ms)
    return _position_done(call, f"leverage {leverage}")


def _deposit(call: Call) -> Done:
    amount = call.params.integer("amount", least=1, most=MOST_SATS)
    call.account.cross.deposit(Sats(amount), call.now_ms)
    return _position_done(call, f"margin +{amount}")


def _withdraw(call: Call) -> Done:
    amount = call.params.integer("amount", least=1, most=MOST_SATS)
    call.account.cross.withdraw(Sats(amount), call.now_ms)
    return _position_done(call, f"margin -{amount}")


def _done(order: CrossOrder, effect: str) -> Done:
    return Done(answer=payloads.cross_order(order), effect=effect, trade=order.id)


def _position_done(call: Call, effect: str) -> Done:
    return Done(answer=_position(call), effect=effect)


def _position(call: Call) -> object:
    return payloads.cross_position(call.account.cross, call.venue.market.price)


def _open_orders(call: Call) -> object:
    return [payloads.cross_order(order) for order in call.account.cross.open_orders()]


def _filled_orders(call: Call) -> object:
    orders = call.account.cross.filled_orders()
    return page(orders, call.params, time_ms=_filled_at, render=payloads.cross_order)


def _filled_at(order: CrossOrder) -> int:
    assert order.filled_at_ms is not None
    return order.filled_at_ms


def _transfers(call: Call) -> object:
    transfers = call.account.cross.transfers()
    return page(transfers, call.params, time_ms=lambda move: move.time_ms, render=payloads.transfer)


def _funding_fees(call: Call) -> object:
    fees = call.account.cross.funding_fees()
    return page(fees, call.params, time_ms=lambda fee: fee.time_ms, render=payloads.funding_fee)


def _read(run: Callable[[Call], object]) -> Read:
    return Read(scope=Scope.CROSS_READ, run=run)


def _write(run: Callable[[Call], Done]) -> Write:
    return Write(scope=Scope.CROSS_WRITE, run=run)


ROUTES: Routes = {
    ("POST", f"{_BASE}/order"): _write(_order),
    ("POST", f"{_BASE}/order/cancel"): _write(_cancel),
    ("POST", f"{_BASE}/orders/cancel-all"): _write(_cancel_all),
    ("GET", f"{_BASE}/orders/open"): _read(_open_orders),
    ("GET", f"{_BASE}/orders/filled"): _read(_filled_orders),
    ("GET", f"{_BASE}/position"): _read(_position),
    ("POST", f"{_BASE}/position/close"): _write(_close),
    ("PUT", f"{_BASE}/leverage"): _write(_leverage),
    ("POST", f"{_BASE}/deposit"): _write(_deposit),
    ("POST", f"{_BASE}/withdraw"): _write(_withdraw),
    ("GET", f"{_BASE}/transfers"): _read(_transfers),
    ("GET", f"{_BASE}/funding-fees"): _read(_funding_fees),
}
