"""Messages through the real Redis: what is kept of them, and what one costs."""

from collections.abc import Iterator
from queue import Queue
from typing import Any

import pytest
from django.conf import settings
from kombu import Connection, Consumer, Message
from redis import Redis

from automations import tasks
from hubdefisats.broker import ThriftyChannel
from hubdefisats.celery import app

KEPT = "unacked"


@pytest.fixture
def connection(redis_url: str) -> Iterator[Connection]:  # noqa: ARG001 - the app's own
    with app.connection_for_read() as opened:
        yield opened


def received(connection: Connection, queue: str) -> Message:
    """Take one message as a worker does, and acknowledge nothing yet."""
    came: Queue[Message] = Queue()
    consumer = Consumer(
        connection.default_channel,
        queues=[app.amqp.queues[queue]],
        on_message=came.put,
        accept=["json"],
    )
    with consumer:
        connection.drain_events(timeout=10)
    return came.get(timeout=1)


def kept() -> int:
    with Redis.from_url(settings.REDIS_URL) as client:
        return int(client.hlen(KEPT))


def test_every_connection_is_of_our_kind(connection: Connection) -> None:
    assert isinstance(connection.default_channel, ThriftyChannel)
    assert connection.as_uri().startswith("redis://")


def test_an_urgent_message_is_not_kept_for_a_time_when_it_is_expired(connection: Connection) -> None:
    tasks.send(1, "here", urgent=True)

    message = received(connection, "urgent")

    assert kept() == 0
    message.ack()
    assert message.acknowledged


def test_any_other_message_is_kept_until_it_is_acknowledged(connection: Connection) -> None:
    tasks.send(1, "here", urgent=False)

    message = received(connection, "automation-execute")

    assert kept() == 1
    message.ack()
    assert kept() == 0


def test_one_client_serves_all_commands_of_a_channel(connection: Connection) -> None:
    channel: Any = connection.default_channel

    with channel.conn_or_acquire() as one, channel.conn_or_acquire() as other:
        assert one is other


def test_a_message_says_what_it_is_about_and_nothing_more(connection: Connection) -> None:
    tasks.send(7, "here", urgent=True)

    headers = received(connection, "urgent").headers

    assert headers["argsrepr"] == "(7, 'here')"
    assert headers["kwargsrepr"] == "{}"
