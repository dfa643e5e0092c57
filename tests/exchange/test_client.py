import json
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
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
from tests.waiting import wait_until

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


def put_apart(live: LiveView, *, price_age_s: float, positions_age_s: float) -> None:
    put(live, age_s=positions_age_s)
    at = datetime.now(UTC) - timedelta(seconds=price_age_s)
    live.put_price("paper", Quote(price=UsdPerBtc(Decimal(6)), at=at, time_ms=1, source=Source.STREAM))


def test_positions_within_a_limit_of_their_own_ask_nobody(
    script: Script, client: Client, live: LiveView
) -> None:
    put_apart(live, price_age_s=0, positions_age_s=20)
    seen = client.snapshot(5, positions_max_age_s=30)
    assert (seen.quote.source, seen.positions.source) == (Source.STREAM, Source.STREAM)
    assert client.snapshot(5, ahead=live.read("paper", 7), positions_max_age_s=30) == seen
    assert script.requests == []


@pytest.mark.parametrize(
    ("not_before_s", "limit_s"),
    [
        pytest.param(None, 10, id="older than their limit"),
        pytest.param(5, 30, id="from before our own last action"),
    ],
)
def test_positions_beyond_their_own_limit_are_read_anew(
    script: Script, client: Client, live: LiveView, not_before_s: int | None, limit_s: int
) -> None:
    put_apart(live, price_age_s=0, positions_age_s=20)
    script.then(RUNNING)
    not_before = None if not_before_s is None else datetime.now(UTC) - not_before_s * SECOND
    seen = client.snapshot(5, not_before, positions_max_age_s=limit_s)
    assert (seen.quote.source, seen.positions.source) == (Source.STREAM, Source.REST)


def test_the_price_has_its_own_limit_however_old_the_positions_may_be(
    script: Script, client: Client, live: LiveView
) -> None:
    put_apart(live, price_age_s=6, positions_age_s=20)
    script.then(TICKER)
    seen = client.snapshot(5, positions_max_age_s=30)
    assert (seen.quote.source, seen.positions.source) == (Source.REST, Source.STREAM)


def late_client(script: Script, live: LiveView | None, *, by_s: float) -> Client:
    """Return a client to which each answer seems to have taken so long."""
    return Client(
        client_of(script.endpoints),
        live,
        account_id=7,
        network="paper",
        now=lambda: datetime.now(UTC) + by_s * SECOND,
    )


def test_an_answer_that_took_6_s_is_enough_where_30_s_are(script: Script, live: LiveView) -> None:
    late = late_client(script, live, by_s=6)
    put_apart(live, price_age_s=-6, positions_age_s=60)
    script.then(RUNNING, RUNNING)
    assert late.snapshot(5, positions_max_age_s=30).positions.source is Source.REST
    put_apart(live, price_age_s=-6, positions_age_s=0)
    with pytest.raises(TransientError, match="longer to answer than the 5 s"):
        late.positions(5, datetime.now(UTC))
    assert live.read(None, 7).positions is not None, "whoever may use them finds them there"


def test_an_answer_about_the_cross_position_has_the_same_limit(script: Script) -> None:
    at = [datetime(2026, 1, 1, tzinfo=UTC)]

    def later() -> datetime:
        at[0] += 6 * SECOND
        return at[0]

    flat = Answer(content=json.dumps(documents.cross_position(quantity=0)))
    script.then(flat, flat, flat)
    client = Client(client_of(script.endpoints), account_id=7, network="paper", now=later)
    assert client.cross(30).positions == ()
    assert client.cross().positions == ()
    with pytest.raises(TransientError, match="longer to answer than the 5 s"):
        client.cross(5)


def test_a_price_that_came_while_the_positions_were_read_is_used(
    script: Script, client: Client, live: LiveView
) -> None:
    put(live, age_s=6)
    script.then(replace(RUNNING, delay_s=0.2))
    with ThreadPoolExecutor(1) as threads:
        reading = threads.submit(client.snapshot, 5)
        wait_until(lambda: script.requests, what="the positions are asked for")
        put_apart(live, price_age_s=0, positions_age_s=6)
        assert reading.result().quote.source is Source.STREAM


def test_where_a_reading_fails_another_s_is_used_while_it_is_fresh_enough(
    script: Script, client: Client, live: LiveView
) -> None:
    put(live, age_s=40)
    script.then(Answer(status=503, delay_s=0.2), Answer(status=503, delay_s=0.2))
    with ThreadPoolExecutor(1) as threads:
        reading = threads.submit(client.positions, 30)
        wait_until(lambda: script.requests, what="the positions are asked for")
        put(live, age_s=10)
        assert reading.result().source is Source.STREAM

    with pytest.raises(TransientError):
        client.positions(5)


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
