"""Isolated trades over REST: what an order becomes, what may be changed, what comes back."""

from typing import Any

import pytest

from exchange.money import Sats
from exchange.simulator.engine.rules import Rules
from exchange.simulator.running import Simulator
from tests.exchange.simulator.calling import Rest

BASE = "/futures/isolated"


def test_a_market_order_runs_at_once_with_the_worked_example_of_the_notes(rest: Rest) -> None:
    trade = rest.trade(clientId="bot-1")
    for name in ("id", "createdAt", "filledAt"):
        assert trade.pop(name)
    assert trade == {
        "type": "market",
        "side": "buy",
        "openingFee": 1000,
        "closingFee": 0,
        "maintenanceMargin": 1100,
        "quantity": 1000,
        "margin": 100000,
        "leverage": 10,
        "price": 100000,
        "liquidation": 90909,
        "stoploss": 0,
        "stoplossTrailingDistance": 0,
        "takeprofit": 0,
        "exitPrice": None,
        "pl": 0,
        "closedAt": None,
        "entryPrice": 100000,
        "entryMargin": 100000,
        "open": False,
        "running": True,
        "canceled": False,
        "closed": False,
        "sumFundingFees": 0,
        "sumCashInPl": 0,
        "sumCashInMargin": 0,
        "clientId": "bot-1",
    }
    assert rest.balance() == 10_000_000 - 102_100


def test_a_limit_order_rests_with_the_official_vector(rest: Rest) -> None:
    trade = rest.trade(type="limit", price=100000, quantity=1, leverage=100)
    wanted = {
        "entryMargin": 10,
        "entryPrice": 100000,
        "liquidation": 99010,
        "maintenanceMargin": 2,
        "openingFee": 0,
        "closingFee": 0,
        "pl": 0,
        "takeprofit": 0,
        "open": True,
        "filledAt": None,
    }
    assert {name: trade[name] for name in wanted} == wanted
    assert rest.get(f"{BASE}/trades/open").body == [trade]
    assert rest.balance() == 10_000_000 - 12


def test_margin_in_place_of_quantity_is_kept_and_floors_the_contracts(rest: Rest) -> None:
    order = {"type": "limit", "price": 104863.5, "margin": 12336, "leverage": 7.73}
    trade = rest.post(f"{BASE}/trade", side="buy", **order).body
    assert (trade["margin"], trade["quantity"], trade["leverage"]) == (12336, 99, 7.73)


@pytest.mark.parametrize("start", [100000, 130000], ids=["price comes from below", "from above"])
def test_a_limit_order_fills_at_its_price_when_touched_from_either_side(
    venue: Simulator, rest: Rest, start: int
) -> None:
    venue.set_price(start)
    rest.trade(type="limit", side="sell", price=115000)
    venue.set_price(115000)
    (trade,) = rest.running()
    assert (trade["price"], trade["entryPrice"], trade["openingFee"]) == (115000, 115000, 869)


def test_a_marketable_limit_order_waits_for_its_price(venue: Simulator, rest: Rest) -> None:
    rest.trade(type="limit", side="sell", price=70000)
    venue.set_price("100000.5")
    assert rest.running() == []


def test_closing_pays_profit_margin_and_reserve_back(venue: Simulator, rest: Rest) -> None:
    trade = rest.trade()
    venue.set_price(105000)
    assert rest.running()[0]["pl"] == 47619
    closed = rest.post(f"{BASE}/trade/close", id=trade["id"]).body
    assert (closed["pl"], closed["closingFee"], closed["exitPrice"]) == (47619, 952, 105000)
    assert closed["closed"]
    assert not closed["running"]
    assert rest.balance() == 10_000_000 + 45_667
    assert rest.closed() == [closed]
    assert rest.running() == []


def test_canceling_gives_everything_back(rest: Rest) -> None:
    first, second = rest.trade(type="limit", price=90000), rest.trade(type="limit", price=80000)
    canceled = rest.post(f"{BASE}/trade/cancel", id=first["id"]).body
    assert canceled["canceled"]
    assert canceled["closedAt"]
    assert [trade["id"] for trade in rest.post(f"{BASE}/trades/cancel-all").body] == [second["id"]]
    listed = rest.get(f"{BASE}/trades/canceled").body["data"]
    assert [trade["id"] for trade in listed] == [second["id"], first["id"]]
    assert rest.balance() == 10_000_000


def test_adding_margin_moves_liquidation_and_leverage_only(rest: Rest) -> None:
    trade = rest.trade()
    changed = rest.post(f"{BASE}/trade/add-margin", id=trade["id"], amount=50000).body
    expected = {"margin": 150000, "liquidation": 86956.5, "leverage": pytest.approx(6.6666667)}
    assert changed == {**trade, **expected}
    assert rest.running() == [changed]
    assert rest.balance() == 10_000_000 - 152_100


