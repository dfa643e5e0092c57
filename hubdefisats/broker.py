"""Celery's way through Redis, as it comes, but for what it does too often where time counts."""

import time
from functools import cached_property
from typing import Any, Final

from celery.worker.consumer import Consumer
from kombu.transport import TRANSPORT_ALIASES
from kombu.transport.redis import Channel, Transport
from kombu.utils.json import dumps
from redis import Redis
from redis.exceptions import ResponseError

_TELLS_EVERY_S: Final = 1.0
_REFUSED_S: Final = 1.0


SLOT: Final = "slot"
"""A header: of the messages that bear the same, the queue takes one."""
_SLOT_KEY: Final = "hubdefisats:slot:"
_SLOT_KEPT_S: Final = 3600
_PUT_ONCE: Final = """
if redis.call('SET', KEYS[2], 1, 'NX', 'EX', ARGV[2]) then redis.call('LPUSH', KEYS[1], ARGV[1]) end
"""


class ThriftyChannel(Channel):
    """Keeps one client, and acknowledges only what Redis holds for it."""

    def _put(self, queue: str, message: dict[str, Any], **kwargs: Any) -> None:
        slot = message.get("headers", {}).get(SLOT)
        if slot is None:
            super()._put(queue, message, **kwargs)
            return
        # In one step: whether an attempt that failed on its way had arrived, Redis alone knows.
        priority = self._get_message_priority(message, reverse=False)
        key = self._q_for_pri(queue, priority)  # type: ignore[attr-defined]  # no type is known
        with self.conn_or_acquire() as client:
            client.eval(_PUT_ONCE, 2, key, f"{_SLOT_KEY}{slot}", dumps(message), _SLOT_KEPT_S)

    def _create_client(self, asynchronous: bool = False) -> Redis:  # noqa: FBT001, FBT002 - as kombu's
        # Kombu makes a new one for each command, which takes longer than the command itself.
        return self._new_client(asynchronous=True) if asynchronous else self._one_client

    @cached_property
    def _one_client(self) -> Redis:
        """Of the channel's pool of connections, so that all threads may use it."""
        return self._new_client(asynchronous=False)

    def _new_client(self, *, asynchronous: bool) -> Redis:
        client: Redis = super()._create_client(asynchronous)  # type: ignore[misc]  # no type is known
        return client

    def basic_ack(self, delivery_tag: str, multiple: bool = False) -> None:  # noqa: FBT001, FBT002
        # Celery acknowledges all messages, also those of a queue whose messages Redis does not keep.
        held: Any = self.qos._delivered  # noqa: SLF001 - kombu has no other word for it
        if delivery_tag in held:
            super().basic_ack(delivery_tag, multiple)


class ThriftyTransport(Transport):
    """Kombu's for Redis, with our channel."""

    Channel: Any = ThriftyChannel


class CalmConsumer(Consumer):
    """Tells those who watch the worker what its tasks did once a second, not three times for each.

    It tries again once a second where Redis takes connections and refuses commands.
    """

    def on_connection_error_before_connected(self, exc: Exception) -> None:
        super().on_connection_error_before_connected(exc)
        _rest_after(exc)

    def on_connection_error_after_connected(self, exc: Exception) -> None:
        super().on_connection_error_after_connected(exc)
        _rest_after(exc)

    def register_with_event_loop(self, hub: Any) -> None:
        super().register_with_event_loop(hub)
        hub.call_repeatedly(_TELLS_EVERY_S, self._flush_events)  # type: ignore[attr-defined]

    def on_send_event_buffered(self) -> None:  # type: ignore[override]  # as it is
        """Leave it to the timer."""


def _rest_after(error: Exception) -> None:
    if isinstance(error, ResponseError):  # it answered, and would refuse again at once
        time.sleep(_REFUSED_S)


def use() -> None:
    """Let every connection of this process to Redis as a broker be of this kind."""
    for scheme in ("redis", "rediss"):
        TRANSPORT_ALIASES[scheme] = f"{__name__}:{ThriftyTransport.__name__}"
