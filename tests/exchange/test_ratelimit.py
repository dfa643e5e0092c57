import pytest

from exchange.config import Rate
from exchange.ratelimit import LocalLimiter, Scope, TokenBucket


class Clock:
    """A clock that stands until it is moved; it starts late, as a monotonic one may."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


def taken_within(bucket: TokenBucket, clock: Clock, seconds: float, *, protective: bool) -> int:
    """Return how many slots one greedy caller takes in that time."""
    ends_at, taken = clock.now + seconds, 0
    while clock.now < ends_at - 1e-9:
        wait_s = bucket.wait_s(protective=protective)
        taken += wait_s == 0
        clock.now += wait_s
    return taken


@pytest.mark.parametrize(
    ("rate", "protective", "taken"),
    [
        pytest.param(Rate(per_s=5), False, 50, id="no more than the rate"),
        pytest.param(Rate(per_s=5, burst=5), False, 54, id="a burst comes on top, once"),
        pytest.param(Rate(per_s=5, reserve=0.2), False, 40, id="ordinary calls leave the reserve"),
        pytest.param(Rate(per_s=5, reserve=0.2), True, 50, id="protective ones may use all"),
    ],
)
def test_a_bucket_keeps_the_rate(clock: Clock, rate: Rate, *, protective: bool, taken: int) -> None:
    bucket = TokenBucket(rate, clock=clock)
    assert taken_within(bucket, clock, 10, protective=protective) == taken


def test_calls_are_spread_evenly_where_no_burst_is_allowed(clock: Clock) -> None:
    bucket = TokenBucket(Rate(per_s=5), clock=clock)
    assert bucket.wait_s() == 0
    assert bucket.wait_s() == pytest.approx(0.2)


def test_idle_time_saves_up_no_more_than_the_burst(clock: Clock) -> None:
    bucket = TokenBucket(Rate(per_s=5, burst=2), clock=clock)
    clock.now += 60
    assert [bucket.wait_s() for _ in range(3)] == [0, 0, pytest.approx(0.2)]


def test_under_full_ordinary_load_a_protective_call_gets_the_next_slot(clock: Clock) -> None:
    bucket = TokenBucket(Rate(per_s=5, reserve=0.2), clock=clock)
    taken_within(bucket, clock, 5, protective=False)
    assert bucket.wait_s() == 0
    clock.now += 0.2
    assert bucket.wait_s() > 0
    assert bucket.wait_s(protective=True) == 0


def test_nobody_passes_while_the_exchange_asks_for_patience(clock: Clock) -> None:
    bucket = TokenBucket(Rate(per_s=5), clock=clock)
    bucket.hold(after_s=7)
    bucket.hold(after_s=3)
    assert bucket.wait_s(protective=True) == pytest.approx(7)
    clock.now += 7
    assert bucket.wait_s(protective=True) == 0


def test_owners_and_scopes_are_counted_apart(clock: Clock) -> None:
    rates = {Scope.PUBLIC: Rate(per_s=1), Scope.PRIVATE: Rate(per_s=5)}
    limiter = LocalLimiter(rates, clock=clock)
    limiter.hold(Scope.PRIVATE, "a", after_s=9)
    assert limiter.wait_s(Scope.PRIVATE, "a", protective=True) == pytest.approx(9)
    assert limiter.wait_s(Scope.PRIVATE, "b", protective=False) == 0
    assert limiter.wait_s(Scope.PUBLIC, "a", protective=False) == 0
