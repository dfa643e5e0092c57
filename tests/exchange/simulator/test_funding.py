"""Funding and cash-in of isolated trades."""

from datetime import datetime
from typing import Any

import pytest
import requests

from exchange.simulator.engine.rules import Rules
from exchange.simulator.running import Simulator
from tests.exchange.simulator.calling import TRADES, Rest, Stream

BASE = "/futures/isolated"


def test_a_long_pays_a_positive_rate_from_its_margin(venue: Simulator, rest: Rest) -> None:
    trade = rest.trade()
    balance = rest.balance()
    settlement = venue.settle_funding("0.0001")
    (funded,) = rest.running()
    assert (funded["margin"], funded["liquidation"], funded["sumFundingFees"]) == (99900, 90917.5, 100)
    assert funded["leverage"] == pytest.approx(10.01001)
    assert rest.balance() == balance
    page = rest.get(f"{BASE}/funding-fees").body
    (fee,) = page["data"]
    assert fee.pop("time")
    assert fee == {"fee": 100, "settlementId": settlement.id, "tradeId": trade["id"]}


def test_a_short_receives_it_on_the_balance(venue: Simulator, rest: Rest) -> None:
    rest.trade(side="sell")
    balance = rest.balance()
    venue.settle_funding("0.0001")
    (funded,) = rest.running()
    assert (funded["margin"], funded["sumFundingFees"]) == (100_000, -100)
    assert rest.balance() == balance + 100


def test_open_trades_pay_nothing(venue: Simulator, rest: Rest) -> None:
    rest.trade(type="limit", price=90000)
    venue.settle_funding("0.01")
    assert rest.get(f"{BASE}/funding-fees").body["data"] == []


def test_the_fees_of_one_trade_can_be_asked_for(venue: Simulator, rest: Rest) -> None:
    first, second = rest.trade(), rest.trade(side="sell")
    venue.settle_funding("0.0001")
    fees = rest.get(f"{BASE}/funding-fees", tradeId=second["id"]).body["data"]
    assert [fee["tradeId"] for fee in fees] == [second["id"]] != [first["id"]]


def test_the_stream_tells_of_the_fee_and_of_the_rate(
    venue: Simulator, rest: Rest, stream: Stream
) -> None:
    trade = rest.trade(clientId="mine")
    stream.authenticate(venue.accounts[0].credentials)
    stream.call("subscribe", topics=[TRADES, "futures/inverse/btc_usd/funding"])
    answer = requests.post(f"{venue.control}/funding", json={"rate": 0.0001}, timeout=5).json()
    assert (answer["fundingRate"], answer["fixingPrice"]) == (0.0001, 100_000)
    settled, funded = stream.push()["data"], stream.push()["data"]
    assert settled["pair"] == "btc_usd"
    assert settled["current"]["rate"] == 0.0001
    assert funded["trade"].pop("fundedAt") == settled["current"]["time"]
    assert (funded["event"], funded["trade"]) == (
        "funding",
        {
            "id": trade["id"],
            "margin": 99900,
            "liquidationPrice": 90917.5,
            "fundingFee": 100,
            "clientId": "mine",
        },
    )


def test_funding_that_brings_liquidation_to_the_price_liquidates(venue: Simulator, rest: Rest) -> None:
    rest.trade()
    venue.set_price("90909.5")
    venue.settle_funding("0.0001")
    assert rest.closed()[0]["pl"] == -99_890


def test_a_trade_that_funding_drives_beyond_the_highest_leverage_is_closed(
    venue: Simulator, rest: Rest
) -> None:
    rest.trade(leverage=100)
    venue.settle_funding("0.0001")
    (closed,) = rest.closed()
    assert (closed["sumFundingFees"], closed["margin"], closed["exitPrice"]) == (100, 9900, 100_000)


@pytest.mark.parametrize(
    ("side", "price", "amount", "expected"),
    [
        pytest.param("buy", 110_000, 40_000, (104_166.5, 100_000, 94_339.5), id="1 part of the gain"),
        pytest.param("buy", 110_000, 150_000, (110_000, 40_909, 105_263), id="3 gain and margin"),
        pytest.param("buy", 98_000, 40_000, (100_000, 60_000, 94_339.5), id="4 in loss"),
        pytest.param("sell", 92_000, 86_956, (92_000, 100_000, 101_321.5), id="6 the whole gain"),
    ],
)
def test_cash_in(
    venue: Simulator, rest: Rest, *, side: str, price: int, amount: int, expected: tuple[Any, ...]
) -> None:
    trade = rest.trade(side=side)
    venue.set_price(price)
    balance = rest.balance()
    after = rest.post(f"{BASE}/trade/cash-in", id=trade["id"], amount=amount).body
    assert (after["price"], after["margin"], after["liquidation"]) == expected
    assert (after["entryPrice"], after["entryMargin"]) == (100_000, 100_000)
    assert after["sumCashInPl"] + after["sumCashInMargin"] == amount
    assert rest.balance() == balance + amount


@pytest.mark.parametrize(
    ("amount", "price"),
    [
        pytest.param(100_000, 100_000, id="all the margin"),
        pytest.param(90_001, 100_000, id="leverage above 100"),
        pytest.param(90_000, 98_000, id="liquidation beyond the market"),
    ],
)
def test_a_cash_in_that_the_trade_would_not_survive_is_refused(
    venue: Simulator, rest: Rest, amount: int, price: int
) -> None:
    trade = rest.trade()
    venue.set_price(price)
    before = rest.running()
    assert rest.post(f"{BASE}/trade/cash-in", id=trade["id"], amount=amount).status == 400
    assert rest.running() == before


def test_a_stop_that_now_lies_beyond_liquidation_is_dropped(rest: Rest) -> None:
    trade = rest.trade(stoploss=91000)
    after = rest.post(f"{BASE}/trade/cash-in", id=trade["id"], amount=50_000).body
    assert after["liquidation"] > 91000
    assert after["stoploss"] == 0


@pytest.mark.parametrize("limit", [1, 2, 3])
def test_fees_of_one_settlement_come_each_once_however_they_are_paged(
    venue: Simulator, rest: Rest, limit: int
) -> None:
    for _ in range(4):
        rest.trade()
    venue.settle_funding()
    venue.settle_funding()
    found: list[tuple[str, str]] = []
    query: dict[str, object] = {"limit": limit}
    while True:
        page = rest.get("/futures/isolated/funding-fees", **query).body
        assert len(page["data"]) <= limit
        found += [(fee["settlementId"], fee["tradeId"]) for fee in page["data"]]
        if page["nextCursor"] is None:
            break
        datetime.fromisoformat(page["nextCursor"])
        query = {"limit": limit, "cursor": page["nextCursor"]}
    assert len(found) == len(set(found)) == 8


def test_funding_received_goes_to_the_margin_where_the_rules_say_so() -> None:
    with Simulator(rules=Rules(funding_to_margin=True)) as venue:
        rest = Rest(venue.rest, venue.accounts[0].credentials)
        rest.trade(side="sell")
        before = rest.balance()
        venue.settle_funding("0.0001")
        (trade,) = rest.running()
        assert (trade["margin"], trade["sumFundingFees"]) == (100_100, -100)
        assert rest.balance() == before
