"""What stream processes say of themselves, and what follows for health and for owners."""

from typing import Any

import pytest
from redis import Redis

from accounts.gateway import redis_client
from automations import heartbeat
from automations.heartbeat import Sight


@pytest.fixture
def redis(redis_url: str) -> Redis:  # noqa: ARG001 - emptied
    return redis_client()


def said(prices: str, *, live: int = 0, polled: int = 0, dark: tuple[int, ...] = ()) -> dict[str, Any]:
    sight = {"live": live, "polled": polled, "dark": list(dark)}
    accounts = live + polled + len(dark)
    return {"accounts": accounts, "markets": {"paper": {"prices": prices, "sight": sight}}}


def complaint(redis: Redis) -> str | None:
    return heartbeat.complaint(heartbeat.summary(heartbeat.beats(redis)))


def test_without_a_process_nothing_is_said(redis: Redis) -> None:
    assert heartbeat.beats(redis) == []


def test_each_process_is_heard_once_and_the_worst_prices_count(redis: Redis) -> None:
    heartbeat.beat(redis, 1, said("live", live=2, polled=1))
    heartbeat.beat(redis, 2, said("polled", dark=(7,)))

    assert heartbeat.summary(heartbeat.beats(redis)) == {
        "prices": {"paper": Sight.POLLED},
        "accounts": {Sight.LIVE: 2, Sight.POLLED: 1, Sight.DARK: 1},
    }


@pytest.mark.parametrize(
    ("seen", "says"),
    [
        pytest.param(said("live", live=31, polled=9), None, id="beyond the sockets all are polled"),
        pytest.param(said("polled", live=1), "prices polled: paper", id="the price session is away"),
        pytest.param(said("dark", live=1), "prices dark: paper", id="and REST, too"),
        pytest.param(said("live", live=1, dark=(3, 4)), "accounts dark: 2", id="nobody sees two"),
        pytest.param({"accounts": 0, "markets": {}}, None, id="there is nothing to watch"),
    ],
)
def test_what_is_not_as_it_should_be_is_said_in_a_few_words(
    redis: Redis, seen: dict[str, Any], says: str | None
) -> None:
    heartbeat.beat(redis, 1, seen)

    assert complaint(redis) == says


@pytest.mark.parametrize(
    ("seen", "sees"),
    [
        pytest.param({}, True, id="it says nothing else"),
        pytest.param(said("live", live=1, dark=(4,)), True, id="another account is dark"),
        pytest.param(said("live", dark=(3,)), False, id="this one is"),
        pytest.param({"accounts": 0, "markets": {}}, False, id="it watches nobody"),
    ],
)
def test_a_process_sees_what_it_says_it_sees(*, seen: dict[str, Any], sees: bool) -> None:
    assert heartbeat.sees(seen, 3) is sees
