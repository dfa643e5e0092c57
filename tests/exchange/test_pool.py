import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import UTC, datetime
from decimal import Decimal

import pytest

from exchange.auth import Credentials
from exchange.config import Endpoints, PoolPace, Retries, StreamCaps, Timeouts
from exchange.errors import KeyRefusedError, TransientError
from exchange.formulas import Side
from exchange.money import Usd
from exchange.pool import Member, SessionPool
from exchange.position import PositionsSnapshot
from exchange.rest import RestClient
from exchange.simulator.running import Simulator
from exchange.topics import ISOLATED_TRADES
from exchange.trade import NewTrade
from tests.exchange.places import endpoints_of
from tests.exchange.stream_script import StreamScript, scripted_stream
from tests.exchange.unlimited import Unlimited
from tests.waiting import wait_until

QUICK = Timeouts(
    connect_s=1, read_s=1, heartbeat_s=0.1, silence_s=2, reconnect_first_s=0.02, reconnect_most_s=0.1
)
PACE = PoolPace(
    stale_s=0.4,
    poll_s=0.2,
    poll_empty_s=0.2,
    retry_s=0.1,
    reread_s=5,
    idle_s=60,
    swap_s=0,
    swap_margin=0.05,
)
ROOMY = StreamCaps(authentications_per_minute=1000)


class Log:
    """What the pool told, by account."""

    def __init__(self) -> None:
        self.snapshots: dict[int, list[PositionsSnapshot]] = {}
        self.refusals: dict[int, str] = {}
        self.fallbacks: list[int] = []
        self.recoveries: list[int] = []

    def positions(self, account_id: int, snapshot: PositionsSnapshot) -> None:
        self.snapshots.setdefault(account_id, []).append(snapshot)

    def refused(self, account_id: int, credentials: Credentials, why: str) -> None:
        self.refusals[account_id] = why
        self.refused_with = credentials

    def fallback_activated(self, account_id: int, why: str) -> None:
        assert why
        self.fallbacks.append(account_id)

    def stream_recovered(self, account_id: int) -> None:
        self.recoveries.append(account_id)


@pytest.fixture
def venue() -> Iterator[Simulator]:
    with Simulator(accounts=4) as venue:
        yield venue


@pytest.fixture
def log() -> Log:
    return Log()


Open = Callable[..., SessionPool]


@pytest.fixture
def open_pool(venue: Simulator, log: Log) -> Iterator[Open]:
    """Start pools to the venue that are stopped with the test."""
    pools: list[SessionPool] = []

    def start(
        *, caps: StreamCaps = ROOMY, pace: PoolPace = PACE, stream_url: str | None = None
    ) -> SessionPool:
        place = endpoints_of(venue)
        endpoints = replace(place, stream_url=stream_url or place.stream_url)
        pool = SessionPool(endpoints, log, caps=caps, pace=pace, timeouts=QUICK)
        pool.start()
        pools.append(pool)
        return pool

    yield start
    for pool in pools:
        assert pool.stop(), "the pool leaves no thread behind"


def rest_of(endpoints: Endpoints, credentials: Credentials) -> RestClient:
    return RestClient(endpoints, credentials, limiter=Unlimited(), retries=Retries(attempts=1))


def member(
    venue: Simulator, number: int, *, read: Callable[[], PositionsSnapshot] | None = None
) -> Member:
    credentials = venue.accounts[number].credentials
    rest = rest_of(endpoints_of(venue), credentials)
    return Member(
        account_id=number,
        name=f"account {number}",
        credentials=credentials,
        read=read or rest.positions,
    )


def buy(venue: Simulator, number: int) -> None:
    rest = rest_of(endpoints_of(venue), venue.accounts[number].credentials)
    rest.open_trade(NewTrade(side=Side.BUY, leverage=Decimal(10), quantity=Usd(10)))


def wait_live(pool: SessionPool, count: int) -> None:
    wait_until(lambda: pool.counts().live == count, what=f"{count} sessions are live")


