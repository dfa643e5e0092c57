"""Word of changed accounts, through a real Redis and without one."""

import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime

import pytest
from redis import Redis

from accounts.models import Account
from automations import changes
from automations.changes import Changed, CooldownEnds, Word
from exchange import live
from exchange.position import CROSS, Position, PositionId, Regime
from exchange.wire import one, position
from hubdefisats.embedded import free_port
from tests.exchange import documents
from tests.waiting import wait_until

LONG = one(position)(documents.running_trade(), "here")


@contextmanager
def listening(redis: Redis, heed: Callable[[Word], None] = lambda _: None) -> Iterator[list[Word]]:
    heard: list[Word] = []
    stopping = threading.Event()

    def hear(word: Word) -> None:
        heard.append(word)
        heed(word)

    thread = threading.Thread(target=changes.listen, args=(redis, hear, stopping), daemon=True)
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

        wait_until(
            lambda: heard == [Changed(account_id=7), Changed(account_id=8)], what="both were heard"
        )


def test_a_lost_connection_is_made_anew(redis: Redis) -> None:
    with listening(redis) as heard:
        wait_until(lambda: subscribers(redis) == 1, what="somebody listens")
        redis.client_kill_filter(_type="pubsub")
        wait_until(lambda: subscribers(redis) == 0, what="the connection is gone")

        def heard_again() -> bool:
            # The client library connects once more before it says that the connection is lost:
            # a subscriber seen now may be that one, which ends at once. Words may get lost then.
            changes.announce(redis, number(7))
            return Changed(account_id=7) in heard

        wait_until(heard_again, what="a word was heard")


@pytest.mark.parametrize(
    "text",
    [
        pytest.param("no number", id="no JSON"),
        pytest.param("-5", id="no id"),
        pytest.param("null", id="nothing"),
        pytest.param('["until"]', id="a list"),
        pytest.param('{"at": 1}', id="no account"),
        pytest.param('{"account": 7, "automation": 8, "on": null, "until": "soon"}', id="no time"),
        pytest.param('{"account": 7, "automation": 8, "on": null, "until": 1e30}', id="no such time"),
        pytest.param("[" * 100_000, id="too deep"),
        pytest.param(b"\xff", id="no text"),
    ],
)
def test_a_word_that_is_none_is_passed_over(redis: Redis, text: str | bytes) -> None:
    with listening(redis) as heard:
        wait_until(lambda: subscribers(redis) == 1, what="somebody listens")
        redis.publish(changes.CHANNEL, text)

        changes.announce(redis, number(7))

        wait_until(lambda: heard, what="the next word was heard")
        assert heard == [Changed(account_id=7)]


@pytest.mark.parametrize("position", [LONG, replace(LONG, id=CROSS, regime=Regime.CROSS)])
def test_a_position_is_carried_with_the_moment_of_its_announcement(
    redis: Redis, position: Position
) -> None:
    with listening(redis) as heard:
        wait_until(lambda: subscribers(redis) == 1, what="somebody listens")
        before = datetime.now(UTC)

        changes.announce(redis, number(7), position=position)

        wait_until(lambda: heard, what="it was heard")
    (word,) = heard
    assert isinstance(word, Changed)
    assert word.account_id == 7
    assert word.now is not None
    assert word.now.position == position
    assert before <= word.now.at <= datetime.now(UTC)


@pytest.mark.parametrize("row", [["of another version"], "text", None])
def test_a_position_that_cannot_be_read_leaves_the_word_that_the_account_changed(
    redis: Redis, row: object
) -> None:
    with listening(redis) as heard:
        wait_until(lambda: subscribers(redis) == 1, what="somebody listens")

        redis.publish(changes.CHANNEL, json.dumps({"account": 7, "at": 1, "position": row}))

        wait_until(lambda: heard == [Changed(account_id=7)], what="it was heard")


@pytest.mark.parametrize("position_id", ["p", None])
def test_the_end_of_a_cooldown_is_heard(redis: Redis, position_id: str | None) -> None:
    until = datetime(2026, 8, 1, 12, 30, 0, 123456, tzinfo=UTC)
    with listening(redis) as heard:
        wait_until(lambda: subscribers(redis) == 1, what="somebody listens")

        changes.announce_cooldown(redis, number(7), 8, position_id, until)

        wait_until(lambda: heard, what="it was heard")
    on = None if position_id is None else PositionId(position_id)
    assert heard == [CooldownEnds(account_id=7, automation_id=8, position_id=on, until=until)]


def test_a_word_that_cannot_be_heeded_ends_no_listening(
    redis: Redis, caplog: pytest.LogCaptureFixture
) -> None:
    def heed(word: Word) -> None:
        if word.account_id == 7:
            raise ZeroDivisionError

    with listening(redis, heed) as heard:
        wait_until(lambda: subscribers(redis) == 1, what="somebody listens")
        changes.announce(redis, number(7))
        changes.announce(redis, number(8))
        wait_until(lambda: len(heard) == 2, what="the next word was heard")
    (record,) = [record for record in caplog.records if record.name == "automations.changes"]
    assert record.getMessage() == "word not heeded"
    assert vars(record)["word"] == Changed(account_id=7)


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
