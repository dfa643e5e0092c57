import logging
import time
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal

import pytest
from redis import Redis

from exchange.account import Balance
from exchange.live import LiveView, View, connect, is_fresh
from exchange.market import Quote, Source
from exchange.money import Sats, UsdPerBtc
from exchange.position import CROSS, PositionId, PositionsSnapshot, Regime
from exchange.wire import one, position
from tests.automations.asking import heard
from tests.exchange import documents

NOW = datetime(2026, 1, 1, tzinfo=UTC)
SECOND = timedelta(seconds=1)
BALANCE = Balance(free=Sats(0), at=NOW)
POSITION = one(position)(documents.running_trade(), "here")


@pytest.fixture
def redis(redis_url: str) -> Iterator[Redis]:
    with connect(redis_url) as redis:
        yield redis


@pytest.fixture
def live(redis: Redis) -> LiveView:
    return LiveView(redis)


def quote(at: datetime = NOW, price: str = "100000.5") -> Quote:
    return Quote(price=UsdPerBtc(Decimal(price)), at=at, time_ms=1767225600000, source=Source.STREAM)


def snapshot(at: datetime = NOW, count: int = 1) -> PositionsSnapshot:
    return PositionsSnapshot(positions=(POSITION,) * count, at=at, source=Source.REST)


def test_what_was_put_is_read_back_in_one_round_trip(live: LiveView, redis: Redis) -> None:
    live.put_price("paper", quote())
    live.put_positions(7, snapshot())
    live.put_balance(7, BALANCE)

    with redis.monitor() as commands:  # type: ignore[no-untyped-call]
        assert live.read("paper", 7) == View(quote=quote(), positions=snapshot(), balance=BALANCE)
        assert heard(commands) == ["MGET"]


def test_many_accounts_are_read_in_one_round_trip_each_as_if_alone(
    live: LiveView, redis: Redis
) -> None:
    live.put_price("paper", quote())
    live.put_price("signet", quote(price="5"))
    live.put_positions(7, snapshot())
    live.put_positions(8, snapshot(count=0))
    live.outdate(9, before=NOW + SECOND)
    live.put_positions(9, snapshot())
    asked = [("paper", 7), ("signet", 8), ("paper", 9), ("mainnet", 10), ("paper", None), (None, 7)]

    with redis.monitor() as commands:  # type: ignore[no-untyped-call]
        found = live.read_all(asked)
        assert heard(commands) == ["MGET"]

    assert found == [live.read(network, account_id) for network, account_id in asked]
    assert found[0] == View(quote=quote(), positions=snapshot())
    assert live.read_all([]) == []


def test_an_entry_that_cannot_be_read_makes_no_other_account_unknown(
    live: LiveView, redis: Redis
) -> None:
    live.put_positions(7, snapshot())
    live.put_positions(8, snapshot())
    redis.set("live:7:positions", "of another version")

    assert live.read_all([("paper", 7), ("paper", 8)]) == [View(), View(positions=snapshot())]


def test_a_balance_stays_known_after_a_change_and_the_newest_counts(live: LiveView) -> None:
    live.put_balance(7, BALANCE)
    live.outdate(7, before=NOW + SECOND)
    assert live.read(None, 7).balance == BALANCE, "what was spent since is in our own record"

    newer = replace(BALANCE, at=NOW + SECOND)
    live.put_balance(7, newer)
    live.put_balance(7, BALANCE)
    assert live.read(None, 7).balance == newer


def test_what_was_never_put_is_unknown(live: LiveView) -> None:
    assert live.read("paper", 7) == View()


def test_no_positions_is_not_the_same_as_unknown_positions(live: LiveView) -> None:
    live.put_positions(7, snapshot(count=0))
    held = live.positions(7, max_age_s=5, now=NOW)
    assert held is not None
    assert held.positions == ()


def test_networks_and_accounts_are_kept_apart(live: LiveView) -> None:
    live.put_price("paper", quote())
    live.put_positions(7, snapshot())
    assert live.read("mainnet", 8) == View()


