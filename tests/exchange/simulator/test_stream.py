"""Stream v1: frames, errors, methods, pushes, and the silence where the real one is silent."""

import json
from typing import Any

import pytest
import websocket

from exchange.simulator.running import Simulator
from tests.exchange.simulator.calling import LAST_PRICE, TRADES, Rest, Stream

BASE = "/futures/isolated/trade"


def subscribed(stream: Stream, venue: Simulator, *topics: str) -> None:
    assert "result" in stream.authenticate(venue.accounts[0].credentials)
    assert stream.call("subscribe", topics=list(topics))["result"] == {"subscribed": list(topics)}


@pytest.mark.parametrize(
    ("method", "params", "result"),
    [
        ("hello", {"clientName": "test", "clientVersion": "1"}, {"version": "1.0.0"}),
        ("ping", {}, "pong"),
        ("unsubscribeAll", {}, {"unsubscribed": []}),
        ("subscribe", {"topics": [LAST_PRICE, LAST_PRICE]}, {"subscribed": [LAST_PRICE]}),
        ("unsubscribe", {"topics": [LAST_PRICE]}, {"unsubscribed": [LAST_PRICE]}),
    ],
    ids=lambda value: value if isinstance(value, str) else None,
)
def test_anyone_may_call(stream: Stream, method: str, params: dict[str, Any], result: object) -> None:
    assert stream.call(method, **params)["result"] == result


@pytest.mark.parametrize("frame_id", ["a1b2", 7, 0, -3, 12345678901234567890], ids=str)
def test_the_id_comes_back_as_it_was_with_times_and_budget(stream: Stream, frame_id: object) -> None:
    frame = stream.exchange(json.dumps({"jsonrpc": "2.0", "id": frame_id, "method": "time"}))
    assert frame["jsonrpc"] == "2.0"
    assert frame["id"] == frame_id
    assert frame["usDiff"] == frame["usOut"] - frame["usIn"] >= 0
    assert frame["rateLimit"] == {"remaining": 10, "limit": 10}
    assert frame["result"]["time"] == frame["usIn"] // 1000


@pytest.mark.parametrize(
    ("text", "code", "name"),
    [
        pytest.param("{", -32700, "PARSE_ERROR", id="no JSON"),
        pytest.param("[" * 9000, -32700, "PARSE_ERROR", id="nested too deeply"),
        pytest.param("[]", -32600, "INVALID_REQUEST", id="no object"),
        pytest.param('{"id":1,"method":"ping"}', -32600, "INVALID_REQUEST", id="no version"),
        pytest.param('{"jsonrpc":"2.0","method":"ping"}', -32600, "INVALID_REQUEST", id="no id"),
        pytest.param(
            '{"jsonrpc":"2.0","id":1.5,"method":"ping"}', -32600, "INVALID_REQUEST", id="odd id"
        ),
        pytest.param('{"jsonrpc":"2.0","id":1}', -32600, "INVALID_REQUEST", id="no method"),
        pytest.param(
            '{"jsonrpc":"2.0","id":1,"method":"buy"}', -32601, "METHOD_NOT_FOUND", id="unknown"
        ),
        pytest.param(
            '{"jsonrpc":"2.0","id":1,"method":"ping","params":3}', -32602, "INVALID_PARAMS", id="params"
        ),
    ],
)
def test_a_frame_that_is_no_request_gets_its_error(
    stream: Stream, text: str, code: int, name: str
) -> None:
    frame = stream.exchange(text)
    assert (frame["error"]["code"], frame["error"]["data"]["code"]) == (code, name)
    assert stream.call("ping")["result"] == "pong", "the connection lives on"


@pytest.mark.parametrize(
    ("method", "params", "code"),
    [
        pytest.param("whoami", {}, -32401, id="who am I without proof"),
        pytest.param("subscribe", {"topics": [TRADES]}, -32401, id="private topic without proof"),
        pytest.param("subscribe", {"topics": ["futures/everything"]}, -32602, id="unknown topic"),
        pytest.param("subscribe", {"topics": []}, -32602, id="no topic"),
        pytest.param("subscribe", {"topics": LAST_PRICE}, -32602, id="a text for a list"),
        pytest.param("subscribe", {}, -32602, id="nothing"),
        pytest.param("unsubscribe", {"topics": [1]}, -32602, id="a number for a topic"),
    ],
)
def test_a_request_that_cannot_be_gets_its_error(
    stream: Stream, method: str, params: dict[str, Any], code: int
) -> None:
    assert stream.call(method, **params)["error"]["code"] == code


