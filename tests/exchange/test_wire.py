import json
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import pytest

from exchange import wire
from exchange.errors import OperatorNeededError
from exchange.fields import Fields, parse
from exchange.formulas import Side
from exchange.money import Sats, Usd, UsdPerBtc
from exchange.position import Position, PositionId
from exchange.trade import NewTrade, OpenOrder
from tests.exchange import documents

WHERE = "GET /test"


def read_running(**changed: object) -> Position:
    return wire.one(wire.position)(_sent(documents.running_trade(**changed)), WHERE)


def _sent(document: object) -> object:
    return parse(json.dumps(document), WHERE)


def test_a_running_trade_becomes_a_position() -> None:
    assert read_running(leverage=10.25, stoploss=95000.5, takeprofit=110000) == Position(
        id=PositionId(documents.TRADE_ID),
        side=Side.BUY,
        quantity=Usd(1000),
        entry=UsdPerBtc(Decimal(100000)),
        margin=Sats(100000),
        maintenance_margin=Sats(1100),
        liquidation=UsdPerBtc(Decimal(90909)),
        leverage=Decimal("10.25"),
        stoploss=UsdPerBtc(Decimal("95000.5")),
        takeprofit=UsdPerBtc(Decimal(110000)),
        filled_at=datetime(2026, 1, 1, tzinfo=UTC),
        client_id="bot-1",
        entry_margin=Sats(100_000),
    )


def test_an_exit_of_zero_is_no_exit() -> None:
    position = read_running(stoploss=0, takeprofit=0, stoplossTrailingDistance=0)
    assert (position.stoploss, position.takeprofit, position.trailing) == (None, None, None)


def test_cash_ins_add_up() -> None:
    assert read_running(sumCashInPl=40, sumCashInMargin=2).cashed_in == 42


def test_fields_we_do_not_know_are_no_fault() -> None:
    assert read_running(newField={"a": [1]}) == read_running()


def test_an_empty_label_is_none() -> None:
    assert read_running(clientId="").client_id is None


@pytest.mark.parametrize(
    ("field", "value", "problem"),
    [
        pytest.param("margin", "100000", "is not a number but text", id="number as text"),
        pytest.param("margin", True, "is not a number but a truth value", id="true is not 1"),
        pytest.param("margin", 0, "is out of range", id="no margin: shares of it have no meaning"),
        pytest.param("margin", -5, "is out of range", id="negative margin"),
        pytest.param("margin", 10**30, "is out of range", id="more than all bitcoin"),
        pytest.param("margin", 1.5, "is not a whole number", id="part of a sat"),
        pytest.param("margin", None, "is null", id="null"),
        pytest.param("quantity", 0, "is out of range", id="no contracts"),
        pytest.param("price", 0, "is out of range", id="price 0 is never a price"),
        pytest.param("liquidation", 100_000_001, "is out of range", id="above the highest price"),
        pytest.param("leverage", 0, "is out of range", id="no leverage"),
        pytest.param("side", "b", "is none of buy, sell but 'b'", id="unknown side"),
        pytest.param("side", 5, "is not text but a number", id="side as number"),
        pytest.param("id", "", "is not 1 to 64 characters long", id="empty id"),
        pytest.param("filledAt", "yesterday", "is not an ISO 8601 time", id="no time"),
        pytest.param("filledAt", "2026-01-01T00:00:00", "is a time without its zone", id="no zone"),
        pytest.param("running", 1, "is not true or false but a number", id="flag as number"),
        pytest.param("closed", True, "does not hold: the trade says", id="two states at once"),
        pytest.param("running", False, "does not hold: the trade says nothing", id="no state"),
    ],
)
def test_a_fault_names_its_field_and_where_it_came_from(
    field: str, value: object, problem: str
) -> None:
    with pytest.raises(OperatorNeededError, match=rf"\(GET /test\): field \w+ {problem}"):
        read_running(**{field: value})


@pytest.mark.parametrize(
    "field",
    ["id", "side", "quantity", "price", "margin", "maintenanceMargin", "liquidation", "leverage",
     "running", "sumFundingFees", "sumCashInPl", "sumCashInMargin"],
)  # fmt: skip
def test_a_missing_field_is_named(field: str) -> None:
    trade = documents.running_trade()
    del trade[field]
    with pytest.raises(OperatorNeededError, match=f"field {field} is missing"):
        wire.position(Fields.of(_sent(trade), WHERE))


def test_a_fault_in_a_list_says_which_item() -> None:
    sent = _sent([documents.running_trade(), documents.running_trade(id="b", margin=None)])
    with pytest.raises(OperatorNeededError, match=r"field \[1\].margin is null"):
        wire.running_trades(sent, WHERE)


