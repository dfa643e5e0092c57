import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest
from redis import Redis

from exchange.config import Rate
from exchange.ratelimit import Scope
from exchange.reach import connect
from exchange.sharedlimit import SharedLimiter

PER_S = 50.0


@pytest.fixture
def redis(redis_url: str) -> Iterator[Redis]:
    with connect(redis_url) as redis:
        yield redis


def limiter(redis: Redis, *, burst: int = 1, reserve: float = 0.0) -> SharedLimiter:
    """Return what one of our processes would hold."""
    rate = Rate(per_s=PER_S, burst=burst, reserve=reserve)
    return SharedLimiter(redis, {Scope.PRIVATE: rate, Scope.PUBLIC: rate})


def taken_within(limiter: SharedLimiter, seconds: float, *, protective: bool = False) -> int:
    """Return how many slots one greedy caller takes in that time."""
    ends_at, taken = time.monotonic() + seconds, 0
    while (now := time.monotonic()) < ends_at:
        wait_s = limiter.wait_s(Scope.PRIVATE, "key", protective=protective)
        taken += wait_s == 0
        time.sleep(min(wait_s, ends_at - now))
    return taken


def test_all_processes_together_keep_the_rate(redis: Redis, redis_url: str) -> None:
    with connect(redis_url) as other, ThreadPoolExecutor(2) as threads:
        both = [limiter(redis), limiter(other)]
        taken = list(threads.map(lambda each: taken_within(each, 0.5), both))
    assert 15 <= sum(taken) <= 26
    assert min(taken) > 0


def test_ordinary_calls_leave_the_reserve_to_protective_ones(redis: Redis) -> None:
    held = limiter(redis, reserve=0.5)
    assert taken_within(held, 0.4) <= 11
    deadline = time.monotonic() + 1 / PER_S
    while held.wait_s(Scope.PRIVATE, "key", protective=True) > 0:
        assert time.monotonic() <= deadline, "a protective call waits one slot at most"


def test_a_burst_is_allowed_where_the_rate_says_so(redis: Redis) -> None:
    held = limiter(redis, burst=3)
    waits = [held.wait_s(Scope.PRIVATE, "key", protective=False) for _ in range(4)]
    assert waits[:3] == [0, 0, 0]
    assert 0 < waits[3] <= 1 / PER_S


def test_all_processes_obey_the_patience_one_was_asked_for(redis: Redis, redis_url: str) -> None:
    with connect(redis_url) as other:
        limiter(redis).hold(Scope.PRIVATE, "key", after_s=7)
        limiter(redis).hold(Scope.PRIVATE, "key", after_s=3)
        told = limiter(other)
        wait_s = told.wait_s(Scope.PRIVATE, "key", protective=True)
        assert wait_s == pytest.approx(7, abs=0.5)
        assert told.wait_s(Scope.PRIVATE, "other", protective=False) == 0
        assert told.wait_s(Scope.PUBLIC, "key", protective=False) == 0


def test_nothing_is_kept_for_ever(redis: Redis) -> None:
    held = limiter(redis)
    held.wait_s(Scope.PRIVATE, "key", protective=False)
    held.hold(Scope.PUBLIC, "key", after_s=90)
    assert 0 < redis.pttl("rate:private:key") <= 60_000
    assert 90_000 < redis.pttl("rate:public:key") <= 150_000


def test_without_redis_each_process_takes_a_part_of_the_rate() -> None:
    held = SharedLimiter(connect("redis://127.0.0.1:1/0"), {Scope.PRIVATE: Rate(per_s=100)})
    assert 8 <= taken_within(held, 0.4) <= 11


def test_without_redis_patience_is_still_obeyed() -> None:
    held = limiter(connect("redis://127.0.0.1:1/0"))
    held.hold(Scope.PRIVATE, "key", after_s=7)
    assert held.wait_s(Scope.PRIVATE, "key", protective=True) == pytest.approx(7, abs=0.5)
