from collections.abc import Iterator

import pytest
from redis import Redis

from exchange.admission import Attempt
from exchange.config import Probes, StreamCaps
from exchange.reach import connect
from exchange.sharedadmission import SharedAdmission
from tests.waiting import wait_until

CAPS = StreamCaps(authentications_per_minute=3, dials_per_hour=5)


@pytest.fixture
def redis(redis_url: str) -> Iterator[Redis]:
    with connect(redis_url) as redis:
        yield redis


def test_a_restarted_process_knows_what_the_last_one_used(redis: Redis) -> None:
    before = SharedAdmission(redis, "paper", CAPS)
    assert [before.wait_s(authenticates=True) for _ in range(2)] == [0, 0]
    after = SharedAdmission(redis, "paper", CAPS)
    assert after.wait_s(authenticates=True) == 0
    assert after.wait_s(authenticates=True) == pytest.approx(66, abs=1)


def test_a_connection_without_a_key_counts_as_a_dial_only(redis: Redis) -> None:
    admission = SharedAdmission(redis, "paper", CAPS)
    for _ in range(3):
        admission.wait_s(authenticates=True)
    assert [admission.wait_s(authenticates=False) for _ in range(2)] == [0, 0]
    assert admission.wait_s(authenticates=False) == pytest.approx(3960, abs=1)


def test_what_was_refused_a_place_took_none(redis: Redis) -> None:
    admission = SharedAdmission(redis, "paper", CAPS)
    for _ in range(20):
        admission.wait_s(authenticates=True)
    assert [admission.wait_s(authenticates=False) for _ in range(2)] == [0, 0]


def test_exchanges_are_counted_apart(redis: Redis) -> None:
    for name in ("paper", "signet"):
        admission = SharedAdmission(redis, name, CAPS)
        assert [admission.wait_s(authenticates=True) for _ in range(3)] == [0, 0, 0]


def test_nothing_is_kept_for_ever(redis: Redis) -> None:
    SharedAdmission(redis, "paper", CAPS).wait_s(authenticates=True)
    assert 0 < redis.pttl("admission:paper:authentications") <= 66_000
    assert 0 < redis.pttl("admission:paper:dials") <= 3_960_000


def test_without_redis_the_caps_are_kept_alone() -> None:
    admission = SharedAdmission(connect("redis://127.0.0.1:1/0"), "paper", CAPS)
    assert [admission.wait_s(authenticates=True) for _ in range(3)] == [0, 0, 0]
    assert admission.wait_s(authenticates=True) == pytest.approx(66, abs=1)


def test_a_refused_dial_gives_its_places_back_to_all_processes(redis: Redis) -> None:
    one, other = (SharedAdmission(redis, "paper", CAPS) for _ in range(2))
    for number in range(20):
        assert one.wait_s(authenticates=True, name=str(number)) == 0
        one.ended(Attempt(), authenticates=True, name=str(number), alone=False)
    assert [other.wait_s(authenticates=True) for _ in range(3)] == [0, 0, 0]


def test_of_all_processes_one_probes_and_whoever_is_live_calls_all(redis: Redis) -> None:
    roomy = StreamCaps()
    one, other = (SharedAdmission(redis, "paper", roomy, probes=Probes(first_s=0.2)) for _ in range(2))
    assert one.wait_s(authenticates=True, name="a", alone=True) == 0
    one.ended(Attempt(), authenticates=True, name="a", alone=True)
    assert 0 < other.wait_s(authenticates=True, alone=True) <= 0.2
    wait_until(lambda: other.wait_s(authenticates=True, name="b", alone=True) == 0, what="its turn")
    assert one.wait_s(authenticates=True, alone=True) > 1, "one is on its way"
    other.ended(Attempt(stood=True), authenticates=True, name="b", alone=True)
    assert 0.2 < one.wait_s(authenticates=True, alone=True) <= 0.4

    one.ended(Attempt(stood=True, live=True), authenticates=False, name="c", alone=True)

    assert other.wait_s(authenticates=True, alone=True) == 0
