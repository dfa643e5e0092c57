import json
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from fractions import Fraction
from hashlib import sha256

import pytest
from redis import Redis

from exchange.config import Rate, Timeouts
from exchange.errors import RejectedError
from exchange.money import Sats
from exchange.position import PositionId
from exchange.ratelimit import FORGOTTEN_S, LONGEST_HOLD_S, NOT_URGENT, ORDINARY, TRIAL_S, Scope, Waiter
from exchange.reach import connect
from exchange.rest import RestClient
from exchange.sharedlimit import SharedLimiter
from tests.automations.asking import heard
from tests.exchange.scripted import Answer, scripted_exchange
from tests.exchange.test_rest import CREDENTIALS
from tests.waiting import wait_until

PER_S = 50.0
CALM = Waiter(urgency=NOT_URGENT, name="calm")
FAR, NEAR = Waiter(urgency=0.5, name="far"), Waiter(urgency=-0.01, name="near")


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
        wait_s = limiter.wait_s(Scope.PRIVATE, "key", CALM if protective else ORDINARY)
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
    while held.wait_s(Scope.PRIVATE, "key", CALM) > 0:
        assert time.monotonic() <= deadline, "a protective call waits one slot at most"


def test_a_burst_is_allowed_where_the_rate_says_so(redis: Redis) -> None:
    held = limiter(redis, burst=3)
    waits = [held.wait_s(Scope.PRIVATE, "key") for _ in range(4)]
    assert waits[:3] == [0, 0, 0]
    assert 0 < waits[3] <= 1 / PER_S


def test_all_processes_obey_the_patience_one_was_asked_for(redis: Redis, redis_url: str) -> None:
    with connect(redis_url) as other:
        limiter(redis).hold(Scope.PRIVATE, "key", after_s=7)
        limiter(redis).hold(Scope.PRIVATE, "key", after_s=3)
        told = limiter(other)
        wait_s = told.wait_s(Scope.PRIVATE, "key", CALM)
        assert wait_s == pytest.approx(7, abs=0.5)
        assert told.wait_s(Scope.PRIVATE, "other") == 0
        assert told.wait_s(Scope.PUBLIC, "key") == 0


@pytest.mark.parametrize("after_s", [60.5, 3_600, 1e12])
def test_a_hold_of_over_a_minute_is_tried_once_a_second_by_all_processes_together(
    redis: Redis, redis_url: str, after_s: float
) -> None:
    with connect(redis_url) as other:
        held, trying = limiter(redis), limiter(other)
        held.hold(Scope.PRIVATE, "key", after_s=after_s)
        assert held.wait_s(Scope.PRIVATE, "key") == pytest.approx(min(after_s, LONGEST_HOLD_S), abs=0.5)
        with ThreadPoolExecutor(2) as threads:
            both = threads.map(lambda each: taken_within(each, 2.5, protective=True), (held, trying))
            assert sum(both) == 2
        assert 0 < trying.wait_s(Scope.PRIVATE, "key", CALM) <= TRIAL_S


def test_a_trial_that_succeeds_ends_the_hold_for_all_processes_and_a_refusal_keeps_it(
    redis: Redis, redis_url: str
) -> None:
    with connect(redis_url) as other:
        held, trying = limiter(redis), limiter(other)
        held.hold(Scope.PRIVATE, "key", after_s=3_600)
        assert not trying.release(Scope.PRIVATE, "key"), "it has not tried"
        wait_until(lambda: trying.wait_s(Scope.PRIVATE, "key", CALM) == 0, what="a trial", within_s=3)
        held.hold(Scope.PRIVATE, "key", after_s=1)
        trying.release(Scope.PRIVATE, "key")
        assert held.wait_s(Scope.PRIVATE, "key") > 200, "refused meanwhile, elsewhere"

        wait_until(lambda: trying.wait_s(Scope.PRIVATE, "key", CALM) == 0, what="another", within_s=3)
        assert trying.release(Scope.PRIVATE, "key")
        assert held.wait_s(Scope.PRIVATE, "key") <= 1 / PER_S


def test_without_redis_a_long_hold_is_tried_likewise() -> None:
    held = limiter(connect("redis://127.0.0.1:1/0"))
    held.hold(Scope.PRIVATE, "key", after_s=3_600)
    assert taken_within(held, 1.5, protective=True) == 1
    assert held.wait_s(Scope.PRIVATE, "key") > 200
    assert held.release(Scope.PRIVATE, "key")
    assert held.wait_s(Scope.PRIVATE, "key") <= 4 / PER_S


def test_nothing_is_kept_for_ever(redis: Redis) -> None:
    held = limiter(redis)
    held.wait_s(Scope.PRIVATE, "key")
    held.hold(Scope.PUBLIC, "key", after_s=90)
    assert 0 < redis.pttl("rate:private:key") <= 60_000
    assert 90_000 < redis.pttl("rate:public:key") <= 150_000


def test_without_redis_each_process_takes_a_part_of_the_rate() -> None:
    held = SharedLimiter(connect("redis://127.0.0.1:1/0"), {Scope.PRIVATE: Rate(per_s=100)})
    assert 8 <= taken_within(held, 0.4) <= 11


def test_without_redis_patience_is_still_obeyed() -> None:
    held = limiter(connect("redis://127.0.0.1:1/0"))
    held.hold(Scope.PRIVATE, "key", after_s=7)
    assert held.wait_s(Scope.PRIVATE, "key", CALM) == pytest.approx(7, abs=0.5)


def asked(limiter: SharedLimiter, *waiters: Waiter) -> list[float]:
    return [limiter.wait_s(Scope.PRIVATE, "key", waiter, within_s=20) for waiter in waiters]