def test_the_same_trade_twice_in_the_running_list_is_a_fault() -> None:
    sent = _sent([documents.running_trade(), documents.running_trade()])
    with pytest.raises(OperatorNeededError, match="the same id stands twice"):
        wire.running_trades(sent, WHERE)


def test_an_object_where_a_list_is_due_is_not_an_empty_list() -> None:
    with pytest.raises(OperatorNeededError, match="not an array but an object"):
        wire.running_trades({}, WHERE)


def test_a_resting_trade_becomes_an_open_order() -> None:
    order = wire.living_trade(_sent(documents.open_trade()), WHERE)
    assert isinstance(order, OpenOrder)
    assert order.limit == Decimal(100000)
    assert order.margin == 10
    assert order.client_id is None


def test_a_closed_trade_tells_its_profit() -> None:
    trade = wire.closed_trade(Fields.of(_sent(documents.closed_trade(pl=-5)), WHERE))
    assert (trade.profit, trade.closing_fee) == (-5, 952)
    assert trade.exit == Decimal(105000)


def test_a_ticker_without_a_price_says_unknown_not_zero() -> None:
    assert wire.ticker(_sent(documents.ticker(lastPrice=None)), WHERE).last_price is None


def test_a_ticker_tells_the_ladder() -> None:
    first, second = wire.ticker(_sent(documents.ticker()), WHERE).steps
    assert first.most == 100000
    assert (first.ask, first.bid) == (Decimal(100001), Decimal(100000))
    assert (second.ask, second.bid) == (None, None)


def order(**changed: Any) -> NewTrade:
    fields: dict[str, Any] = {"side": Side.BUY, "leverage": Decimal(10), "quantity": Usd(1)}
    return NewTrade(**(fields | changed))


@pytest.mark.parametrize(
    ("trade", "body"),
    [
        pytest.param(
            order(client_id="bot-1"),
            '{"type":"market","side":"buy","quantity":1,"leverage":10,"clientId":"bot-1"}',
            id="the vector R4 of the API notes",
        ),
        pytest.param(
            order(quantity=None, margin=Sats(5), leverage=Decimal("2.50")),
            '{"type":"market","side":"buy","margin":5,"leverage":2.5}',
            id="by margin; no trailing zero",
        ),
        pytest.param(
            order(limit=UsdPerBtc(Decimal("1E+5")), takeprofit=UsdPerBtc(Decimal("100000.50"))),
            '{"type":"limit","side":"buy","quantity":1,"leverage":10,"price":100000,'
            '"takeprofit":100000.5}',
            id="no exponent",
        ),
        pytest.param(
            order(trailing=Decimal("0.001")),
            '{"type":"market","side":"buy","quantity":1,"leverage":10,"stoploss":0.001,'
            '"stoplossMode":"trailing"}',
            id="a trailing stop goes as its distance",
        ),
    ],
)
def test_a_new_trade_is_written_compactly(trade: NewTrade, body: str) -> None:
    assert wire.new_trade_body(trade) == body


@pytest.mark.parametrize(
    ("changed", "problem"),
    [
        pytest.param({"quantity": None}, "exactly one of", id="no size"),
        pytest.param({"margin": Sats(5)}, "exactly one of", id="two sizes"),
        pytest.param({"quantity": Usd(0)}, "quantity must be", id="nothing"),
        pytest.param({"quantity": Usd(500_001)}, "quantity must be", id="above the order limit"),
        pytest.param({"quantity": None, "margin": Sats(0)}, "margin must be", id="no margin"),
        pytest.param({"leverage": Decimal("0.5")}, "leverage must be", id="below 1"),
        pytest.param({"leverage": Decimal("100.1")}, "leverage must be", id="above 100"),
        pytest.param({"leverage": Decimal("1.0000000000000001")}, "at most 15", id="too fine"),
        pytest.param({"limit": UsdPerBtc(Decimal("1.3"))}, "limit must be", id="off the grid"),
        pytest.param({"stoploss": UsdPerBtc(Decimal(0))}, "stoploss must be", id="stop at 0"),
        pytest.param({"trailing": Decimal("0.0001")}, "trailing distance must be", id="too near"),
        pytest.param(
            {"trailing": Decimal("0.1"), "stoploss": UsdPerBtc(Decimal(5))}, "not both", id="both"
        ),
        pytest.param({"client_id": "ä"}, "printable ASCII", id="the signature would break"),
        pytest.param({"client_id": "x" * 65}, "printable ASCII", id="label too long"),
    ],
)
def test_a_new_trade_refuses_what_the_exchange_would(changed: dict[str, object], problem: str) -> None:
    with pytest.raises(ValueError, match=problem):
        order(**changed)