def test_every_account_gets_its_session_and_its_positions(
    venue: Simulator, open_pool: Open, log: Log
) -> None:
    buy(venue, 1)
    pool = open_pool()
    for number in range(4):
        pool.follow(member(venue, number))
    wait_live(pool, 4)
    assert {key: len(told[-1].positions) for key, told in log.snapshots.items()} == {
        0: 0, 1: 1, 2: 0, 3: 0,
    }  # fmt: skip
    assert log.fallbacks == []


def test_an_event_has_the_positions_read_at_once(venue: Simulator, open_pool: Open, log: Log) -> None:
    pool = open_pool()
    pool.follow(member(venue, 0))
    wait_live(pool, 1)
    buy(venue, 0)
    wait_until(lambda: log.snapshots[0][-1].positions, what="the new position")


def test_so_has_a_push_that_cannot_be_read(venue: Simulator, open_pool: Open, log: Log) -> None:
    pool = open_pool()
    pool.follow(member(venue, 0))
    wait_live(pool, 1)
    venue.fault("garbage", topic=ISOLATED_TRADES)
    buy(venue, 0)
    wait_until(lambda: log.snapshots[0][-1].positions, within_s=4, what="the new position")


def test_signs_of_life_keep_positions_fresh_without_reading(
    venue: Simulator, open_pool: Open, log: Log
) -> None:
    pool = open_pool()
    pool.follow(member(venue, 0))
    wait_live(pool, 1)
    read_at = log.snapshots[0][-1].at
    wait_until(
        lambda: (log.snapshots[0][-1].fresh_at - read_at).total_seconds() > 0.5,
        what="confirmations",
    )
    assert log.snapshots[0][-1].at - read_at < log.snapshots[0][-1].fresh_at - read_at


def test_accounts_beyond_the_cap_are_polled(venue: Simulator, open_pool: Open, log: Log) -> None:
    pool = open_pool(caps=replace(ROOMY, sockets=3))
    for number in range(4):
        pool.follow(member(venue, number))
    wait_live(pool, 2)
    wait_until(
        lambda: all(len(log.snapshots.get(number, [])) > 3 for number in range(4)),
        what="readings of every account",
    )
    assert pool.counts().sockets == 2
    assert log.fallbacks == []


def test_the_account_at_most_risk_gets_a_socket_first(
    venue: Simulator, open_pool: Open, log: Log
) -> None:
    pool = open_pool(caps=replace(ROOMY, sockets=2))
    pool.follow(member(venue, 0))
    wait_live(pool, 1)
    pool.follow(member(venue, 1))
    pool.set_risk(1, 0.9)
    told = len(log.snapshots.get(1, []))
    wait_until(lambda: len(log.snapshots.get(1, [])) > told + 1, what="polling")
    wait_until(lambda: confirmed(log, 1), what="the stream of the account at risk")
    assert pool.counts().sockets == 1


def confirmed(log: Log, number: int) -> bool:
    return log.snapshots[number][-1].confirmed_at is not None


def test_a_cut_stream_falls_back_to_rest_and_takes_back(
    venue: Simulator, open_pool: Open, log: Log
) -> None:
    with scripted_stream() as stream:
        pool = open_pool(stream_url=stream.url)
        pool.follow(member(venue, 0))
        wait_live(pool, 1)
        frozen(stream)
        wait_until(lambda: log.fallbacks == [0], what="the fallback")
        read = len(log.snapshots[0])
        wait_until(lambda: len(log.snapshots[0]) > read + 2, what="polling")
        assert pool.counts().fallback == 1
        stream.silent = False
        wait_until(lambda: log.recoveries == [0], what="the stream takes back")
        wait_live(pool, 1)
        assert pool.counts().fallback == 0
        assert log.fallbacks == [0]


def frozen(stream: StreamScript) -> None:
    """Freeze a stream: connections stay open and nothing comes."""
    stream.silent = True


