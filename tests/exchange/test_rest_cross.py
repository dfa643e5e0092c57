import json
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import UTC, datetime
from decimal import Decimal
from fractions import Fraction
from typing import Any

import pytest

from exchange.cross import CrossOrderId, CrossOrderState, CrossOrderType, NewCrossOrder
from exchange.errors import OperatorNeededError, UnknownOutcomeError
from exchange.formulas import Side
from exchange.money import Sats, Usd, UsdPerBtc
from exchange.paging import Span
from exchange.ratelimit import Scope
from exchange.rest import RestClient
from exchange.rest_cross import CrossRest
from tests.exchange import documents
from tests.exchange.scripted import Answer, Script, scripted_exchange
from tests.exchange.test_rest import CREDENTIALS, client_of
from tests.exchange.unlimited import Unlimited

ORDER = CrossOrderId(documents.cross_order()["id"])
SELL = NewCrossOrder(side=Side.SELL, quantity=Usd(10), client_id="bot-1")
LIMIT = UsdPerBtc(Decimal("100000.5"))
SPAN = Span(since=datetime(2026, 1, 1, tzinfo=UTC), most=5)
FROM = "?from=2026-01-01T00%3A00%3A00.000Z&limit=5"


@pytest.fixture
def script() -> Iterator[Script]:
    with scripted_exchange() as script:
        yield script


@pytest.fixture
def cross(script: Script) -> CrossRest:
    return client_of(script.endpoints).cross


def answer(document: object) -> Answer:
    return Answer(content=json.dumps(document))


POSITION = documents.cross_position()
FILLED = documents.cross_order()
NO_ITEMS = documents.page()


@pytest.mark.parametrize(
    ("call", "document", "wanted"),
    [
        pytest.param(lambda c: c.position(), POSITION, "GET position", id="position"),
        pytest.param(lambda c: c.open_orders(), [], "GET orders/open", id="open orders"),
        pytest.param(
            lambda c: c.filled_orders(SPAN), NO_ITEMS, "GET orders/filled" + FROM, id="filled"
        ),
        pytest.param(
            lambda c: c.transfers(SPAN), NO_ITEMS, "GET transfers" + FROM, id="transfers"
        ),
        pytest.param(
            lambda c: c.funding_fees(SPAN), NO_ITEMS, "GET funding-fees" + FROM, id="funding"
        ),
        pytest.param(
            lambda c: c.order(SELL),
            FILLED,
            'POST order {"type":"market","side":"sell","quantity":10,"clientId":"bot-1"}',
            id="market order",
        ),
        pytest.param(
            lambda c: c.order(replace(SELL, limit=LIMIT, client_id=None)),
            FILLED,
            'POST order {"type":"limit","side":"sell","quantity":10,"price":100000.5}',
            id="limit order",
        ),
        pytest.param(
            lambda c: c.cancel(ORDER), FILLED, f'POST order/cancel {{"id":"{ORDER}"}}',
            id="cancel",
        ),
        pytest.param(lambda c: c.cancel_all(), [], "POST orders/cancel-all", id="cancel all"),
        pytest.param(
            lambda c: c.close_position(), FILLED, "POST position/close", id="close"
        ),
        pytest.param(
            lambda c: c.set_leverage(7), POSITION, 'PUT leverage {"leverage":7}', id="leverage"
        ),
        pytest.param(
            lambda c: c.deposit(Sats(5)), POSITION, 'POST deposit {"amount":5}', id="deposit"
        ),
        pytest.param(
            lambda c: c.withdraw(Sats(5)), POSITION, 'POST withdraw {"amount":5}', id="withdraw"
        ),
    ],
)  # fmt: skip
def test_each_call_goes_to_its_endpoint(
    script: Script,
    cross: CrossRest,
    call: Callable[[CrossRest], object],
    document: object,
    wanted: str,
) -> None:
    script.then(answer(document))
    call(cross)
    (sent,) = script.requests
    path = sent.target.removeprefix("/v3/futures/cross/")
    assert f"{sent.method} {path} {sent.body}".strip() == wanted


def test_a_negative_quantity_is_a_short(script: Script, cross: CrossRest) -> None:
    script.then(answer(POSITION))
    position = cross.position()
    assert (position.side, position.quantity, position.margin) == (Side.SELL, 1000, 500000)
    assert position.liquidation == Decimal(199402)
    assert (position.funding_fees, position.total_profit) == (-5, -7)


def test_a_flat_position_has_no_side_and_no_price(script: Script, cross: CrossRest) -> None:
    script.then(answer(POSITION | {"quantity": 0, "entryPrice": None, "liquidation": None}))
    position = cross.position()
    assert (position.side, position.entry, position.liquidation) == (None, None, None)