@pytest.mark.parametrize(
    ("age_s", "fresh"),
    [
        pytest.param(0, True, id="now"),
        pytest.param(5, True, id="just young enough"),
        pytest.param(5.001, False, id="too old"),
        pytest.param(-0.9, True, id="our machines' clocks differ a little"),
        pytest.param(-1.1, False, id="from the future: its age is unknown"),
    ],
)
def test_a_value_is_fresh_by_its_age(age_s: float, *, fresh: bool) -> None:
    held = quote(NOW - timedelta(seconds=age_s))
    assert is_fresh(held, max_age_s=5, now=NOW) is fresh


def test_positions_of_every_shape_are_read_back_the_same(live: LiveView) -> None:
    full = documents.running_trade(
        id="b",
        side="sell",
        leverage=Decimal("9.600023400000001"),
        stoploss=Decimal("95000.5"),
        takeprofit=1,
        stoplossTrailingDistance=Decimal("0.02"),
        sumFundingFees=-7,
        sumCashInPl=5,
    )
    bare = documents.running_trade(id="c", filledAt=None, clientId=None)
    held = replace(snapshot(), positions=tuple(one(position)(each, "here") for each in (full, bare)))
    live.put_positions(7, held)
    assert live.read(None, 7).positions == held


def test_a_new_value_replaces_one_we_cannot_read(live: LiveView, redis: Redis) -> None:
    redis.set("live:paper:price", "garbage")
    live.put_price("paper", quote())
    assert live.read("paper", None).quote == quote()


def test_readers_get_nothing_older_than_asked_for(live: LiveView) -> None:
    live.put_price("paper", quote())
    live.put_positions(7, snapshot())
    later = NOW + 3 * SECOND
    assert live.price("paper", max_age_s=3, now=later) == quote()
    assert live.price("paper", max_age_s=2.9, now=later) is None
    assert live.positions(7, max_age_s=3, now=later) == snapshot()
    assert live.positions(7, max_age_s=2.9, now=later) is None


def test_readers_may_ask_for_what_was_seen_after_a_moment(live: LiveView) -> None:
    live.put_positions(7, snapshot())
    assert live.positions(7, max_age_s=60, now=NOW, not_before=NOW) == snapshot()
    assert live.positions(7, max_age_s=60, now=NOW, not_before=NOW + SECOND / 1000) is None


def test_what_the_stream_confirmed_is_as_fresh_as_the_confirmation(live: LiveView) -> None:
    later = NOW + 10 * SECOND
    confirmed = replace(snapshot(), confirmed_at=later)
    live.put_positions(7, snapshot())
    live.put_positions(7, confirmed)
    assert live.positions(7, max_age_s=1, now=later) == confirmed


def test_a_confirmation_does_not_bring_back_what_a_write_outdated(live: LiveView) -> None:
    confirmed = replace(snapshot(), confirmed_at=NOW + 10 * SECOND)
    assert not is_fresh(confirmed, max_age_s=60, now=NOW, not_before=NOW + SECOND)
    live.outdate(7, before=NOW + SECOND)
    live.put_positions(7, confirmed)
    assert live.read(None, 7).positions is None


def test_an_older_value_never_replaces_a_newer_one(live: LiveView) -> None:
    live.put_price("paper", quote(NOW, "2"))
    live.put_price("paper", quote(NOW - SECOND, "1"))
    live.put_positions(7, snapshot(NOW, count=0))
    live.put_positions(7, snapshot(NOW - SECOND))
    assert live.read("paper", 7) == View(quote=quote(NOW, "2"), positions=snapshot(NOW, count=0))


def test_positions_seen_before_the_account_was_changed_are_unknown(live: LiveView) -> None:
    live.put_positions(7, snapshot())
    live.outdate(7, before=NOW + SECOND)
    live.outdate(7, before=NOW)  # an earlier change told late takes nothing back
    assert live.read(None, 7).positions is None
    live.put_positions(7, snapshot(NOW + SECOND))
    assert live.read(None, 7).positions == snapshot(NOW + SECOND)