def test_a_frozen_stream_is_given_up_in_five_seconds_and_polled_in_seven(
    venue: Simulator, log: Log
) -> None:
    """The usual settings; the seconds on top are for a busy machine."""
    with scripted_stream() as stream:
        pool = SessionPool(replace(endpoints_of(venue), stream_url=stream.url), log)
        pool.start()
        try:
            pool.follow(member(venue, 0))
            wait_live(pool, 1)
            time.sleep(1.9)  # just before the next sign of life, which will be the last
            frozen(stream)
            frozen_at = datetime.now(UTC)
            wait_until(lambda: log.fallbacks, within_s=7.5, what="the fallback")
            wait_until(
                lambda: log.snapshots[0][-1].at > frozen_at, within_s=3.5, what="a reading by REST"
            )
        finally:
            assert pool.stop()


def test_a_refused_key_is_told_and_disturbs_nobody(venue: Simulator, open_pool: Open, log: Log) -> None:
    wrong = replace(member(venue, 0), credentials=Credentials(key="x", secret="y", passphrase="z"))
    pool = open_pool()
    pool.follow(replace(wrong, read=rest_of(endpoints_of(venue), wrong.credentials).positions))
    pool.follow(member(venue, 1))
    wait_until(lambda: 0 in log.refusals, what="the refusal")
    wait_live(pool, 1)
    assert list(log.refusals) == [0]
    assert log.refused_with == wrong.credentials
    assert pool.counts().refused == 1
    pool.follow(member(venue, 0))
    wait_live(pool, 2)
    assert pool.counts().refused == 0


def test_an_account_that_always_fails_disturbs_nobody(
    venue: Simulator, open_pool: Open, log: Log
) -> None:
    tried = threading.Event()

    def never() -> PositionsSnapshot:
        tried.set()
        raise TransientError("LN Markets gave no answer")

    pool = open_pool()
    pool.follow(member(venue, 0, read=never))
    pool.follow(member(venue, 1))
    wait_live(pool, 1)
    assert tried.wait(3)
    buy(venue, 1)
    wait_until(lambda: log.snapshots[1][-1].positions, what="the other's position")
    assert 0 not in log.snapshots


def test_a_fault_in_whoever_listens_stops_no_reading(venue: Simulator) -> None:
    class Broken(Log):
        def positions(self, account_id: int, snapshot: PositionsSnapshot) -> None:
            super().positions(account_id, snapshot)
            raise ZeroDivisionError

        def fallback_activated(self, account_id: int, why: str) -> None:
            super().fallback_activated(account_id, why)
            raise ZeroDivisionError

    log = Broken()
    pool = SessionPool(endpoints_of(venue), log, caps=ROOMY, pace=PACE, timeouts=QUICK)
    pool.start()
    try:
        pool.follow(member(venue, 0))
        wait_until(lambda: log.fallbacks == [0], what="a fallback, as no session lasts")
        told = len(log.snapshots[0])
        wait_until(lambda: len(log.snapshots[0]) > told + 3, what="more readings")
    finally:
        assert pool.stop()


def test_an_account_without_positions_gives_its_socket_back(
    venue: Simulator, open_pool: Open, log: Log
) -> None:
    buy(venue, 1)
    pool = open_pool(pace=replace(PACE, idle_s=0.5))
    pool.follow(member(venue, 0))
    pool.follow(member(venue, 1))
    wait_live(pool, 2)
    wait_until(lambda: pool.counts().sockets == 1, what="one socket is back")
    assert pool.counts().live == 1
    buy(venue, 0)
    wait_live(pool, 2)
    assert log.fallbacks == []


def test_an_account_no_longer_followed_is_told_of_no_more(
    venue: Simulator, open_pool: Open, log: Log
) -> None:
    pool = open_pool()
    pool.follow(member(venue, 0))
    wait_live(pool, 1)
    pool.unfollow(0)
    wait_until(lambda: pool.counts().sockets == 0, what="its socket is closed")
    told = len(log.snapshots[0])
    buy(venue, 0)
    pool.follow(member(venue, 1))
    wait_live(pool, 1)
    assert len(log.snapshots[0]) == told


