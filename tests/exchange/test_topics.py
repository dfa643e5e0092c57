import json
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import pytest

from exchange import topics
from exchange.errors import OperatorNeededError
from exchange.events import (
    Announcement,
    CandleUpdate,
    CrossOrderEvent,
    CrossOrderEventKind,
    CrossPositionEvent,
    CrossPositionEventKind,
    FundingSettled,
    IndexTick,
    LadderUpdate,
    PriceTick,
    StreamEvent,
    TickerUpdate,
    TradeEvent,
    TradeEventKind,
    WalletDirection,
    WalletEvent,
)
from exchange.fields import Fields, parse
from exchange.formulas import Side
from exchange.market import CandleRange, Step
from exchange.money import Sats, Usd, UsdPerBtc
from exchange.position import PositionId
from tests.exchange import documents

AT = datetime(2026, 1, 1, tzinfo=UTC)
PRICE = UsdPerBtc(Decimal(100000))


def push(topic: str, data: dict[str, Any]) -> object:
    sent = parse(json.dumps({"topic": topic, "data": data}), "stream")
    return topics.event(Fields.of(sent, "stream"), AT)


def trade_push(event: str, **trade: object) -> object:
    data = {"pair": "btc_usd", "event": event, "trade": {"id": "t", "clientId": None} | trade}
    return push(topics.ISOLATED_TRADES, data)


def test_a_price_comes_with_both_times() -> None:
    assert push(topics.LAST_PRICE, {"time": 5, "lastPrice": 100000}) == PriceTick(
        price=PRICE, time_ms=5, received_at=AT
    )


@pytest.mark.parametrize("price", [None, 0, -1, "100000", 100_000_001])
def test_a_price_that_is_none_is_a_fault(price: object) -> None:
    with pytest.raises(OperatorNeededError, match=r"field data\.lastPrice"):
        push(topics.LAST_PRICE, {"time": 5, "lastPrice": price})


def test_a_ticker_may_know_nothing() -> None:
    data = {
        "time": 5, "lastPrice": None, "index": None, "funding": {"rate": None, "time": None},
    }  # fmt: skip
    assert push(topics.TICKER, data) == TickerUpdate(
        last_price=None,
        index=None,
        funding_rate=None,
        funding_time_ms=None,
        time_ms=5,
        received_at=AT,
    )


BEGUN = {"side": "sell", "quantity": 5, "margin": 90, "leverage": 2, "price": 100000}
ENDED = {"closedAt": 1, "closingFee": 1, "exitPrice": 100000}


def told(kind: TradeEventKind, **known: Any) -> TradeEvent:
    return TradeEvent(kind=kind, trade_id=PositionId("t"), client_id=None, received_at=AT, **known)


BEGIN = {"side": Side.SELL, "quantity": Usd(5), "margin": Sats(90), "price": PRICE}


@pytest.mark.parametrize(
    ("event", "trade", "known"),
    [
        pytest.param("open", BEGUN, BEGIN, id="open"),
        pytest.param("filled", BEGUN, BEGIN, id="filled"),
        pytest.param("closed", ENDED | {"pl": -7}, {"profit": -7, "exit": PRICE}, id="closed"),
        pytest.param("stoploss", ENDED | {"pl": -7}, {"profit": -7, "exit": PRICE}, id="stop"),
        pytest.param("takeprofit", ENDED | {"pl": 7}, {"profit": 7, "exit": PRICE}, id="profit"),
        pytest.param("liquidation", ENDED, {"exit": PRICE}, id="liquidation tells no profit"),
        pytest.param("canceled", {"closedAt": 1}, {}, id="canceled"),
        pytest.param(
            "funding",
            {"margin": 80, "liquidationPrice": 100000, "fundingFee": -3, "fundedAt": 1},
            {"margin": 80, "liquidation": PRICE, "funding_fee": -3},
            id="funding",
        ),
    ],
)
def test_each_event_of_a_trade_brings_its_own_fields(
    event: str, trade: dict[str, object], known: dict[str, object]
) -> None:
    assert trade_push(event, **trade) == told(TradeEventKind(event), **known)


@pytest.mark.parametrize(
    ("event", "trade", "field"),
    [
        pytest.param("open", BEGUN | {"side": "b"}, "data.trade.side", id="unknown side"),
        pytest.param("closed", ENDED, "data.trade.pl", id="profit missing"),
        pytest.param("filled", BEGUN | {"margin": 0.5}, "data.trade.margin", id="part of a sat"),
    ],
)
def test_a_fault_in_an_event_names_its_field(event: str, trade: dict[str, object], field: str) -> None:
    with pytest.raises(OperatorNeededError, match=f"field {field} "):
        trade_push(event, **trade)