def test_entries_vanish_by_themselves(live: LiveView, redis: Redis) -> None:
    live.put_price("paper", quote())
    live.put_positions(7, snapshot())
    live.outdate(7, before=NOW)
    keys = redis.keys("live:*")
    assert len(keys) == 3
    assert all(0 < redis.ttl(key) <= 120 for key in keys)


@pytest.mark.parametrize(
    "garbage", ["", "x", "1 stream", "1 other 5 6", "1 stream a b", "1 rest 2 [[1]]", "1 rest 2 {}x"]
)
def test_an_entry_we_cannot_read_is_unknown(live: LiveView, redis: Redis, garbage: str) -> None:
    redis.set("live:paper:price", garbage)
    redis.set("live:7:positions", garbage)
    assert live.read("paper", 7) == View()


def test_without_redis_all_is_unknown_at_once_and_told_once(
    caplog: pytest.LogCaptureFixture,
) -> None:
    moment = [0.0]
    live = LiveView(connect("redis://127.0.0.1:1/0"), clock=lambda: moment[0])
    started = time.monotonic()
    with caplog.at_level(logging.INFO, "exchange.reach"):
        for _ in range(1000):
            live.put_price("paper", quote())
            assert live.read("paper", 7) == View()
        moment[0] += 1  # it is tried again, in vain
        assert live.read("paper", 7) == View()
    assert time.monotonic() - started < 1
    assert [record.message for record in caplog.records] == ["redis out of reach"]


def test_the_live_view_comes_back_with_redis(
    redis: Redis, redis_url: str, caplog: pytest.LogCaptureFixture
) -> None:
    moment = [0.0]
    live = LiveView(redis, clock=lambda: moment[0])
    with Redis.from_url(redis_url) as other, caplog.at_level(logging.INFO, "exchange.reach"):
        other.client_pause(400)
        live.put_price("paper", quote())
        other.ping()  # is answered when the pause is over
        assert live.price("paper", max_age_s=5, now=NOW) is None
        moment[0] += 1
        live.put_price("paper", quote())
        assert live.price("paper", max_age_s=5, now=NOW) == quote()
    assert [record.message for record in caplog.records] == [
        "redis out of reach",
        "redis back in reach",
    ]


def test_a_position_is_known_by_the_answer_to_our_own_write(live: LiveView) -> None:
    """Until it is read anew, the one that was changed is the only one of which more is known."""
    two = (POSITION, replace(POSITION, id=PositionId("another")))
    before = replace(snapshot(), positions=two)
    others, unseen = before.positions[1].id, PositionId("opened since")
    changed = replace(before.positions[0], margin=Sats(77))
    live.put_positions(7, before)
    live.outdate(7, before=NOW + SECOND, position_id=changed.id)

    assert live.read(None, 7).positions is None, "of all it is not known how they stand"
    assert live.read(None, 7, changed.id).positions is None, "nor of this one, before its answer"
    assert live.read(None, 7, others).positions == before, "another one was not changed"
    assert live.read(None, 7, unseen).positions is None, "one that is not there may be there by now"

    live.put_answer(7, changed, at=NOW + 2 * SECOND)
    found = live.read(None, 7, changed.id).positions
    assert found is not None
    assert (found.positions, found.at) == ((changed,), NOW + 2 * SECOND)

    live.put_positions(7, snapshot(NOW + 3 * SECOND))
    assert live.read(None, 7, changed.id).positions == snapshot(NOW + 3 * SECOND), "read since"


def test_the_answer_on_the_cross_position_says_nothing_of_the_trades(live: LiveView) -> None:
    held = replace(snapshot().positions[0], id=CROSS, regime=Regime.CROSS)
    live.put_positions(7, snapshot())
    live.put_answer(7, held, at=NOW + SECOND)

    found = live.read(None, 7, CROSS)

    assert found.cross is not None
    assert found.cross.positions == (held,)
    assert found.positions == snapshot()
