"""The control port and the faults it orders: what tests rely on when they count effects."""

from collections.abc import Iterator
from decimal import Decimal

import pytest
import requests

from exchange.money import UsdPerBtc
from exchange.simulator.prices.candles import BrokenFile
from exchange.simulator.prices.feed import Feed
from exchange.simulator.running import Simulator
from tests.exchange.simulator.calling import Rest

ADD = "/v3/futures/isolated/trade/add-margin"


def test_the_ledger_tells_every_write_with_its_effect(venue: Simulator, rest: Rest) -> None:
    trade = rest.trade()
    rest.post("/futures/isolated/trade/add-margin", id=trade["id"], amount=7)
    rest.post("/futures/isolated/trade/add-margin", id=trade["id"], amount=10**12)
    rest.running()
    opened, added, refused = requests.get(f"{venue.control}/ledger", timeout=5).json()["writes"]
    assert (opened["applied"], opened["trade"], opened["effect"]) == (
        True,
        trade["id"],
        "running buy 1000 at 100000",
    )
    assert added["received_at_us"] > opened["received_at_us"]
    del added["received_at_us"]
    assert added == {
        "method": "POST",
        "path": ADD,
        "params": {"id": trade["id"], "amount": 7},
        "account": venue.accounts[0].credentials.key,
        "applied": True,
        "effect": "margin +7",
        "status": 200,
        "trade": trade["id"],
    }
    assert (refused["applied"], refused["effect"], refused["status"]) == (False, None, 400)


def test_the_control_port_moves_the_price_and_remembers_it(venue: Simulator, rest: Rest) -> None:
    rest.trade()
    answer = requests.post(f"{venue.control}/price", json={"price": 90000}, timeout=5)
    assert answer.json() == {"price": 90000}
    assert rest.running() == [], "settled before the answer"
    (tick,) = requests.get(f"{venue.control}/ticks", timeout=5).json()
    assert tick["price"] == 90000
    assert tick["time"] <= tick["sent_at_us"] // 1000 <= tick["time"] + 1000


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("price", '{"price": 0}'),
        ("price", '{"price": 95000.3}'),
        ("price", '{"price": "95000"}'),
        ("price", "{}"),
        ("price", "95000"),
        ("index", '{"index": 0}'),
        ("push", '{"topic": "lastPrice"}'),
        ("push", '{"topic": "buckets", "value": 95000}'),
        ("deposit", '{"account": "nobody", "amount": 1}'),
        ("faults", '{"kind": "earthquake"}'),
        ("faults", '{"kind": "status", "probability": 1.5}'),
        ("faults", '{"kind": "status", "paths": "/v3/ping"}'),
        ("faults", '{"kind": "status", "status": 200}'),
        ("faults", '{"kind": "status", "next": 0}'),
    ],
)
def test_a_control_request_that_makes_no_sense_is_told_so(
    venue: Simulator, path: str, body: str
) -> None:
    answer = requests.post(f"{venue.control}/{path}", data=body, timeout=5)
    assert answer.status_code == 400
    assert answer.json()["message"]


@pytest.mark.parametrize(
    ("status", "code"),
    [
        (429, "TOO_MANY_REQUESTS"),
        (500, "INTERNAL_SERVER_ERROR"),
        (502, "BAD_GATEWAY"),
        (503, "SERVICE_UNAVAILABLE"),
        (504, "GATEWAY_TIMEOUT"),
    ],
)
def test_a_status_fault_answers_without_applying(
    venue: Simulator, rest: Rest, status: int, code: str
) -> None:
    trade = rest.trade()
    venue.fault("status", status=status, path=ADD)
    replies = [
        rest.post("/futures/isolated/trade/add-margin", id=trade["id"], amount=7) for _ in range(2)
    ]
    assert [reply.status for reply in replies] == [status, 200]
    assert replies[0].body["code"] == code
    assert ("Retry-After" in replies[0].headers) is (status == 429)
    assert rest.running()[0]["margin"] == 100_007
    assert [write.applied for write in venue.writes()] == [True, False, True]


def test_a_lost_answer_hides_what_happened(venue: Simulator, rest: Rest) -> None:
    trade = rest.trade()
    requests.post(f"{venue.control}/faults", json={"kind": "lost_answer", "path": ADD}, timeout=5)
    with pytest.raises(requests.ConnectionError):
        rest.post("/futures/isolated/trade/add-margin", id=trade["id"], amount=7)
    assert rest.running()[0]["margin"] == 100_007
    assert [(write.applied, write.status) for write in venue.writes()] == [(True, 200), (True, None)]


def test_a_fault_hits_only_what_it_names_and_only_so_often(venue: Simulator, rest: Rest) -> None:
    mine, other = (account.credentials.key for account in venue.accounts)
    venue.fault("status", account=other)
    venue.fault("status", method="POST")
    venue.fault("status", account=mine, path="/v3/account", next=2)
    statuses = [rest.get(path).status for path in ["/futures/isolated/trades/open"] + 3 * ["/account"]]
    assert statuses == [200, 503, 503, 200]
    left = requests.get(f"{venue.control}/faults", timeout=5).json()
    assert [fault["next"] for fault in left] == [1, 1]
    assert requests.delete(f"{venue.control}/faults", timeout=5).json() == []


def test_funding_can_be_settled_at_the_rate_of_the_market(venue: Simulator) -> None:
    answer = requests.post(f"{venue.control}/funding", timeout=5).json()
    assert answer["fundingRate"] == 0.0001
    assert venue.settle_funding().rate == Decimal("0.0001")


def test_a_control_door_used_the_wrong_way_answers_json(venue: Simulator) -> None:
    answer = requests.get(f"{venue.control}/price", timeout=5)
    assert answer.status_code == 405
    assert answer.json()["message"]


def test_the_balance_can_be_read_without_a_request(venue: Simulator, rest: Rest) -> None:
    rest.trade()
    assert venue.balance() == 10_000_000 - 102_100
    assert venue.balance(1) == 10_000_000
    assert len(venue.writes()) == 1


def test_latency_is_added_to_each_answer() -> None:
    with Simulator(latency_ms=60) as venue:
        rest = Rest(venue.rest, venue.accounts[0].credentials)
        assert requests.get(f"{venue.rest}/ping", timeout=5).elapsed.total_seconds() >= 0.06
        assert rest.get("/account").status == 200


def test_a_simulator_that_cannot_start_says_why_to_its_test() -> None:
    with pytest.raises(BrokenFile, match="No such file"), Simulator(prices="/nowhere.csv"):
        pytest.fail("it must not start")


def test_a_simulator_whose_own_work_breaks_tells_its_test() -> None:
    def broken_path() -> Iterator[tuple[float, UsdPerBtc]]:
        yield 0, UsdPerBtc(Decimal(1))
        raise ZeroDivisionError("the path is broken")

    feed = Feed(broken_path(), first=None, speed=1)
    with pytest.raises(ZeroDivisionError, match="the path is broken"), Simulator(prices_from=feed):
        pass


def test_stopping_while_connections_are_refused_is_clean() -> None:
    with Simulator() as venue:
        venue.fault("refuse", ms=60_000)
