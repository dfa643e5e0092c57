import pytest

from exchange.config import Rate
from exchange.ratelimit import (
    DOUBTED_HOLD_S,
    FORGOTTEN_S,
    LONGEST_HOLD_S,
    NOT_URGENT,
    ORDINARY,
    TRIAL_S,
    LocalLimiter,
    Scope,
    TokenBucket,
    Waiter,
)

CALM = Waiter(urgency=NOT_URGENT, name="calm")
FAR, NEAR = Waiter(urgency=0.5, name="far"), Waiter(urgency=-0.01, name="near")
PATIENT_S = 3.0


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
        wait_s = bucket.wait_s(CALM if protective else ORDINARY)
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
    assert bucket.wait_s(CALM) == 0


def test_nobody_passes_while_the_exchange_asks_for_patience(clock: Clock) -> None:
    bucket = TokenBucket(Rate(per_s=5), clock=clock)
    bucket.hold(after_s=7)
    bucket.hold(after_s=3)
    assert bucket.wait_s(CALM) == pytest.approx(7)
    clock.now += 7
    assert bucket.wait_s(CALM) == 0


@pytest.mark.parametrize("after_s", [60.5, 1_000, 3_600, 1e12])
def test_a_hold_of_over_a_minute_lets_a_protective_call_through_once_a_second(
    clock: Clock, after_s: float
) -> None:
    bucket = TokenBucket(Rate(per_s=5), clock=clock)
    bucket.hold(after_s=after_s)
    assert taken_within(bucket, clock, 60, protective=True) == 59
    assert bucket.wait_s() == pytest.approx(min(after_s, LONGEST_HOLD_S) - 60)
    assert bucket.wait_s(CALM) == 0
    assert bucket.wait_s(CALM) == pytest.approx(TRIAL_S)


def test_a_refused_trial_keeps_the_hold_and_one_that_succeeds_ends_it(clock: Clock) -> None:
    bucket = TokenBucket(Rate(per_s=5), clock=clock)
    bucket.hold(after_s=3_600)
    clock.now += TRIAL_S
    assert bucket.wait_s(CALM) == 0
    bucket.hold(after_s=5)
    assert not bucket.release(), "the answer to an earlier call says nothing"
    assert bucket.wait_s(CALM) == pytest.approx(5), "so long is not in doubt"
    assert bucket.wait_s() > 200

    clock.now += 5
    assert bucket.wait_s(CALM) == 0
    assert bucket.release()
    clock.now += 0.2
    assert bucket.wait_s() == 0


def test_a_success_from_before_the_hold_does_not_end_it(clock: Clock) -> None:
    bucket = TokenBucket(Rate(per_s=5), clock=clock)
    assert bucket.wait_s(CALM) == 0
    bucket.hold(after_s=DOUBTED_HOLD_S)
    assert not bucket.release()
    assert bucket.wait_s(CALM) == pytest.approx(DOUBTED_HOLD_S)


def test_owners_and_scopes_are_counted_apart(clock: Clock) -> None:
    rates = {Scope.PUBLIC: Rate(per_s=1), Scope.PRIVATE: Rate(per_s=5)}
    limiter = LocalLimiter(rates, clock=clock)
    limiter.hold(Scope.PRIVATE, "a", after_s=9)
    assert limiter.wait_s(Scope.PRIVATE, "a", CALM) == pytest.approx(9)
    assert limiter.wait_s(Scope.PRIVATE, "b") == 0
    assert limiter.wait_s(Scope.PUBLIC, "a") == 0


@pytest.fixture
def busy(clock: Clock) -> TokenBucket:
    """A bucket whose next slot is free in 0.2 s."""
    bucket = TokenBucket(Rate(per_s=5), clock=clock)
    assert bucket.wait_s() == 0
    return bucket


def asked(bucket: TokenBucket, *waiters: Waiter) -> list[float]:
    return [round(bucket.wait_s(waiter, within_s=PATIENT_S), 6) for waiter in waiters]


def test_of_those_who_wait_the_most_urgent_gets_the_next_slot(busy: TokenBucket, clock: Clock) -> None:
    assert asked(busy, CALM, FAR, NEAR) == [0.2, 0.2, 0.2]
    assert asked(busy, CALM, FAR, NEAR, ORDINARY) == [0.6, 0.4, 0.2, 0.8]
    clock.now += 0.2
    assert asked(busy, ORDINARY, CALM, FAR, NEAR) == [0.6, 0.4, 0.2, 0]
    clock.now += 0.2
    assert asked(busy, CALM, FAR) == [0.2, 0]


def test_of_two_as_urgent_the_first_goes_first(busy: TokenBucket, clock: Clock) -> None:
    second = Waiter(urgency=FAR.urgency, name="second")
    asked(busy, FAR)
    clock.now += 0.1
    assert asked(busy, second, FAR) == [0.3, 0.1]
    clock.now += 0.1
    assert asked(busy, second, FAR) == [0.2, 0]


def test_of_those_who_wait_the_one_that_became_the_most_urgent_goes_first(
    busy: TokenBucket, clock: Clock
) -> None:
    asked(busy, FAR, NEAR)
    clock.now += 0.2

    nearer_now = Waiter(urgency=-1.0, name=FAR.name)

    assert asked(busy, nearer_now) == [0]


def test_whoever_asks_no_more_stands_in_nobody_s_way_after_a_second(
    busy: TokenBucket, clock: Clock
) -> None:
    asked(busy, NEAR, FAR)
    for _ in range(2):
        clock.now += 0.4
        assert asked(busy, FAR) == [0.2], "the nearer one may only be late"
    clock.now += FORGOTTEN_S - 0.8
    assert asked(busy, FAR) == [0]


def test_whoever_gives_up_stands_in_nobody_s_way_at_once(busy: TokenBucket, clock: Clock) -> None:
    asked(busy, NEAR, FAR)
    assert busy.wait_s(NEAR, within_s=0.1) == pytest.approx(0.2), "longer than it may wait"
    clock.now += 0.2
    assert asked(busy, FAR) == [0]


def test_whoever_only_wants_to_know_when_stays_in_front_until_it_takes_the_slot_or_leaves(
    busy: TokenBucket, clock: Clock
) -> None:
    looks = Waiter(urgency=NEAR.urgency, name="looks", takes=False)
    assert asked(busy, looks, FAR) == [0.2, 0.4]
    clock.now += 0.2
    assert asked(busy, FAR, looks, FAR) == [0.2, 0, 0.2]
    assert busy.wait_s(looks) == 0, "without patience it leaves"
    assert asked(busy, FAR) == [0]


def test_whoever_stood_in_front_takes_the_slot_by_its_name(busy: TokenBucket, clock: Clock) -> None:
    looks = Waiter(urgency=NEAR.urgency, name="near", takes=False)
    clock.now += 0.2
    assert asked(busy, looks, FAR) == [0, 0.2]
    assert busy.wait_s(Waiter(urgency=NEAR.urgency, name="near")) == 0
    assert asked(busy, FAR) == [0.2]
    clock.now += 0.2
    assert asked(busy, FAR) == [0]