@pytest.mark.parametrize(
    ("changed", "field"),
    [
        pytest.param({"entryPrice": None}, "entryPrice", id="a running one must say its beginning"),
        pytest.param({"quantity": 0.5}, "quantity", id="part of a contract"),
        pytest.param({"margin": "5"}, "margin", id="text"),
    ],
)
def test_a_fault_in_a_position_names_its_field(
    script: Script, cross: CrossRest, changed: dict[str, Any], field: str
) -> None:
    script.then(answer(POSITION | changed))
    with pytest.raises(OperatorNeededError, match=f"field {field} "):
        cross.position()


@pytest.mark.parametrize(
    "changed",
    [
        pytest.param({"liquidation": None}, id="no liquidation"),
        pytest.param({"liquidation": 0}, id="liquidation at 0"),
        pytest.param({"liquidation": 1e9}, id="liquidation beyond all prices"),
        pytest.param({"maintenanceMargin": -1}, id="a reserve below 0"),
        pytest.param({"runningMargin": "100000"}, id="a margin as text"),
        pytest.param({"leverage": 101}, id="leverage out of range"),
        pytest.param({"leverage": None, "liquidation": {}}, id="several"),
    ],
)
def test_what_can_be_computed_of_a_position_is(
    script: Script, cross: CrossRest, changed: dict[str, Any]
) -> None:
    script.then(answer(POSITION | changed), answer(POSITION))
    assert cross.position() == cross.position()


@pytest.mark.parametrize(
    "name", ["initialMargin", "tradingFees", "fundingFees", "totalPl", "deltaPl", "updatedAt"]
)
@pytest.mark.parametrize("value", [None, "text", {}, 1e30])
def test_what_decides_nothing_about_a_position_may_be_anything(
    script: Script, cross: CrossRest, name: str, value: object
) -> None:
    script.then(answer(POSITION | {name: value}))
    assert cross.position().liquidation == Decimal(199402)


def test_an_order_of_a_type_that_is_new_to_us_is_read(script: Script, cross: CrossRest) -> None:
    script.then(answer([documents.cross_order(type="iceberg")]))
    (order,) = cross.open_orders()
    assert (order.type, order.quantity) == (None, 10)


def test_an_order_tells_its_state(script: Script, cross: CrossRest) -> None:
    script.then(answer([documents.cross_order(open=True, filled=False, type="limit")]))
    (order,) = cross.open_orders()
    assert (order.state, order.type) == (CrossOrderState.OPEN, CrossOrderType.LIMIT)


@pytest.mark.parametrize("open_too", [True, False])
def test_an_order_in_two_states_or_none_is_a_fault(
    script: Script, cross: CrossRest, *, open_too: bool
) -> None:
    script.then(answer(documents.cross_order(open=open_too, filled=open_too)))
    with pytest.raises(UnknownOutcomeError, match="does not settle the state"):
        cross.order(SELL)


@pytest.mark.parametrize(("quantity", "limit"), [(0, None), (500_001, None), (1, Decimal("0.3"))])
def test_an_order_the_exchange_would_refuse_is_not_made(quantity: int, limit: Decimal | None) -> None:
    with pytest.raises(ValueError, match="must be"):
        NewCrossOrder(
            side=Side.BUY, quantity=Usd(quantity), limit=None if limit is None else UsdPerBtc(limit)
        )


@pytest.mark.parametrize(
    "call",
    [
        pytest.param(lambda cross: cross.deposit(Sats(0)), id="nothing"),
        pytest.param(lambda cross: cross.set_leverage(101), id="too much leverage"),
    ],
)
def test_what_is_out_of_range_is_not_sent(
    script: Script, cross: CrossRest, call: Callable[[CrossRest], object]
) -> None:
    with pytest.raises(ValueError, match="must be"):
        call(cross)
    assert script.requests == []


@pytest.mark.parametrize(
    ("call", "document"),
    [
        pytest.param(lambda c, far: c.deposit(Sats(5), urgency=far), POSITION, id="deposit"),
        pytest.param(lambda c, far: c.close_position(urgency=far), FILLED, id="close"),
        pytest.param(lambda c, far: c.order(SELL, protective=True, urgency=far), FILLED, id="reduce"),
        pytest.param(lambda c, far: c.position(urgency=far), POSITION, id="what a reduction reads"),
    ],
)
def test_what_protects_the_cross_position_is_as_urgent_as_it_is_near_to_liquidation(
    script: Script, call: Callable[[CrossRest, Fraction], object], document: object
) -> None:
    limiter = Unlimited()
    script.then(answer(document))
    rest = RestClient(script.endpoints, CREDENTIALS, limiter=limiter)
    rest.measure_clock()
    limiter.asked.clear()
    call(rest.cross, Fraction(1, 50))
    assert limiter.asked == [(Scope.PRIVATE, 0.02)]
