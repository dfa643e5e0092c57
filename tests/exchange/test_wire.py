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
        pytest.param("side", "b", "is none of buy, sell but 'b'", id="unknown side"),
        pytest.param("side", 5, "is not text but a number", id="side as number"),
        pytest.param("id", "", "is not 1 to 64 characters long", id="empty id"),
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
    ["id", "side", "quantity", "price", "margin", "running"],
)
def test_a_missing_field_is_named(field: str) -> None:
    trade = documents.running_trade()
    del trade[field]
    with pytest.raises(OperatorNeededError, match=f"field {field} is missing"):
        wire.position(Fields.of(_sent(trade), WHERE))


def test_a_fault_in_a_list_says_which_item_and_spoils_no_other() -> None:
    sent = _sent([documents.running_trade(), documents.running_trade(id="b", margin=None)])
    found = wire.running_trades(sent, WHERE)
    assert list(found) == [read_running()]
    (row,) = found.unreadable
    assert (row.id, row.label) == ("b", "bot-1")
    assert "field [1].margin is null" in row.fault


@pytest.mark.parametrize(
    "row",
    [
        pytest.param({"side": "hold"}, id="no id"),
        pytest.param(documents.running_trade(id=5), id="an id that is no text"),
        pytest.param(documents.running_trade(id="x" * 65), id="an id longer than any"),
        pytest.param("t", id="no object"),
        pytest.param(None, id="null"),
    ],
)
def test_a_row_without_a_name_may_be_any(row: object) -> None:
    found = wire.running_trades(_sent([documents.running_trade(), row]), WHERE)
    assert found.shows(documents.TRADE_ID)
    assert found.find(documents.TRADE_ID) == read_running()
    with pytest.raises(OperatorNeededError, match=r"GET /test"):
        found.find("another")
    with pytest.raises(OperatorNeededError, match=r"GET /test"):
        found.shows("another")


def test_a_row_that_cannot_be_read_is_there_and_what_is_not_there_is_not() -> None:
    found = wire.running_trades(_sent([documents.running_trade(id="b", margin=None)]), WHERE)
    assert found.shows("b")
    assert not found.shows("another")
    assert found.find("another") is None
    with pytest.raises(OperatorNeededError, match="margin is null"):
        found.find("b")


def test_a_trade_that_stands_twice_is_one_and_in_two_versions_neither_is_believed() -> None:
    twice = [documents.running_trade(), documents.running_trade()]
    assert wire.running_trades(_sent(twice), WHERE) == (read_running(),)
    differing = [documents.running_trade(), documents.running_trade(margin=5)]
    found = wire.running_trades(_sent([*differing, documents.running_trade(id="b")]), WHERE)
    assert [each.id for each in found] == ["b"]
    assert [each.id for each in found.unreadable] == [documents.TRADE_ID]


@pytest.mark.parametrize("value", [None, 0, -5, 10**9, 10**30, "text", "90909", True, [], {}])
@pytest.mark.parametrize(
    ("name", "attribute"),
    [
        pytest.param("liquidation", "liquidation", id="its formula"),
        pytest.param("leverage", "leverage", id="what size and margin make of it"),
        pytest.param("filledAt", "margin", id="decides nothing"),
        pytest.param("clientId", "margin", id="what is no label is none of ours"),
        pytest.param("pl", "margin", id="changes with every tick"),
    ],
)
def test_what_can_be_computed_is_and_what_decides_nothing_is_optional(
    name: str, attribute: str, value: object
) -> None:
    shown = read_running(**{name: value})
    assert getattr(shown, attribute) == getattr(read_running(), attribute)


@pytest.mark.parametrize("value", [None, -5, 1.5, 10**30, "1100", True, [], {}])
def test_a_reserve_that_cannot_be_read_is_computed(value: object) -> None:
    """A negative one is no reserve: a ratio by it would never say that liquidation is near."""
    assert read_running(maintenanceMargin=value).maintenance_margin == 1100


@pytest.mark.parametrize("value", [None, -5, "5", True, [], {}])
@pytest.mark.parametrize("name", ["sumCashInPl", "sumCashInMargin", "sumFundingFees", "entryMargin"])
def test_totals_that_are_not_told_cost_no_position(name: str, value: object) -> None:
    assert read_running(**{name: value}).margin == 100_000


def test_a_short_at_1x_is_read_whatever_it_shows_as_its_liquidation() -> None:
    for shown in (0, None, 1e9):
        short = read_running(side="sell", margin=1_000_000, leverage=1, liquidation=shown)
        assert short.liquidation == Decimal(100_000_000)


def test_a_label_of_1001_characters_is_none_of_ours() -> None:
    assert read_running(clientId="x" * 1001).client_id is None


@pytest.mark.parametrize("level", [-50_000, 0.4, 10**9])
def test_an_exit_beyond_all_prices_is_none(level: float) -> None:
    assert read_running(stoploss=level, takeprofit=level) == read_running()


@pytest.mark.parametrize(
    "flags",
    [
        pytest.param({"open": True}, id="open besides"),
        pytest.param({"open": None, "closed": None, "canceled": None}, id="others not told"),
        pytest.param({"paused": True}, id="a state that is new to us"),
    ],
)
def test_what_runs_counts_as_running(flags: dict[str, object]) -> None:
    assert read_running(**flags) == read_running()


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
