"""When a new connection may be dialled, agreed by all our processes through Redis."""

import time
from collections.abc import Callable
from secrets import token_hex
from typing import Final

from redis import Redis

from exchange.admission import HOUR_S, MARGIN, MINUTE_S, Admission
from exchange.config import StreamCaps
from exchange.reach import Reach

_SECOND_US: Final = 1_000_000

_TAKE: Final = """
local time = redis.call('TIME')
local now = time[1] * 1000000 + time[2]
local wait = 0
for i, key in ipairs(KEYS) do
  local most, window = tonumber(ARGV[2 * i]), tonumber(ARGV[2 * i + 1])
  redis.call('ZREMRANGEBYSCORE', key, '-inf', now - window)
  if redis.call('ZCARD', key) >= most then
    local oldest = redis.call('ZRANGE', key, -most, -most, 'WITHSCORES')
    wait = math.max(wait, oldest[2] + window - now)
  end
end
if wait > 0 then return math.ceil(wait) end
for i, key in ipairs(KEYS) do
  redis.call('ZADD', key, string.format('%.0f', now), ARGV[1])
  redis.call('PEXPIRE', key, math.ceil(ARGV[2 * i + 1] / 1000))
end
return 0
"""
"""One sorted set for each cap: who took a place, and when by Redis's clock."""


class SharedAdmission(Admission):
    """The same rule as `Admission` for all processes of one address, restarts included.

    While Redis is away each process keeps the caps alone.

    Args:
        redis: made by `exchange.reach.connect`, or as impatient.
        name: of the exchange.
        clock: returns seconds from any fixed start, never going back; used while Redis is away.
    """

    def __init__(
        self,
        redis: Redis,
        name: str,
        caps: StreamCaps,
        *,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        super().__init__(caps, clock=clock)
        self._take = redis.register_script(_TAKE)
        self._reach = Reach("stream admission", clock=clock)
        self._keys = [f"admission:{name}:dials", f"admission:{name}:authentications"]
        self._windows = [
            (caps.dials_per_hour, round(HOUR_S * MARGIN * _SECOND_US)),
            (caps.authentications_per_minute, round(MINUTE_S * MARGIN * _SECOND_US)),
        ]

    def wait_s(self, *, authenticates: bool) -> float:
        count = 2 if authenticates else 1
        args: list[str | int] = [token_hex(8)]
        for window in self._windows[:count]:
            args += window
        wait_us = self._reach.call(lambda: self._take(keys=self._keys[:count], args=args))
        if not isinstance(wait_us, int):
            return super().wait_s(authenticates=authenticates)
        return wait_us / _SECOND_US