def test_margin_beyond_leverage_one_is_refused(rest: Rest) -> None:
    trade = rest.trade()
    amounts = [900_001, 900_000]
    replies = [rest.post(f"{BASE}/trade/add-margin", id=trade["id"], amount=a) for a in amounts]
    assert [reply.status for reply in replies] == [400, 200]


def test_stops_are_set_changed_and_removed(rest: Rest) -> None:
    trade = {"id": rest.trade()["id"]}
    assert rest.put(f"{BASE}/trade/stoploss", value=95000.5, **trade).body["stoploss"] == 95000.5
    assert rest.put(f"{BASE}/trade/takeprofit", value=105000, **trade).body["takeprofit"] == 105000
    trailing = rest.put(f"{BASE}/trade/stoploss", value=0.02, mode="trailing", **trade).body
    assert (trailing["stoploss"], trailing["stoplossTrailingDistance"]) == (98000, 0.02)
    rest.delete(f"{BASE}/trade/stoploss", **trade)
    removed = rest.put(f"{BASE}/trade/takeprofit", value=0, **trade).body
    assert (removed["stoploss"], removed["takeprofit"]) == (0, 0)
    assert removed["stoplossTrailingDistance"] == 0


@pytest.mark.parametrize(
    ("path", "fields"),
    [
        pytest.param("stoploss", {"value": 90908.5}, id="stop below liquidation"),
        pytest.param("stoploss", {"value": 100000}, id="stop at the market"),
        pytest.param("stoploss", {"value": 95000.25}, id="stop off the grid"),
        pytest.param("stoploss", {"value": 95000}, id="stop has that value already"),
        pytest.param("stoploss", {"value": -1}, id="below zero"),
        pytest.param("stoploss", {"value": 11, "mode": "trailing"}, id="distance too far"),
        pytest.param("stoploss", {"value": 0.0001, "mode": "trailing"}, id="distance too near"),
        pytest.param("stoploss", {"value": 95500, "mode": "sliding"}, id="unknown mode"),
        pytest.param("stoploss", {"value": "95500"}, id="number as text"),
        pytest.param("takeprofit", {"value": 100000}, id="target at the market"),
        pytest.param("takeprofit", {"value": 110000}, id="target has that value already"),
        pytest.param("takeprofit", {}, id="no value"),
    ],
)
def test_a_stop_that_makes_no_sense_is_refused_and_changes_nothing(
    rest: Rest, path: str, fields: dict[str, object]
) -> None:
    trade = rest.trade(stoploss=95000, takeprofit=110000)
    reply = rest.put(f"{BASE}/trade/{path}", id=trade["id"], **fields)
    assert (reply.status, reply.body["code"]) == (400, "BAD_REQUEST")
    assert rest.running() == [trade]


@pytest.mark.parametrize(
    "changed",
    [
        pytest.param({"type": "stop"}, id="unknown type"),
        pytest.param({"side": "b"}, id="the old letter"),
        pytest.param({"quantity": 0}, id="no contracts"),
        pytest.param({"quantity": 1.5}, id="half a contract"),
        pytest.param({"quantity": True}, id="a boolean is no number"),
        pytest.param({"quantity": 500_001}, id="too many contracts"),
        pytest.param({"quantity": 1e200}, id="a number beyond all bounds"),
        pytest.param({"margin": 1000}, id="both quantity and margin"),
        pytest.param({"quantity": None}, id="neither quantity nor margin"),
        pytest.param({"quantity": None, "margin": 5}, id="a margin for less than a contract"),
        pytest.param({"quantity": None, "margin": 10**9}, id="a margin for too many contracts"),
        pytest.param({"leverage": 0.5}, id="leverage below 1"),
        pytest.param({"leverage": 100.5}, id="leverage above 100"),
        pytest.param({"leverage": None}, id="no leverage"),
        pytest.param({"price": 100000}, id="a market order with a price"),
        pytest.param({"type": "limit"}, id="a limit order without a price"),
        pytest.param({"type": "limit", "price": 100000.2}, id="price off the grid"),
        pytest.param({"stoploss": 100001}, id="stop on the winning side"),
        pytest.param({"takeprofit": 99999}, id="target on the losing side"),
        pytest.param({"clientId": "x" * 65}, id="client id too long"),
        pytest.param({"quantity": 500_000, "leverage": 1}, id="more than the balance"),
    ],
)
def test_an_order_that_breaks_a_rule_is_refused_and_costs_nothing(
    rest: Rest, changed: dict[str, Any]
) -> None:
    order = {"type": "market", "side": "buy", "quantity": 1000, "leverage": 10, **changed}
    reply = rest.post(f"{BASE}/trade", **order)
    assert (reply.status, reply.body["code"]) == (400, "BAD_REQUEST")
    assert rest.running() == []
    assert rest.balance() == 10_000_000


@pytest.mark.parametrize(
    "body", ["{", "[]", "3", '{"id": NaN}', '{"id":1e99999999}', "[" * 16000], ids=lambda text: text[:9]
)
def test_a_body_that_is_no_json_object_gets_400(rest: Rest, body: str) -> None:
    assert rest.send("POST", f"{BASE}/trade/close", body=body).status == 400