def test_nothing_is_subscribed_when_one_topic_is_unknown(venue: Simulator, stream: Stream) -> None:
    stream.call("subscribe", topics=[LAST_PRICE, "nonsense"])
    venue.set_price(99000)
    stream.call("ping")
    assert stream.pushes == []


def test_authentication_says_who_one_is(venue: Simulator, stream: Stream) -> None:
    credentials = venue.accounts[0].credentials
    result = stream.authenticate(credentials)["result"]
    who = stream.call("whoami")["result"]
    assert result["authenticated"] is True
    assert who["apiKey"] == credentials.key
    assert "futures:isolated:read" in who["permissions"] == result["permissions"]


@pytest.mark.parametrize(
    ("changed", "code"),
    [
        pytest.param({"key": "nobody"}, -32401, id="unknown key"),
        pytest.param({"passphrase": "wrong"}, -32401, id="wrong passphrase"),
        pytest.param({"signature": "x" * 44}, -32401, id="wrong signature"),
        pytest.param({"timestamp": 1767225600000}, -32401, id="old"),
        pytest.param({"timestamp": "1767225600000"}, -32602, id="timestamp as text"),
        pytest.param({"nonce": ""}, -32602, id="no nonce"),
    ],
)
def test_false_proof_is_refused(
    venue: Simulator, stream: Stream, changed: dict[str, object], code: int
) -> None:
    frame = stream.authenticate(venue.accounts[0].credentials, **changed)
    assert frame["error"]["code"] == code
    assert stream.call("whoami")["error"]["code"] == -32401


def test_a_nonce_proves_only_once(venue: Simulator, stream: Stream) -> None:
    credentials = venue.accounts[0].credentials
    request = {"jsonrpc": "2.0", "id": 1, "method": "authenticate"}
    params = stream.authentication(credentials)
    text = json.dumps({**request, "params": params})
    assert "result" in stream.exchange(text)
    assert stream.exchange(text)["error"]["data"]["code"] == "UNAUTHORIZED"


def test_each_price_change_is_pushed_once(venue: Simulator, stream: Stream) -> None:
    stream.call("subscribe", topics=[LAST_PRICE])
    for price in ("99999.5", "99999.5", "99000"):
        venue.set_price(price)
    pushes = [stream.push() for _ in range(2)]
    assert [push["data"]["lastPrice"] for push in pushes] == [99999.5, 99000]
    assert [push["data"]["time"] for push in pushes] == [tick.time for tick in venue.ticks()]
    stream.call("ping")
    assert stream.pushes == []


def test_the_ticker_comes_every_second_even_when_the_price_rests(stream: Stream) -> None:
    stream.call("subscribe", topics=["futures/inverse/btc_usd/ticker"])
    data = stream.push()["data"]
    assert set(data) == {"time", "lastPrice", "index", "funding"}
    assert data["lastPrice"] == 100000
    assert data["funding"]["time"] > data["time"]


def test_unsubscribing_ends_the_pushes(venue: Simulator, stream: Stream) -> None:
    stream.call("subscribe", topics=[LAST_PRICE])
    assert stream.call("unsubscribeAll")["result"] == {"unsubscribed": [LAST_PRICE]}
    venue.set_price(99000)
    stream.call("ping")
    assert stream.pushes == []


def test_the_life_of_a_trade_is_told(venue: Simulator, rest: Rest, stream: Stream) -> None:
    subscribed(stream, venue, TRADES)
    trade = rest.trade(clientId="mine")
    filled = stream.push()["data"]
    rest.post(f"{BASE}/close", id=trade["id"])
    closed = stream.push()["data"]
    assert (filled["pair"], filled["event"]) == ("btc_usd", "filled")
    assert set(filled["trade"]) == {
        *("id", "side", "type", "quantity", "margin", "leverage"),
        *("price", "openingFee", "createdAt", "clientId"),
    }
    assert filled["trade"]["id"] == trade["id"]
    assert closed["event"] == "closed"
    assert set(closed["trade"]) == {"id", "closedAt", "closingFee", "pl", "exitPrice", "clientId"}
    assert isinstance(closed["trade"]["closedAt"], int)


