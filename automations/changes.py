"""Word from those who act to those who watch: this account's positions are not what they were.

A hint that may get lost: whoever watches reads again on a timer anyway.
"""

import logging
import threading
from collections.abc import Callable
from typing import Final

from redis import Redis
from redis.exceptions import RedisError

from accounts.models import Account

logger = logging.getLogger(__name__)

CHANNEL: Final = "hubdefisats:changed"
_PATIENCE_S: Final = 1.0


def announce(redis: Redis, account: Account) -> None:
    try:
        redis.publish(CHANNEL, account.pk)
    except RedisError as error:
        extra = {
            "account": account.pk,
            "account_name": account.name,
            "why": type(error).__name__,
        }
        logger.warning("change not announced", extra=extra)


def listen(redis: Redis, changed: Callable[[int], None], stopping: threading.Event) -> None:
    """Call `changed` with the id of each announced account until `stopping` is set."""
    while not stopping.is_set():
        try:
            _listen_once(redis, changed, stopping)
        except RedisError:
            stopping.wait(_PATIENCE_S)


def _listen_once(redis: Redis, changed: Callable[[int], None], stopping: threading.Event) -> None:
    with redis.pubsub(ignore_subscribe_messages=True) as subscription:  # type: ignore[no-untyped-call]
        subscription.subscribe(CHANNEL)
        while not stopping.is_set():
            message = subscription.get_message(timeout=_PATIENCE_S)
            if message and message["data"].isdigit():  # what is no id must not end the listening
                changed(int(message["data"]))
