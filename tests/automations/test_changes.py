"""Word of changed accounts, through a real Redis and without one."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from redis import Redis

from accounts.models import Account
from automations import changes
from exchange import live
from hubdefisats.embedded import free_port
from tests.waiting import wait_until


@contextmanager
def listening(redis: Redis) -> Iterator[list[int]]:
    heard: list[int] = []
    stopping = threading.Event()
    thread = threading.Thread(target=changes.listen, args=(redis, heard.append, stopping), daemon=True)
    thread.start()
    try:
        yield heard
    finally:
        stopping.set()
        thread.join(5)
    assert not thread.is_alive(), "a listener that was told to stop ends"


def number(account_id: int) -> Account:
    return Account(pk=account_id, name=f"account {account_id}")


def subscribers(redis: Redis) -> int:
    ((_, number),) = redis.pubsub_numsub(changes.CHANNEL)
    return int(number)


@pytest.fixture
def redis(own_redis: str) -> Iterator[Redis]:
    with live.connect(own_redis) as client:
        yield client


def test_what_is_announced_is_heard(redis: Redis) -> None:
    with listening(redis) as heard:
        wait_until(lambda: subscribers(redis) == 1, what="somebody listens")

        changes.announce(redis, number(7))
        changes.announce(redis, number(8))

        wait_until(lambda: heard == [7, 8], what="both were heard")


def test_a_lost_connection_is_made_anew(redis: Redis) -> None:
    with listening(redis) as heard:
        wait_until(lambda: subscribers(redis) == 1, what="somebody listens")
        redis.client_kill_filter(_type="pubsub")
        wait_until(lambda: subscribers(redis) == 0, what="the connection is gone")

        wait_until(lambda: subscribers(redis) == 1, what="it is there again")

        changes.announce(redis, number(7))
        wait_until(lambda: heard == [7], what="the word was heard")


def test_a_word_that_is_none_is_passed_over(redis: Redis) -> None:
    with listening(redis) as heard:
        wait_until(lambda: subscribers(redis) == 1, what="somebody listens")
        redis.publish(changes.CHANNEL, "no number")
        wait_until(lambda: subscribers(redis) == 1, what="somebody still listens")

        def told() -> bool:
            changes.announce(redis, number(7))
            return 7 in heard

        wait_until(told, what="the next word was heard")


def test_without_redis_an_announcement_is_logged_and_a_listener_waits(
    caplog: pytest.LogCaptureFixture,
) -> None:
    with live.connect(f"redis://:hunter2@127.0.0.1:{free_port()}") as nowhere:
        with listening(nowhere) as heard:
            changes.announce(nowhere, number(7))

        assert heard == []
    (record,) = [record for record in caplog.records if record.name == "automations.changes"]
    assert record.getMessage() == "change not announced"
    assert (vars(record)["account"], vars(record)["account_name"]) == (7, "account 7")
    assert vars(record)["why"] == "ConnectionError"
