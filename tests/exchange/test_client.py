import json
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal

import pytest

from exchange.client import Client
from exchange.errors import RejectedError, TransientError
from exchange.formulas import Side
from exchange.live import LiveView, connect
from exchange.market import Quote, Source
from exchange.money import Sats, Usd, UsdPerBtc
from exchange.paging import Span
from exchange.position import PositionId, PositionsSnapshot
from exchange.trade import NewTrade
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


def test_what_was_read_ahead_is_used_while_it_is_fresh(
    script: Script, client: Client, live: LiveView
) -> None:
    put(live)
    ahead = live.read("paper", 7)
    put(live)

    assert client.snapshot(5, ahead=ahead).positions == ahead.positions
    assert client.glance(5, ahead=ahead).quote == ahead.quote
    assert script.requests == []


@pytest.mark.parametrize("then_age_s", [0, 6], ids=["fresh again", "still stale"])
def test_what_was_read_ahead_and_is_stale_is_asked_for_as_if_it_were_not_there(
    script: Script, client: Client, live: LiveView, then_age_s: int
) -> None:
    put(live, age_s=7)
    ahead = live.read("paper", 7)
    put(live, age_s=then_age_s)
    if then_age_s:
        script.then(RUNNING, TICKER)

    seen = client.snapshot(5, ahead=ahead)

    asked = Source.REST if then_age_s else Source.STREAM
    assert (seen.quote.source, seen.positions.source) == (asked, asked)
    assert client.glance(5, ahead=ahead).quote == seen.quote


@pytest.mark.parametrize("part", ["quote", "positions"])
def test_one_stale_part_of_what_was_read_ahead_asks_the_live_view_again_before_anybody_else(
    script: Script, client: Client, live: LiveView, part: str
) -> None:
    put(live, age_s=7)
    stale = live.read("paper", 7)
    put(live)
    fresh = live.read("paper", 7)

    seen = client.snapshot(5, ahead=replace(fresh, **{part: getattr(stale, part)}))

    assert (seen.quote, seen.positions) == (fresh.quote, fresh.positions)
    assert script.requests == []


def test_what_was_read_ahead_of_a_moment_is_read_anew(
    script: Script, client: Client, live: LiveView
) -> None:
    put(live)
    script.then(RUNNING)

    seen = client.snapshot(5, datetime.now(UTC), ahead=live.read("paper", 7))

    assert seen.positions.source is Source.REST


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


RESTING = documents.open_trade(id=documents.TRADE_ID)
TRADE = PositionId(documents.TRADE_ID)
STOP = UsdPerBtc(Decimal(95_000))


@pytest.mark.parametrize(
    ("write", "document", "target"),
    [
        pytest.param(
            lambda c: c.open_trade(
                NewTrade(side=Side.BUY, leverage=Decimal(2), quantity=Usd(1), limit=STOP)
            ),
            RESTING,
            "trade",
            id="open",
        ),
        pytest.param(lambda c: c.close(TRADE), documents.closed_trade(), "trade/close", id="close"),
        pytest.param(
            lambda c: c.cancel(TRADE), documents.canceled_trade(), "trade/cancel", id="cancel"
        ),
        pytest.param(lambda c: c.cancel_all(), [], "trades/cancel-all", id="cancel all"),
        pytest.param(
            lambda c: c.cash_in(TRADE, Sats(5)), documents.running_trade(), "trade/cash-in",
            id="cash in",
        ),
        pytest.param(
            lambda c: c.set_stoploss(TRADE, STOP), documents.running_trade(), "trade/stoploss",
            id="stop loss",
        ),
        pytest.param(
            lambda c: c.set_takeprofit(TRADE, STOP), documents.running_trade(), "trade/takeprofit",
            id="take profit",
        ),
    ],
)  # fmt: skip
def test_every_write_outdates_what_was_seen_before_it(
    live: LiveView,
    script: Script,
    *,
    write: Callable[[Client], object],
    document: object,
    target: str,
) -> None:
    client = Client(client_of(script.endpoints), live, account_id=7, network="paper")
    put(live)
    script.then(Answer(content=json.dumps(document)))
    write(client)
    assert script.requests[0].target == f"/v3/futures/isolated/{target}"
    assert live.read(None, 7).positions is None


@pytest.mark.parametrize(
    ("read", "document", "target"),
    [
        pytest.param(lambda c: c.account(), documents.account(), "account", id="account"),
        pytest.param(
            lambda c: c.open_trades(), [], "futures/isolated/trades/open", id="open trades"
        ),
        pytest.param(
            lambda c: c.closed_trades(Span(most=1)), documents.page(),
            "futures/isolated/trades/closed?limit=1", id="closed trades",
        ),
        pytest.param(
            lambda c: c.canceled_trades(Span(most=1)), documents.page(),
            "futures/isolated/trades/canceled?limit=1", id="canceled trades",
        ),
    ],
)  # fmt: skip
def test_what_the_live_view_does_not_hold_is_read_by_rest(
    script: Script,
    client: Client,
    read: Callable[[Client], object],
    document: object,
    target: str,
) -> None:
    script.then(Answer(content=json.dumps(document)))
    read(client)
    assert script.requests[0].target == f"/v3/{target}"
