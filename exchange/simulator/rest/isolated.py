"""The endpoints of isolated trades (API notes, 3.6)."""

from collections.abc import Callable
from decimal import Decimal
from enum import StrEnum

from exchange.formulas import Side
from exchange.money import Sats, Usd
from exchange.simulator.engine.account import Scope
from exchange.simulator.engine.opening import NewTrade
from exchange.simulator.engine.trade import MAX_QUANTITY, OrderType, State, Trade
from exchange.simulator.rest import payloads
from exchange.simulator.rest.answers import bad_request
from exchange.simulator.rest.endpoints import Call, Done, Read, Routes, Write
from exchange.simulator.rest.paging import page
from exchange.simulator.rest.params import MOST_SATS, Params

_BASE = "/v3/futures/isolated"


class StopMode(StrEnum):
    FIXED = "fixed"
    TRAILING = "trailing"


def _create(call: Call) -> Done:
    trade = call.account.isolated.create(_new_trade(call.params), call.now_ms)
    return _done(call, trade, f"{trade.state} {trade.side} {trade.quantity} at {trade.price}")


def _new_trade(params: Params) -> NewTrade:
    if params.has("quantity") == params.has("margin"):
        raise bad_request("Exactly one of quantity and margin is needed")
    type_ = params.choice("type", OrderType)
    if params.has("price") != (type_ is OrderType.LIMIT):
        raise bad_request("price is required for a limit order and must be absent for a market order")
    return NewTrade(
        type=type_,
        side=params.choice("side", Side),
        leverage=params.number("leverage"),
        quantity=_quantity(params),
        margin=Sats(_amount(params, "margin")) if params.has("margin") else None,
        price=params.number("price") if params.has("price") else None,
        stoploss=params.number("stoploss") if params.has("stoploss") else Decimal(0),
        trailing=_mode(params, "stoplossMode") is StopMode.TRAILING,
        takeprofit=params.number("takeprofit") if params.has("takeprofit") else Decimal(0),
        client_id=params.text("clientId", least=0, most=64) if params.has("clientId") else None,
    )


def _quantity(params: Params) -> Usd | None:
    if not params.has("quantity"):
        return None
    return Usd(params.integer("quantity", least=1, most=MAX_QUANTITY))


def _mode(params: Params, name: str) -> StopMode:
    return params.choice(name, StopMode) if params.has(name) else StopMode.FIXED


def _amount(params: Params, name: str) -> int:
    return params.integer(name, least=1, most=MOST_SATS)


def _close(call: Call) -> Done:
    trade = call.account.isolated.close(call.params.text("id"), call.now_ms)
    return _done(call, trade, f"closed at {trade.exit_price}")


def _cancel(call: Call) -> Done:
    return _done(call, call.account.isolated.cancel(call.params.text("id"), call.now_ms), "canceled")


def _cancel_all(call: Call) -> Done:
    trades = call.account.isolated.cancel_all(call.now_ms)
    answer = [call.shown(trade) for trade in trades]
    return Done(answer=answer, effect=f"canceled {len(trades)} trades")


def _add_margin(call: Call) -> Done:
    amount = _amount(call.params, "amount")
    trade = call.account.isolated.add_margin(call.params.text("id"), Sats(amount))
    return _done(call, trade, f"margin +{amount}")


def _cash_in(call: Call) -> Done:
    amount = _amount(call.params, "amount")
    trade = call.account.isolated.cash_in(call.params.text("id"), Sats(amount))
    return _done(call, trade, f"cash-in {amount}")


def _funding_fees(call: Call) -> object:
    fees = call.account.isolated.funding_fees()
    if call.params.has("tradeId"):
        trade_id = call.params.text("tradeId")
        fees = [fee for fee in fees if fee.trade == trade_id]
    return page(fees, call.params, time_ms=lambda fee: fee.time_ms, render=payloads.funding_fee)


def _set_stoploss(call: Call) -> Done:
    trade = call.account.isolated.set_stoploss(
        call.params.text("id"),
        call.params.number("value"),
        trailing=_mode(call.params, "mode") is StopMode.TRAILING,
    )
    return _done(call, trade, f"stoploss {trade.stoploss or 0}")


def _remove_stoploss(call: Call) -> Done:
    trade = call.account.isolated.remove_stoploss(call.params.text("id"))
    return _done(call, trade, "stoploss 0")


def _set_takeprofit(call: Call) -> Done:
    isolated = call.account.isolated
    trade = isolated.set_takeprofit(call.params.text("id"), call.params.number("value"))
    return _done(call, trade, f"takeprofit {trade.takeprofit or 0}")


def _remove_takeprofit(call: Call) -> Done:
    trade = call.account.isolated.remove_takeprofit(call.params.text("id"))
    return _done(call, trade, "takeprofit 0")


def _done(call: Call, trade: Trade, effect: str) -> Done:
    return Done(answer=call.shown(trade), effect=effect, trade=trade.id)


def _listed(state: State) -> Callable[[Call], object]:
    return lambda call: [call.shown(trade) for trade in call.account.isolated.listed(state)]


def _paged(state: State) -> Callable[[Call], object]:
    def run(call: Call) -> object:
        trades = call.account.isolated.listed(state)
        return page(trades, call.params, time_ms=_ended_at, render=call.shown)

    return run


def _ended_at(trade: Trade) -> int:
    assert trade.closed_at_ms is not None
    return trade.closed_at_ms


def _read(run: Callable[[Call], object]) -> Read:
    return Read(scope=Scope.ISOLATED_READ, run=run)


def _write(run: Callable[[Call], Done]) -> Write:
    return Write(scope=Scope.ISOLATED_WRITE, run=run)


ROUTES: Routes = {
    ("POST", f"{_BASE}/trade"): _write(_create),
    ("GET", f"{_BASE}/trades/open"): _read(_listed(State.OPEN)),
    ("GET", f"{_BASE}/trades/running"): _read(_listed(State.RUNNING)),
    ("GET", f"{_BASE}/trades/closed"): _read(_paged(State.CLOSED)),
    ("GET", f"{_BASE}/trades/canceled"): _read(_paged(State.CANCELED)),
    ("POST", f"{_BASE}/trade/close"): _write(_close),
    ("POST", f"{_BASE}/trade/cancel"): _write(_cancel),
    ("POST", f"{_BASE}/trades/cancel-all"): _write(_cancel_all),
    ("POST", f"{_BASE}/trade/add-margin"): _write(_add_margin),
    ("POST", f"{_BASE}/trade/cash-in"): _write(_cash_in),
    ("GET", f"{_BASE}/funding-fees"): _read(_funding_fees),
    ("PUT", f"{_BASE}/trade/stoploss"): _write(_set_stoploss),
    ("DELETE", f"{_BASE}/trade/stoploss"): _write(_remove_stoploss),
    ("PUT", f"{_BASE}/trade/takeprofit"): _write(_set_takeprofit),
    ("DELETE", f"{_BASE}/trade/takeprofit"): _write(_remove_takeprofit),
}
