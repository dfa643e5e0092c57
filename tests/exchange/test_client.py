import json
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from decimal import Decimal

import pytest

from exchange.client import Client
from exchange.errors import RejectedError, TransientError
from exchange.live import LiveView, connect
from exchange.market import Quote, Source
from exchange.money import Sats, UsdPerBtc
from exchange.position import PositionId, PositionsSnapshot
from tests.exchange import documents
from tests.exchange.scripted import Answer, Script, scripted_exchange
from tests.exchange.test_rest import client_of

TICKER = Answer(content=json.dumps(documents.ticker()))
RUNNING = Answer(content=json.dumps([documents.running_trade()]))
SECOND = timedelta(seconds=1)


@pytest.fixture
def script() -> Iterator[Script]:
    with scripted_exchange() as script:
        yield script


@pytest.fixture
def live(redis_url: str) -> Iterator[LiveView]:
    with connect(redis_url) as redis:
        yield LiveView(redis)


@pytest.fixture
def client(script: Script, live: LiveView) -> Client:
    return Client(client_of(script.endpoints), live, account_id=7, network="paper")


def put(live: LiveView, *, age_s: float = 0.0) -> None:
    at = datetime.now(UTC) - timedelta(seconds=age_s)
    price = UsdPerBtc(Decimal(5))
    live.put_price("paper", Quote(price=price, at=at, time_ms=1, source=Source.STREAM))
    live.put_positions(7, PositionsSnapshot(positions=(), at=at, source=Source.STREAM))


def test_what_is_fresh_in_the_live_view_asks_nobody(
    script: Script, client: Client, live: LiveView
) -> None:
    put(live)
    seen = client.snapshot(max_age_s=5)
    assert (seen.quote.source, seen.positions.source) == (Source.STREAM, Source.STREAM)
    assert client.price(5) == seen.quote
    assert client.positions(5) == seen.positions
    assert script.requests == []


def test_what_is_stale_is_read_by_rest_and_put_into_the_live_view(
    script: Script, client: Client, live: LiveView
) -> None:
    put(live, age_s=6)
    script.then(RUNNING, TICKER)
    seen = client.snapshot(max_age_s=5)
    assert (seen.quote.source, seen.positions.source) == (Source.REST, Source.REST)
    assert len(seen.positions.positions) == 1
    assert client.snapshot(max_age_s=5) == seen
    assert len(script.requests) == 2


def test_positions_from_before_a_moment_are_read_anew(
    script: Script, client: Client, live: LiveView
) -> None:
    put(live, age_s=1)
    script.then(RUNNING)
    assert client.positions(5, datetime.now(UTC)).source is Source.REST


def test_a_failed_read_is_never_an_empty_answer(script: Script, client: Client) -> None:
    script.then(Answer(status=500))
    with pytest.raises(TransientError):
        client.positions(5)


def test_an_answer_that_took_too_long_is_not_acted_on(script: Script, client: Client) -> None:
    script.then(Answer(content=TICKER.content, delay_s=0.2))
    with pytest.raises(TransientError, match=r"longer to answer than the 0\.1 s"):
        client.price(0.1)


@pytest.mark.parametrize("status", [200, 400])
def test_after_a_write_positions_seen_before_it_are_unknown(
    script: Script, client: Client, live: LiveView, status: int
) -> None:
    put(live)
    script.then(Answer(status=status, content=json.dumps(documents.running_trade())), RUNNING)
    try:
        client.add_margin(PositionId(documents.TRADE_ID), Sats(5))
    except RejectedError:
        assert status == 400
    assert client.positions(60).source is Source.REST


def test_without_a_live_view_all_reads_go_to_rest(script: Script) -> None:
    client = Client(client_of(script.endpoints), account_id=7, network="paper")
    script.then(RUNNING, TICKER)
    assert client.snapshot(5).quote.source is Source.REST