def test_an_unknown_or_foreign_trade_is_not_mine(venue: Simulator, rest: Rest) -> None:
    foreign = Rest(venue.rest, venue.accounts[1].credentials).trade()
    for trade_id in (foreign["id"], "nothing"):
        reply = rest.post(f"{BASE}/trade/close", id=trade_id)
        assert (reply.status, reply.body["message"]) == (400, "You do not own this trade")


def test_the_same_trailing_distance_again_is_refused(rest: Rest) -> None:
    fields = {"id": rest.trade()["id"], "value": 0.02, "mode": "trailing"}
    replies = [rest.put(f"{BASE}/trade/stoploss", **fields) for _ in range(2)]
    assert [reply.status for reply in replies] == [200, 400]


def test_an_ended_trade_can_be_neither_canceled_nor_changed(rest: Rest) -> None:
    trade = {"id": rest.trade()["id"]}
    assert rest.post(f"{BASE}/trade/cancel", **trade).status == 400, "it is running"
    rest.post(f"{BASE}/trade/close", **trade)
    assert rest.put(f"{BASE}/trade/takeprofit", value=110_000, **trade).status == 400
    assert rest.post(f"{BASE}/trade/add-margin", amount=1, **trade).status == 400


def test_a_margin_that_rounds_to_nothing_is_refused(venue: Simulator, rest: Rest) -> None:
    venue.set_price(2_000_000)
    order = {"type": "market", "side": "buy", "quantity": 1, "leverage": 100}
    assert rest.post(f"{BASE}/trade", **order).status == 400


def test_a_trade_closes_only_once(rest: Rest) -> None:
    trade = rest.trade()
    replies = [rest.post(f"{BASE}/trade/close", id=trade["id"]) for _ in range(2)]
    assert [reply.status for reply in replies] == [200, 400]


def test_equal_client_ids_make_two_trades(rest: Rest) -> None:
    rest.trade(clientId="same")
    rest.trade(clientId="same")
    assert [trade["clientId"] for trade in rest.running()] == ["same", "same"]


def test_an_account_holds_at_most_fifty_trades(rest: Rest) -> None:
    for _ in range(50):
        rest.trade(quantity=1)
    assert rest.post(f"{BASE}/trade", type="market", side="buy", quantity=1, leverage=1).status == 400


def test_caps_on_margin_hold_for_a_trade_and_for_the_account() -> None:
    rules = Rules(most_trade_margin=Sats(120_000), most_account_margin=Sats(250_000))
    with Simulator(rules=rules) as venue:
        rest = Rest(venue.rest, venue.accounts[0].credentials)
        trades = [rest.trade()["id"] for _ in range(2)]
        add = f"{BASE}/trade/add-margin"
        order = {"type": "market", "side": "buy", "leverage": 10}
        assert rest.post(add, id=trades[0], amount=20_001).status == 400
        assert rest.post(add, id=trades[0], amount=20_000).status == 200
        assert rest.post(f"{BASE}/trade", quantity=1201, **order).status == 400
        assert rest.post(f"{BASE}/trade", quantity=301, **order).status == 400
        assert rest.post(f"{BASE}/trade", quantity=300, **order).status == 200


def test_closed_trades_come_in_pages_newest_first(venue: Simulator, rest: Rest) -> None:
    ids: list[str] = []
    for price in (100100, 100200, 100300):
        trade = rest.trade(quantity=1)
        venue.set_price(price)
        ids.insert(0, rest.post(f"{BASE}/trade/close", id=trade["id"]).body["id"])
    first = rest.get(f"{BASE}/trades/closed", limit=2).body
    rest_of_them = rest.get(f"{BASE}/trades/closed", cursor=first["nextCursor"]).body
    assert [trade["id"] for trade in first["data"] + rest_of_them["data"]] == ids
    assert rest_of_them["nextCursor"] is None


@pytest.mark.parametrize(
    "query", [{"limit": 0}, {"limit": 1001}, {"limit": "ten"}, {"from": "yesterday"}, {"cursor": "x"}]
)
def test_a_page_that_cannot_be_gets_400(rest: Rest, query: dict[str, object]) -> None:
    assert rest.get(f"{BASE}/trades/closed", **query).status == 400


def test_large_orders_pay_the_wider_rungs_of_the_ladder() -> None:
    with Simulator(half_spread=2) as venue:
        rest = Rest(venue.rest, venue.accounts[0].credentials)
        ladder = rest.public("/futures/ticker").body["prices"]
        small = rest.trade(quantity=ladder[0]["maxSize"], leverage=100)
        large = rest.trade(quantity=ladder[1]["minSize"], leverage=100, side="sell")
        by_margin = rest.trade(quantity=None, margin=100_000, leverage=100)
        assert (small["price"], large["price"]) == (100002, 99996)
        assert (by_margin["price"], by_margin["quantity"]) == (100004, 10_000)
        assert (ladder[0]["askPrice"], ladder[1]["bidPrice"]) == (100002, 99996)
