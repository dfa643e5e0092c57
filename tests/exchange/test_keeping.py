from dataclasses import replace
from datetime import UTC, datetime, timedelta
from math import inf

import pytest

from exchange.config import PoolPace
from exchange.keeping import Care, Keeping
from exchange.market import Source
from exchange.position import PositionsSnapshot
from exchange.unreadable import Unreadable
from exchange.wire import one, position
from tests.exchange import documents

START = datetime(2026, 1, 1, tzinfo=UTC)
SECOND = timedelta(seconds=1)
PACE = PoolPace(
    stale_s=5, poll_s=4, poll_empty_s=20, empty_per_s=50, retry_s=1, retry_most_s=15, idle_s=300
)
POSITION = one(position)(documents.running_trade(), "here")


def snapshot(at_s: float = 0, *, count: int = 1) -> PositionsSnapshot:
    return PositionsSnapshot(
        positions=(POSITION,) * count, at=START + at_s * SECOND, source=Source.REST
    )


def kept(*, live: bool = False) -> Keeping:
    """Return an account that was read, and last heard, at second 0."""
    keeping = Keeping(pace=PACE, since_s=0)
    keeping.begin_reading(0)
    keeping.read(snapshot(), 0)
    keeping.live, keeping.heard_s = live, 0 if live else -inf
    return keeping


def test_what_cannot_be_read_is_read_again_soon_and_then_as_often_as_without_a_stream() -> None:
    keeping = kept(live=True)
    row = Unreadable(id="t", label=None, fault="side is hold")
    waits = []
    for at_s in (1, 2, 3, 4):
        keeping.begin_reading(at_s)
        keeping.read(replace(snapshot(at_s, count=0), unreadable=(row,)), at_s)
        waits.append(keeping.due_s(at_s, 15) - at_s)
    assert waits == [1, 2, 4, 4]
    assert keeping.empty_since_s is None, "something runs"
    keeping.begin_reading(5)
    keeping.read(snapshot(5), 5)
    assert keeping.due_s(5, 15) == 20


def test_an_account_never_read_is_due_at_once() -> None:
    assert Keeping(pace=PACE, since_s=0).due_s(7, 4) == 7


@pytest.mark.parametrize(
    ("live", "now_s", "care"),
    [
        pytest.param(False, 1, Care.POLLED, id="without a stream"),
        pytest.param(True, 1, Care.STREAM, id="with one"),
        pytest.param(True, 5.1, Care.POLLED, id="not heard for long: REST has taken over"),
    ],
)
def test_what_keeps_an_account_fresh(*, live: bool, now_s: float, care: Care) -> None:
    assert kept(live=live).care(now_s) is care


@pytest.mark.parametrize(
    ("live", "fallback", "care"),
    [
        pytest.param(False, False, Care.EMPTY, id="nothing to lose"),
        pytest.param(False, True, Care.POLLED, id="a stream fell silent, and may hide a position"),
        pytest.param(True, False, Care.STREAM, id="with a stream like any other"),
    ],
)
def test_what_keeps_an_account_without_positions_fresh(
    *, live: bool, fallback: bool, care: Care
) -> None:
    keeping = kept(live=live)
    keeping.read(snapshot(count=0), 0)
    keeping.fallback = fallback

    assert keeping.care(1) is care


@pytest.mark.parametrize(
    ("accounts", "every_s"),
    [
        pytest.param(0, 4, id="none"),
        pytest.param(200, 4, id="as many as the readings suffice for at the usual pace"),
        pytest.param(500, 10, id="more share them"),
        pytest.param(1_000_000, 20, id="up to an end"),
    ],
)
def test_how_often_accounts_without_positions_are_read(accounts: int, every_s: float) -> None:
    assert PACE.empty_s(accounts) == every_s


def test_the_next_reading_is_due_a_pace_after_the_last_began() -> None:
    keeping = kept()
    keeping.begin_reading(3)
    assert keeping.due_s(5, 4) == 7


def test_an_event_makes_a_reading_due_at_once() -> None:
    keeping = kept(live=True)
    keeping.happened(START + SECOND, 1)
    assert keeping.due_s(1, 4) == 1
    keeping.begin_reading(1)
    assert keeping.due_s(2, 4) == 5


def test_nothing_is_due_while_a_reading_runs() -> None:
    keeping = kept()
    keeping.reading = True
    assert keeping.due_s(100, 4) == inf


@pytest.mark.parametrize(("failures", "due_s"), [(1, 1), (2, 2), (3, 4), (4, 8), (5, 15), (5000, 15)])
def test_failed_readings_are_repeated_ever_more_rarely(failures: int, due_s: float) -> None:
    keeping = kept()
    for _ in range(failures):
        keeping.failed(0)
    assert keeping.due_s(0, 4) == due_s
    keeping.read(snapshot(1), 1)
    assert keeping.due_s(0, 4) == 4


def test_the_exchange_s_wish_for_patience_is_heeded() -> None:
    keeping = kept()
    keeping.failed(60)
    assert keeping.due_s(0, 4) == 60


def test_a_stream_not_heard_for_long_is_lost() -> None:
    keeping = kept(live=True)
    assert not keeping.is_lost(5)
    assert keeping.is_lost(5.1)
    keeping.confirmed(START + SECOND, 5.1)
    assert not keeping.is_lost(5.1)


def test_an_older_reading_changes_nothing() -> None:
    keeping = kept()
    assert not keeping.read(snapshot(-1, count=0), 1)
    assert keeping.snapshot == snapshot()


def test_a_sign_of_life_confirms_what_was_read() -> None:
    keeping = kept(live=True)
    confirmed = keeping.confirmed(START + 2 * SECOND, 2)
    assert confirmed is not None
    assert (confirmed.at, confirmed.fresh_at) == (START, START + 2 * SECOND)


def test_nothing_is_confirmed_that_was_read_before_an_event() -> None:
    keeping = kept(live=True)
    keeping.happened(START + SECOND, 1)
    assert keeping.confirmed(START + 2 * SECOND, 2) is None
    keeping.read(snapshot(1), 2)
    assert keeping.confirmed(START + 2 * SECOND, 2) is None
    keeping.read(snapshot(1.5), 2)
    assert keeping.confirmed(START + 2 * SECOND, 2) is not None


def test_a_reading_newer_than_the_sign_of_life_needs_no_confirmation() -> None:
    keeping = kept(live=True)
    assert keeping.confirmed(START - SECOND, 1) is None


def test_nothing_is_confirmed_by_a_session_that_is_not_live() -> None:
    assert kept().confirmed(START + SECOND, 1) is None


def test_an_account_without_positions_for_long_is_idle_until_it_has_one() -> None:
    keeping = kept()
    assert not keeping.is_idle(10_000)
    keeping.read(snapshot(1, count=0), 1)
    keeping.read(snapshot(2, count=0), 2)
    assert not keeping.is_idle(301)
    assert keeping.is_idle(301.1)
    keeping.read(snapshot(3), 400)
    assert not keeping.is_idle(400)