def test_an_event_of_a_kind_that_is_new_to_us_tells_which_trade_it_is_about() -> None:
    trade = {"id": "t", "clientId": "x" * 1001, "side": "sideways"}
    data = {"pair": "btc_usd", "event": "exploded", "trade": trade}
    assert push(topics.ISOLATED_TRADES, data) == TradeEvent(
        kind=None, trade_id=PositionId("t"), client_id=None, received_at=AT
    )


@pytest.mark.parametrize(
    ("topic", "data"),
    [
        pytest.param(
            topics.CROSS_ORDERS,
            {"event": "exploded", "order": documents.cross_order(type="iceberg")},
            id="order",
        ),
        pytest.param(
            topics.CROSS_POSITION,
            {"event": "exploded", "position": documents.cross_position()},
            id="position",
        ),
    ],
)
def test_so_does_one_about_the_cross_position(topic: str, data: dict[str, Any]) -> None:
    told = push(topic, data)
    assert isinstance(told, CrossOrderEvent | CrossPositionEvent)
    assert told.kind is None


def test_a_ticker_may_hold_what_we_cannot_read() -> None:
    data = {"time": 5, "lastPrice": 100000, "index": "text", "funding": {"rate": 7}}
    told = push(topics.TICKER, data)
    assert isinstance(told, TickerUpdate)
    assert (told.last_price, told.index, told.funding_rate) == (PRICE, None, None)


@pytest.mark.parametrize(
    ("topic", "data", "told"),
    [
        pytest.param(
            topics.INDEX, {"time": 5, "index": 100000.25},
            IndexTick(index=UsdPerBtc(Decimal("100000.25")), time_ms=5, received_at=AT), id="index",
        ),
        pytest.param(
            topics.BUCKETS,
            {"time": 5, "buckets": [{"minSize": 0, "maxSize": 9, "askPrice": 100000}]},
            LadderUpdate(
                steps=(Step(least=Usd(0), most=Usd(9), ask=PRICE, bid=None),),
                time_ms=5, received_at=AT,
            ),
            id="ladder",
        ),
        pytest.param(
            topics.FUNDING, {"pair": "btc_usd", "current": {"rate": -0.0001, "time": 5}},
            FundingSettled(rate=Decimal("-0.0001"), time_ms=5, received_at=AT), id="funding",
        ),
        pytest.param(
            topics.ANNOUNCEMENTS, {"id": "a", "title": "t", "message": "m", "link": None},
            Announcement(id="a", title="t", message="m", link=None, received_at=AT),
            id="announcement",
        ),
        pytest.param(
            topics.ANNOUNCEMENTS, {"id": "a"},
            Announcement(id="a", title=None, message=None, link=None, received_at=AT),
            id="announcement taken back",
        ),
        pytest.param(
            topics.WALLET_DEPOSIT,
            {"currency": "btc", "network": "lightning", "id": "w", "amount": 5, "balance": 9,
             "status": "confirmed"},
            WalletEvent(
                direction=WalletDirection.DEPOSIT, id="w", network="lightning", amount=Sats(5),
                balance=Sats(9), status="confirmed", received_at=AT,
            ),
            id="deposit",
        ),
    ],
)  # fmt: skip
def test_each_topic_is_told_in_its_own_type(
    topic: str, data: dict[str, Any], told: StreamEvent
) -> None:
    assert push(topic, data) == told


@pytest.mark.parametrize("each", CandleRange)
def test_candles_of_each_range_have_their_topic(each: CandleRange) -> None:
    told = push(topics.candles_topic(each), documents.candle(time=1767225600000))
    assert isinstance(told, CandleUpdate)
    assert (told.each, told.candle.time, told.candle.close) == (each, AT, Decimal(100005))


@pytest.mark.parametrize("time", ["2026-01-01T00:00:00.000Z", 1767225600000])
def test_a_cross_position_is_told_whole(time: object) -> None:
    position = documents.cross_position(updatedAt=time)
    del position["id"]
    told = push(topics.CROSS_POSITION, {"pair": "btc_usd", "event": "funding", "position": position})
    assert isinstance(told, CrossPositionEvent)
    assert (told.kind, told.position.side) == (CrossPositionEventKind.FUNDING, Side.SELL)
    assert told.position.updated_at == AT


@pytest.mark.parametrize(
    ("event", "changed", "filled"),
    [
        pytest.param("new", {}, True, id="a market order is filled at once"),
        pytest.param("new", {"filledAt": None}, False, id="a limit order rests"),
        pytest.param("limit", {"type": "liquidation"}, True, id="liquidated"),
        pytest.param("canceled", {"filledAt": None}, False, id="canceled"),
    ],
)
def test_what_happens_to_a_cross_order_is_told(
    event: str, changed: dict[str, Any], *, filled: bool
) -> None:
    order = documents.cross_order(**changed)
    told = push(topics.CROSS_ORDERS, {"pair": "btc_usd", "event": event, "order": order})
    assert isinstance(told, CrossOrderEvent)
    assert (told.kind, told.filled, told.quantity) == (CrossOrderEventKind(event), filled, 10)
