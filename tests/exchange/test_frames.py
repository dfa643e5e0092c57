from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import pytest

from exchange import frames
from exchange.errors import OperatorNeededError
from exchange.events import PriceTick, TickerUpdate, TradeEvent, TradeEventKind
from exchange.fields import Fields
from exchange.formulas import Side
from exchange.money import Sats, Usd, UsdPerBtc
from exchange.position import PositionId

AT = datetime(2026, 1, 1, tzinfo=UTC)
PRICE = UsdPerBtc(Decimal(100000))


def push(topic: str, data: dict[str, Any]) -> object:
    return frames.event(Fields.of({"topic": topic, "data": data}, "stream"), AT)


def trade_push(event: str, **trade: object) -> object:
    data = {"pair": "btc_usd", "event": event, "trade": {"id": "t", "clientId": None} | trade}
    return push(frames.ISOLATED_TRADES, data)


def test_a_price_comes_with_both_times() -> None:
    assert push(frames.LAST_PRICE, {"time": 5, "lastPrice": 100000}) == PriceTick(
        price=PRICE, time_ms=5, received_at=AT
    )


@pytest.mark.parametrize("price", [None, 0, -1, "100000", 100_000_001])
def test_a_price_that_is_none_is_a_fault(price: object) -> None:
    with pytest.raises(OperatorNeededError, match=r"field data\.lastPrice"):
        push(frames.LAST_PRICE, {"time": 5, "lastPrice": price})


def test_a_ticker_may_know_nothing() -> None:
    data = {
        "time": 5, "lastPrice": None, "index": None, "funding": {"rate": None, "time": None},
    }  # fmt: skip
    assert push(frames.TICKER, data) == TickerUpdate(
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
        pytest.param("exploded", BEGUN, "data.event", id="unknown event"),
        pytest.param("open", BEGUN | {"side": "b"}, "data.trade.side", id="unknown side"),
        pytest.param("closed", ENDED, "data.trade.pl", id="profit missing"),
        pytest.param("filled", BEGUN | {"margin": 0.5}, "data.trade.margin", id="part of a sat"),
    ],
)
def test_a_fault_in_an_event_names_its_field(event: str, trade: dict[str, object], field: str) -> None:
    with pytest.raises(OperatorNeededError, match=f"field {field} "):
        trade_push(event, **trade)