def test_of_all_who_wait_the_most_urgent_goes_first_whatever_its_process(
    redis: Redis, redis_url: str
) -> None:
    rates = {Scope.PRIVATE: Rate(per_s=1)}
    with connect(redis_url) as another:
        one, other = SharedLimiter(redis, rates), SharedLimiter(another, rates)
        assert one.wait_s(Scope.PRIVATE, "key") == 0
        asked(one, CALM, FAR)
        asked(other, NEAR)
        waits = asked(one, NEAR, FAR, CALM, ORDINARY)
        assert [round(wait_s) for wait_s in waits] == [1, 2, 3, 4]
        assert asked(one, FAR, NEAR) > [1, 0]


def test_whoever_asks_no_more_is_forgotten_within_a_second(redis: Redis) -> None:
    held = limiter(redis)
    assert held.wait_s(Scope.PRIVATE, "key") == 0
    asked(held, NEAR)
    begun_s = time.monotonic()
    while asked(held, FAR) != [0]:
        time.sleep(0.02)
    assert FORGOTTEN_S - 0.1 <= time.monotonic() - begun_s <= FORGOTTEN_S + 0.5
    assert redis.keys("rate:*:waiting") == [], "nothing is kept of who waited"


def test_whoever_gives_up_is_forgotten_at_once(redis: Redis) -> None:
    held = limiter(redis)
    assert held.wait_s(Scope.PRIVATE, "key") == 0
    asked(held, NEAR)
    assert held.wait_s(Scope.PRIVATE, "key", NEAR, within_s=0) > 0
    time.sleep(1 / PER_S)
    assert asked(held, FAR) == [0]


def test_whoever_only_wants_to_know_when_stays_in_front_until_it_takes_the_slot_or_leaves(
    redis: Redis,
) -> None:
    held, looks = limiter(redis), Waiter(urgency=NEAR.urgency, name="looks", takes=False)
    assert held.wait_s(Scope.PRIVATE, "key") == 0
    asked(held, looks)
    time.sleep(1 / PER_S)
    assert asked(held, looks) == [0]
    assert asked(held, FAR) > [0], "the other is about to take it"
    assert held.wait_s(Scope.PRIVATE, "key", looks) == 0, "without patience it leaves"
    assert asked(held, FAR) == [0]


def test_a_slot_that_is_free_costs_one_round_trip(redis: Redis) -> None:
    held = limiter(redis)
    asked(held, NEAR)  # Redis learns the script
    time.sleep(1 / PER_S)
    with redis.monitor() as commands:  # type: ignore[no-untyped-call]
        assert asked(held, NEAR) == [0]
        assert [each for each in heard(commands) if each.startswith("EVAL")] == ["EVALSHA"]


RESCUES = 40
RESCUES_PER_S = 10


def test_the_exchange_s_requests_a_second_are_given_to_the_position_nearest_to_liquidation_first(
    redis_url: str,
) -> None:
    rates = {Scope.PRIVATE: Rate(per_s=RESCUES_PER_S), Scope.PUBLIC: Rate(per_s=100)}
    nearest_first = [f"trade {number:02}" for number in range(RESCUES)]
    asked_for = sorted(nearest_first, key=lambda trade: trade[::-1])

    def rescue(client: RestClient, trade: str) -> None:
        distance = Fraction(nearest_first.index(trade), 1000)
        client.add_margin(PositionId(trade), Sats(1), urgency=distance)

    with ExitStack() as stack:
        script = stack.enter_context(scripted_exchange())
        processes = [SharedLimiter(stack.enter_context(connect(redis_url)), rates) for _ in range(4)]
        clients = [
            RestClient(script.endpoints, CREDENTIALS, limiter=each, timeouts=Timeouts(turn_s=15))
            for each in processes
        ]
        script.then(*[Answer(status=400)] * RESCUES)
        owner = sha256(CREDENTIALS.key.encode()).hexdigest()[:16]
        processes[0].hold(Scope.PRIVATE, owner, after_s=1.5)  # until all of them wait
        threads = stack.enter_context(ThreadPoolExecutor(RESCUES))
        asked = [
            threads.submit(rescue, clients[number % 4], trade) for number, trade in enumerate(asked_for)
        ]
        refused = [type(each.exception()) for each in asked]

    assert refused == [RejectedError] * RESCUES
    sent = [json.loads(request.body)["id"] for request in script.requests]
    assert sent == nearest_first
    for first, request in enumerate(script.requests):
        within = [each for each in script.requests[first:] if each.at_s < request.at_s + 1]
        assert len(within) <= RESCUES_PER_S + 1, "the limit holds in every second"


def test_what_the_exchange_says_lowers_the_rate_of_all_processes_and_never_raises_it(
    redis: Redis, redis_url: str
) -> None:
    with connect(redis_url) as other:
        ours, theirs = limiter(redis), limiter(other)
        ours.heed(Scope.PRIVATE, "key", per_s=10)
        assert taken_within(theirs, 0.5) in range(4, 8)

        ours.heed(Scope.PRIVATE, "key", per_s=1000)
        assert taken_within(theirs, 0.5) in range(15, 28)


def test_without_redis_a_process_keeps_its_part_of_what_the_exchange_says() -> None:
    alone = SharedLimiter(connect("redis://127.0.0.1:1/0"), {Scope.PRIVATE: Rate(per_s=100)})
    alone.heed(Scope.PRIVATE, "key", per_s=8)
    assert alone.wait_s(Scope.PRIVATE, "key") == 0
    assert alone.wait_s(Scope.PRIVATE, "key") == pytest.approx(0.5, abs=0.1)