def test_our_own_change_has_the_positions_read_at_once(
    venue: Simulator, open_pool: Open, log: Log
) -> None:
    pool = open_pool()
    pool.follow(member(venue, 0))
    wait_live(pool, 1)
    read_at = log.snapshots[0][-1].at
    pool.reread(0)
    wait_until(lambda: log.snapshots[0][-1].at > read_at, what="a newer reading")


def test_sessions_dial_no_faster_than_the_exchange_allows(
    venue: Simulator, open_pool: Open, log: Log
) -> None:
    pool = open_pool(caps=replace(ROOMY, authentications_per_minute=2))
    for number in range(4):
        pool.follow(member(venue, number))
    wait_live(pool, 2)
    wait_until(lambda: len(log.snapshots.get(3, [])) > 5, what="polling of the others")
    assert pool.counts().live == 2
    assert log.fallbacks == []  # who waits for a turn has lost nothing


def test_following_again_with_the_same_key_goes_on_with_the_new_way_to_read(
    venue: Simulator, open_pool: Open, log: Log
) -> None:
    pool = open_pool()
    pool.follow(member(venue, 0))
    wait_live(pool, 1)
    read = threading.Event()

    def reading() -> PositionsSnapshot:
        read.set()
        return member(venue, 0).read()

    pool.follow(member(venue, 0, read=reading))
    pool.reread(0)
    assert read.wait(2)
    assert log.fallbacks == []
    assert pool.counts().live == 1


def test_a_new_key_gets_a_new_session(venue: Simulator, open_pool: Open, log: Log) -> None:
    pool = open_pool()
    pool.follow(member(venue, 0))
    wait_live(pool, 1)
    buy(venue, 1)
    pool.follow(replace(member(venue, 1), account_id=0))
    wait_until(lambda: log.snapshots[0][-1].positions, what="the new key's positions")
    wait_live(pool, 1)


def test_accounts_nobody_follows_are_no_concern(open_pool: Open) -> None:
    pool = open_pool()
    pool.set_risk(99, 1.0)
    pool.reread(99)
    pool.unfollow(99)
    assert pool.counts().members == 0


def test_a_reading_that_is_refused_once_is_told_and_asked_again(
    venue: Simulator, open_pool: Open, log: Log
) -> None:
    refusals = iter([KeyRefusedError("refused once")])

    def reading() -> PositionsSnapshot:
        for refusal in refusals:
            raise refusal
        return member(venue, 0).read()

    pool = open_pool()
    pool.follow(member(venue, 0, read=reading))
    wait_live(pool, 1)
    assert log.refusals == {0: "refused once"}
    assert log.snapshots[0], "it was read after all"
    assert pool.counts().refused == 0


def test_a_key_that_only_the_stream_refuses_is_told_and_read_by_rest(
    venue: Simulator, open_pool: Open, log: Log
) -> None:
    wrong = Credentials(key="x", secret="y", passphrase="z")
    pool = open_pool()
    pool.follow(replace(member(venue, 0), credentials=wrong))
    wait_until(lambda: 0 in log.refusals, what="the refusal by the stream")
    refused_at = datetime.now(UTC)
    wait_until(
        lambda: 0 in log.snapshots and log.snapshots[0][-1].at > refused_at, what="a reading after it"
    )
    assert "on the stream" in log.refusals[0]


def test_garbage_on_an_account_s_stream_changes_nothing(
    venue: Simulator, open_pool: Open, log: Log
) -> None:
    with scripted_stream() as stream:
        pool = open_pool(stream_url=stream.url)
        pool.follow(member(venue, 0))
        wait_live(pool, 1)
        stream.say("garbage")
        wait_until(lambda: confirmed(log, 0), what="a sign of life after it")
        assert log.fallbacks == []
