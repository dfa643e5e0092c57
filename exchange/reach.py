"""A way to Redis that fails fast, tells an outage once, and rests for a moment after a failure."""

import logging
import time
from collections.abc import Callable
from typing import Final

from redis import Redis
from redis.backoff import NoBackoff
from redis.exceptions import RedisError
from redis.retry import Retry

logger = logging.getLogger(__name__)

_PAUSE_S: Final = 1.0
"""No decision waits for the timeout of a Redis that is away again and again."""


def connect(url: str, *, timeout_s: float = 0.25) -> Redis:
    """Return a client that fails fast instead of trying again."""
    return Redis.from_url(
        url, socket_timeout=timeout_s, socket_connect_timeout=timeout_s, retry=Retry(NoBackoff(), 0)
    )


class Reach:
    """Calls Redis, or does not while it is away.

    Args:
        what: the part of us that lives there, for the log.
        clock: returns seconds from any fixed start, never going back.
    """

    def __init__(self, what: str, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._what = what
        self._clock = clock
        self._out_until: float | None = None

    def call(self, call: Callable[[], object]) -> object:
        """Return the call's answer; None while Redis is out of reach."""
        if self._out_until is not None and self._clock() < self._out_until:
            return None
        try:
            answer = call()
        except RedisError as error:
            if self._out_until is None:
                extra = {"what": self._what, "why": type(error).__name__}
                logger.warning("redis out of reach", extra=extra)
            self._out_until = self._clock() + _PAUSE_S
            return None
        if self._out_until is not None:
            logger.warning("redis back in reach", extra={"what": self._what})
            self._out_until = None
        return answer
