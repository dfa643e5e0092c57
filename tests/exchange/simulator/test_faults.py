"""Faults of requests, pushes and connections, as a client meets them."""

import time

import pytest
import requests
import websocket

from exchange.simulator.faults import Fault, Faults, Kind
from exchange.simulator.running import Simulator
from tests.exchange.simulator.calling import LAST_PRICE, Rest, Stream
from tests.waiting import wait_until

TICKER = "futures/inverse/btc_usd/ticker"


def prices_after(venue: Simulator, stream: Stream, *prices: int) -> list[object]:
    """Move the price and return what a listener was told, up to a last price of 1."""
    for price in (*prices, 1):
        venue.set_price(price)
    told: list[object] = []
    while (data := stream.push()["data"])["lastPrice"] != 1:
        told.append(data["lastPrice"])
    return told


@pytest.mark.parametrize(
    ("kind", "told"),
    [
        pytest.param("missing", [97, 96], id="a push is lost"),
        pytest.param("duplicate", [98, 98, 97, 96], id="a push comes twice"),
        pytest.param("out_of_order", [97, 98, 96], id="a push comes after its follower"),
        pytest.param("null_price", [None, 97, 96], id="a push without a price"),
        pytest.param("spike", [68.5, 97, 96], id="a push with a price 30 % off"),
    ],
)
def test_a_push_goes_wrong_once(
    venue: Simulator, stream: Stream, kind: str, told: list[object]
) -> None:
    stream.call("subscribe", topics=[LAST_PRICE])
    venue.fault(kind, topic=LAST_PRICE)
    assert prices_after(venue, stream, 98, 97, 96) == told
    assert venue.price() == 1, "the market itself went on as usual"


def test_garbage_takes_the_place_of_a_push(venue: Simulator, stream: Stream) -> None:
    stream.call("subscribe", topics=[LAST_PRICE])
    venue.fault("garbage")
    venue.set_price(98)
    with pytest.raises(ValueError, match="Expecting"):
        stream.push()
    assert prices_after(venue, stream, 97) == [97]


def test_a_late_push_comes_later_than_those_after_it(venue: Simulator, stream: Stream) -> None:
    stream.call("subscribe", topics=[LAST_PRICE])
    venue.fault("late", ms=150)
    venue.set_price(98)
    venue.set_price(97)
    assert [stream.push()["data"]["lastPrice"] for _ in range(2)] == [97, 98]


def test_a_price_from_the_future(venue: Simulator, stream: Stream) -> None:
    stream.call("subscribe", topics=[LAST_PRICE])
    venue.fault("future", ms=60_000)
    venue.set_price(98)
    assert stream.push()["data"]["time"] == venue.ticks()[0].time + 60_000


def test_a_ticker_may_have_no_price(venue: Simulator, stream: Stream) -> None:
    stream.call("subscribe", topics=[TICKER])
    venue.fault("null_price", topic=TICKER)
    data = stream.push()["data"]
    assert (data["lastPrice"], data["index"]) == (None, None)


def test_a_frozen_stream_is_silent_but_answers_until_the_faults_end(
    venue: Simulator, stream: Stream
) -> None:
    stream.call("subscribe", topics=[LAST_PRICE])
    venue.fault("frozen")
    venue.set_price(98)
    assert stream.call("ping")["result"] == "pong"
    assert stream.pushes == []
    venue.clear_faults()
    assert prices_after(venue, stream, 97) == [97]


def test_a_half_open_connection_stands_and_says_nothing_at_all(
    venue: Simulator, stream: Stream
) -> None:
    stream.call("subscribe", topics=[LAST_PRICE])
    venue.fault("half_open")
    venue.set_price(98)
    stream.socket.settimeout(0.3)
    stream.socket.ping()
    with pytest.raises(websocket.WebSocketTimeoutException):
        stream.call("ping")
    with Stream(venue.stream) as another:
        assert another.call("ping")["result"] == "pong", "only those that stood are affected"


def test_faults_of_one_account_leave_the_others_alone(venue: Simulator, stream: Stream) -> None:
    mine, other = (account.credentials for account in venue.accounts)
    with Stream(venue.stream) as second:
        for connection, credentials in ((stream, mine), (second, other)):
            connection.authenticate(credentials)
            connection.call("subscribe", topics=[LAST_PRICE])
        venue.fault("missing", account=other.key)
        assert prices_after(venue, stream, 98) == [98]
        assert [second.push()["data"]["lastPrice"]] == [1]
        venue.fault("cut", account=other.key)
        with pytest.raises(websocket.WebSocketConnectionClosedException):
            second.socket.recv()
    assert stream.call("ping")["result"] == "pong"


def test_refused_connections_are_let_in_again_in_the_end(venue: Simulator, rest: Rest) -> None:
    venue.fault("refuse", ms=200)
    with pytest.raises(requests.ConnectionError, match="refused"):
        rest.get("/account")
    wait_until(lambda: answers(rest), what="connections are let in again")
    venue.fault("refuse", ms=60_000)
    venue.clear_faults()
    assert rest.get("/account").status == 200


def answers(rest: Rest) -> bool:
    try:
        return rest.get("/account").status == 200
    except requests.ConnectionError:
        return False


def test_a_dropped_request_does_nothing(venue: Simulator, rest: Rest) -> None:
    venue.fault("drop", method="POST")
    with pytest.raises(requests.ConnectionError):
        rest.trade()
    assert rest.running() == []
    assert [(write.applied, write.status) for write in venue.writes()] == [(False, None)]


@pytest.mark.parametrize("kind", ["delay", "late_answer"])
def test_a_slow_request_is_applied_all_the_same(venue: Simulator, rest: Rest, kind: str) -> None:
    venue.fault(kind, ms=200, path="/v3/futures/isolated/trade")
    began_s = time.monotonic()
    rest.trade()
    assert time.monotonic() - began_s >= 0.2
    assert len(rest.running()) == 1


def test_chance_is_the_same_for_the_same_seed() -> None:
    def hits(seed: int) -> list[bool]:
        faults = Faults()
        faults.add(Fault(kind=Kind.STATUS, probability=0.3, seed=seed))
        return [
            faults.for_request(method="GET", path="/v3/account", account=None) is not None
            for _ in range(200)
        ]

    assert hits(1) == hits(1) != hits(2)
    assert 35 <= sum(hits(1)) <= 85


def test_a_chance_may_be_limited_in_number_too() -> None:
    faults = Faults()
    faults.add(Fault(kind=Kind.MISSING, probability=1.0, next=2))
    hits = [faults.for_push(topic=LAST_PRICE, account=None) is not None for _ in range(3)]
    assert hits == [True, True, False]
    assert faults.waiting == []


def test_every_kind_can_be_ordered_by_http(venue: Simulator) -> None:
    for kind in Kind:
        body = {"kind": kind, "probability": 0.5, "seed": 3, "ms": 10, "share": 0.5, "topic": "none"}
        answer = requests.post(f"{venue.control}/faults", json=body, timeout=5)
        assert answer.status_code == 200, answer.text
    assert requests.delete(f"{venue.control}/faults", timeout=5).json() == []
