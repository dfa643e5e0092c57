"""The client under the faults it must survive; effects are counted at the paper exchange."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from decimal import Decimal
from typing import Any

import pytest

from exchange.config import Retries, StreamCaps, Timeouts
from exchange.errors import ExchangeError, TransientError, UnknownOutcomeError
from exchange.events import BadFrame, PriceTick, StreamEvent, TradeEvent
from exchange.formulas import Side
from exchange.money import Sats, Usd
from exchange.pool import Member, SessionPool
from exchange.position import Position
from exchange.protocol import State
from exchange.rest import RestClient
from exchange.session import StreamSession
from exchange.simulator.running import Simulator
from exchange.topics import ISOLATED_TRADES, LAST_PRICE
from exchange.trade import NewTrade
from tests.exchange.places import endpoints_of
from tests.exchange.test_pool import PACE, Log
from tests.exchange.unlimited import Unlimited
from tests.waiting import wait_until

IMPATIENT = Timeouts(
    connect_s=1, read_s=0.5, heartbeat_s=0.1, silence_s=2, reconnect_first_s=0.02, reconnect_most_s=0.1
)
QUICK_PACE = replace(PACE, reread_s=1)
ADD_MARGIN = "/v3/futures/isolated/trade/add-margin"
RUNNING = "/v3/futures/isolated/trades/running"


@pytest.fixture
def rest(venue: Simulator) -> RestClient:
    return rest_of(venue)


def rest_of(venue: Simulator, number: int = 0) -> RestClient:
    return RestClient(
        endpoints_of(venue),
        venue.accounts[number].credentials,
        timeouts=IMPATIENT,
        retries=Retries(attempts=3, first_s=0.01),
        limiter=Unlimited(),
    )


@pytest.fixture
def position(rest: RestClient) -> Position:
    opened = rest.open_trade(NewTrade(side=Side.BUY, leverage=Decimal(10), quantity=Usd(1000)))
    assert isinstance(opened, Position)
    return opened


def applied(venue: Simulator) -> int:
    """Return how many top-ups took effect at the exchange."""
    return sum(write.applied and write.path == ADD_MARGIN for write in venue.writes())


def received(venue: Simulator) -> int:
    return sum(write.path == ADD_MARGIN for write in venue.writes())


@pytest.mark.parametrize(
    ("fault", "error", "effects"),
    [
        pytest.param({"kind": "lost_answer"}, UnknownOutcomeError, 1, id="applied, answer lost"),
        pytest.param(
            {"kind": "late_answer", "ms": 800}, UnknownOutcomeError, 1, id="applied, answer late"
        ),
        pytest.param({"kind": "drop"}, UnknownOutcomeError, 0, id="cut before it was applied"),
        pytest.param({"kind": "status", "status": 503}, TransientError, 0, id="503: no engine"),
        pytest.param({"kind": "status", "status": 429}, TransientError, 0, id="429: not yet"),
        pytest.param({"kind": "status", "status": 500}, UnknownOutcomeError, 0, id="500"),
        pytest.param({"kind": "status", "status": 502}, UnknownOutcomeError, 0, id="502"),
        pytest.param({"kind": "status", "status": 504}, UnknownOutcomeError, 0, id="504"),
    ],
)
def test_a_write_is_sent_once_and_its_error_says_what_may_have_happened(
    venue: Simulator,
    rest: RestClient,
    position: Position,
    *,
    fault: dict[str, Any],
    error: type[ExchangeError],
    effects: int,
) -> None:
    venue.fault(path=ADD_MARGIN, **fault)
    with pytest.raises(ExchangeError) as caught:
        rest.add_margin(position.id, Sats(1000))
    assert type(caught.value) is error
    wait_until(lambda: applied(venue) == effects, what="the effect")
    assert received(venue) == 1
    assert rest.running_trades()[0].margin == position.margin + 1000 * effects


@pytest.mark.parametrize(
    "fault",
    [
        pytest.param({"kind": "drop"}, id="cut"),
        pytest.param({"kind": "late_answer", "ms": 800}, id="too late"),
        pytest.param({"kind": "status", "status": 502}, id="502"),
        pytest.param({"kind": "status", "status": 503}, id="503"),
    ],
)
def test_a_read_survives_a_passing_fault(
    venue: Simulator, rest: RestClient, position: Position, fault: dict[str, Any]
) -> None:
    venue.fault(path=RUNNING, **fault)
    assert rest.running_trades() == (position,)


def test_an_exchange_that_refuses_connections_did_nothing(
    venue: Simulator, rest: RestClient, position: Position
) -> None:
    rest.close_connections()
    venue.fault("refuse", ms=300)
    with pytest.raises(TransientError, match="cannot be reached"):
        rest.add_margin(position.id, Sats(1000))
    assert received(venue) == 0
    venue.clear_faults()
    assert rest.add_margin(position.id, Sats(1000)).margin == position.margin + 1000


def test_a_fault_of_one_account_is_not_another_s(venue: Simulator, rest: RestClient) -> None:
    venue.fault("status", status=500, next=100, account=venue.accounts[0].credentials.key)
    with pytest.raises(TransientError):
        rest.account()
    assert rest_of(venue, 1).account().balance > 0


@contextmanager
def listening(
    venue: Simulator, *, private: bool = False
) -> Iterator[tuple[StreamSession, list[StreamEvent]]]:
    events: list[StreamEvent] = []
    credentials = venue.accounts[0].credentials if private else None
    session = StreamSession(
        endpoints_of(venue).stream_url,
        credentials,
        [ISOLATED_TRADES] if private else [LAST_PRICE],
        events.append,
        timeouts=IMPATIENT,
    )
    session.start()
    try:
        wait_until(lambda: session.state is State.LIVE, what="the session is live")
        yield session, events
    finally:
        session.stop()


def prices(events: list[StreamEvent]) -> list[Decimal]:
    return [each.price for each in events if isinstance(each, PriceTick)]


@pytest.mark.parametrize(
    ("fault", "told", "bad"),
    [
        pytest.param({"kind": "garbage"}, [102], 1, id="garbage: told as such"),
        pytest.param({"kind": "null_price"}, [102], 1, id="null price: no price"),
        pytest.param({"kind": "duplicate"}, [101, 101, 102], 0, id="twice: told twice"),
        pytest.param({"kind": "out_of_order"}, [102, 101], 0, id="out of order: told so"),
        pytest.param({"kind": "missing"}, [102], 0, id="missing: nothing replays it"),
        pytest.param(
            {"kind": "spike", "share": -0.3}, [Decimal("70.5"), 102], 0, id="spike: told as it is"
        ),
    ],
)
def test_what_comes_wrong_on_the_stream_ends_no_session(
    venue: Simulator, *, fault: dict[str, Any], told: list[Decimal | int], bad: int
) -> None:
    with listening(venue) as (session, events):
        venue.fault(topic=LAST_PRICE, **fault)
        venue.set_price(101)
        venue.set_price(102)
        wait_until(lambda: len(prices(events)) == len(told), what="the prices")
        assert prices(events) == told
        assert sum(isinstance(each, BadFrame) for each in events) == session.bad_frames == bad
        assert (session.state, session.connections) == (State.LIVE, 1)


@pytest.mark.parametrize("kind", ["cut", "half_open"])
def test_a_session_comes_back_from_a_broken_connection(venue: Simulator, kind: str) -> None:
    with listening(venue, private=True) as (session, events):
        venue.fault(kind)
        wait_until(lambda: session.connections == 2, what="a fresh connection")
        wait_until(lambda: session.state is State.LIVE, what="live again")
        trade = NewTrade(side=Side.BUY, leverage=Decimal(2), quantity=Usd(1))
        opened = rest_of(venue).open_trade(trade)
        wait_until(
            lambda: [e.trade_id for e in events if isinstance(e, TradeEvent)] == [opened.id],
            what="the event of the trade",
        )


Follow = Callable[[Log], SessionPool]


@pytest.fixture
def follow(venue: Simulator) -> Iterator[Follow]:
    """Follow both accounts of the venue; the pool is stopped with the test."""
    pools: list[SessionPool] = []

    def follow(log: Log) -> SessionPool:
        caps = StreamCaps(authentications_per_minute=1000)
        pool = SessionPool(endpoints_of(venue), log, caps=caps, pace=QUICK_PACE, timeouts=IMPATIENT)
        pool.start()
        pools.append(pool)
        for number, account in enumerate(venue.accounts):
            read = rest_of(venue, number).positions
            pool.follow(Member(account_id=number, name="", credentials=account.credentials, read=read))
        wait_until(lambda: pool.counts().live == 2, what="both are live")
        return pool

    yield follow
    for pool in pools:
        assert pool.stop()


def test_a_pool_settles_after_all_sockets_were_cut_at_once(venue: Simulator, follow: Follow) -> None:
    log = Log()
    pool = follow(log)
    venue.fault("refuse", ms=1000)
    venue.cut_streams()
    wait_until(lambda: sorted(log.fallbacks) == [0, 1], what="both fall back")
    wait_until(lambda: sorted(log.recoveries) == [0, 1], what="both recover")
    assert pool.counts().live == 2


def test_a_lost_event_is_made_up_for_by_the_next_reading(venue: Simulator, follow: Follow) -> None:
    log = Log()
    pool = follow(log)
    venue.fault("missing", topic=ISOLATED_TRADES)
    trade = NewTrade(side=Side.BUY, leverage=Decimal(2), quantity=Usd(1))
    rest_of(venue).open_trade(trade)
    wait_until(
        lambda: log.snapshots[0][-1].positions, within_s=QUICK_PACE.reread_s + 2, what="the position"
    )
    assert pool.counts().live == 2


def test_tls_is_spoken_on_both_ways_with_a_certificate_we_trust() -> None:
    with Simulator(tls=True) as venue:
        endpoints = replace(endpoints_of(venue), ca_file=str(venue.certificate))
        credentials = venue.accounts[0].credentials
        rest = RestClient(endpoints, credentials, limiter=Unlimited())
        assert rest.account().balance == venue.balance()
        events: list[StreamEvent] = []
        session = StreamSession(
            endpoints.stream_url, None, [LAST_PRICE], events.append, ca_file=endpoints.ca_file
        )
        session.start()
        wait_until(lambda: session.state is State.LIVE, what="live over TLS")
        for price in range(100, 150):
            venue.set_price(price)
        wait_until(lambda: len(prices(events)) == 50, what="all prices")
        assert session.stop()


def test_a_certificate_we_do_not_trust_is_told_and_nothing_is_sent() -> None:
    with Simulator(tls=True) as venue:
        endpoints, credentials = endpoints_of(venue), venue.accounts[0].credentials
        rest = RestClient(endpoints, credentials, limiter=Unlimited(), retries=Retries(attempts=1))
        with pytest.raises(TransientError, match="cannot be trusted: "):
            rest.cancel_all()
        told: list[str] = []
        session = StreamSession(
            endpoints.stream_url,
            None,
            [LAST_PRICE],
            lambda _: None,
            on_state=lambda state, why: told.append(why) if state is State.WAITING else None,
        )
        session.start()
        wait_until(lambda: told, what="the refusal of the certificate")
        assert session.stop()
        assert "certificate verify failed" in told[0].lower()