@pytest.mark.parametrize(
    ("order", "price", "event"),
    [
        pytest.param({"stoploss": 95000}, 94000, "stoploss", id="stop"),
        pytest.param({"takeprofit": 105000}, 106000, "takeprofit", id="target"),
        pytest.param({}, 90000, "liquidation", id="liquidation"),
    ],
)
def test_what_the_price_ends_is_told_after_the_price(
    venue: Simulator, rest: Rest, stream: Stream, *, order: dict[str, Any], price: int, event: str
) -> None:
    rest.trade(**order)
    subscribed(stream, venue, LAST_PRICE, TRADES)
    venue.set_price(price)
    assert stream.push()["data"]["lastPrice"] == price
    ended = stream.push()["data"]
    assert ended["event"] == event
    assert ("pl" in ended["trade"]) is (event != "liquidation")


def test_limit_orders_are_told_when_they_open_fill_and_are_canceled(
    venue: Simulator, rest: Rest, stream: Stream
) -> None:
    subscribed(stream, venue, TRADES)
    rest.trade(type="limit", price=99000)
    rest.post(f"{BASE}/cancel", id=rest.trade(type="limit", price=90000)["id"])
    venue.set_price(99000)
    events = [stream.push()["data"] for _ in range(4)]
    assert [event["event"] for event in events] == ["open", "open", "canceled", "filled"]
    assert set(events[2]["trade"]) == {"id", "closedAt", "clientId"}


def test_margin_and_stops_change_in_silence(venue: Simulator, rest: Rest, stream: Stream) -> None:
    trade = {"id": rest.trade()["id"]}
    subscribed(stream, venue, TRADES)
    rest.post(f"{BASE}/add-margin", amount=1000, **trade)
    rest.put(f"{BASE}/stoploss", value=0.02, mode="trailing", **trade)
    rest.put(f"{BASE}/takeprofit", value=110000, **trade)
    rest.delete(f"{BASE}/takeprofit", **trade)
    venue.set_price(101000)
    stream.call("ping")
    assert stream.pushes == []


def test_nobody_hears_of_another_accounts_trades(venue: Simulator, stream: Stream) -> None:
    subscribed(stream, venue, TRADES)
    Rest(venue.rest, venue.accounts[1].credentials).trade()
    stream.call("ping")
    assert stream.pushes == []


def test_a_session_that_becomes_another_account_no_longer_hears_the_first(
    venue: Simulator, rest: Rest, stream: Stream
) -> None:
    subscribed(stream, venue, TRADES)
    assert "result" in stream.authenticate(venue.accounts[1].credentials)
    rest.trade()
    stream.call("ping")
    assert stream.pushes == []


def test_proving_it_again_keeps_what_one_hears(venue: Simulator, rest: Rest, stream: Stream) -> None:
    subscribed(stream, venue, TRADES)
    stream.authenticate(venue.accounts[0].credentials)
    rest.trade()
    assert stream.push()["data"]["event"] == "filled"


def test_a_topic_beyond_the_keys_permissions_is_forbidden(venue: Simulator, stream: Stream) -> None:
    stream.authenticate(venue.accounts[0].credentials)
    frame = stream.call("subscribe", topics=["wallet/deposit"])
    assert (frame["error"]["code"], frame["error"]["data"]["code"]) == (-32403, "FORBIDDEN")


def test_a_connection_from_any_origin_is_let_in(venue: Simulator) -> None:
    socket = websocket.create_connection(venue.stream, origin="https://elsewhere.example", timeout=5)
    socket.send('{"jsonrpc":"2.0","id":1,"method":"ping"}')
    assert "pong" in socket.recv()
    socket.close(timeout=0.2)


def test_cut_streams_end_for_the_client(venue: Simulator, stream: Stream) -> None:
    venue.cut_streams()
    with pytest.raises(websocket.WebSocketConnectionClosedException):
        stream.socket.recv()
