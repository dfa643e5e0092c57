"""What waits in the broker's queues, as a worker would find it."""

import base64
import json
from dataclasses import dataclass
from typing import Any

from celery import current_app

from accounts.gateway import redis_client


@dataclass(frozen=True, slots=True, kw_only=True)
class Message:
    """One task on its way."""

    task: str
    arguments: list[Any]
    raw: str
    """Everything that is sent, as text."""


def waiting(queue: str) -> list[Message]:
    """Return the messages of a queue, the oldest first."""
    return [_message(raw) for raw in reversed(redis_client().lrange(queue, 0, -1))]


def carry_out(queue: str) -> None:
    """Take the messages of a queue and do what they ask for, as a worker would."""
    messages = waiting(queue)
    redis_client().delete(queue)
    for message in messages:
        current_app.tasks[message.task](*message.arguments)


def _message(raw: bytes | str) -> Message:
    envelope = json.loads(raw)
    body = base64.b64decode(envelope["body"]).decode()
    return Message(
        task=envelope["headers"]["task"],
        arguments=json.loads(body)[0],
        raw=json.dumps(envelope["headers"]) + body,
    )
