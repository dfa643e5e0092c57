"""When a new connection may be dialled, agreed by all our processes through Redis."""

import time
from collections.abc import Callable
from secrets import token_hex
from typing import Final

from redis import Redis

from exchange.admission import (
    HOUR_S,
    MARGIN,
    MINUTE_S,
    PROBING_S,
    Admission,
    Attempt,
    lanes_proven,
)
from exchange.config import USUAL_PROBES, Probes, StreamCaps
from exchange.reach import Reach

_SECOND_US: Final = 1_000_000

_TAKE: Final = """
local time = redis.call('TIME')
local now = time[1] * 1000000 + time[2]
local probing, alone, wait = KEYS[1], ARGV[2] == '1', 0
for i = 2, #KEYS do
  local most, window = tonumber(ARGV[2 * i]), tonumber(ARGV[2 * i + 1])
  redis.call('ZREMRANGEBYSCORE', KEYS[i], '-inf', now - window)
  if redis.call('ZCARD', KEYS[i]) >= most then
    local oldest = redis.call('ZRANGE', KEYS[i], -most, -most, 'WITHSCORES')
    wait = math.max(wait, oldest[2] + window - now)
  end
end
local failing = alone and redis.call('EXISTS', probing) == 1
if failing then wait = math.max(wait, redis.call('HGET', probing, 'next') - now) end
if wait > 0 then return math.ceil(wait) end
for i = 2, #KEYS do
  redis.call('ZADD', KEYS[i], string.format('%.0f', now), ARGV[1])
  redis.call('PEXPIRE', KEYS[i], math.ceil(ARGV[2 * i + 1] / 1000))
end
if failing then
  redis.call('HSET', probing, 'prober', ARGV[1], 'next', string.format('%.0f', now + ARGV[3]))
end
return 0
"""
"""One sorted set for each cap: who took a place, and when by Redis's clock. The first key has the
failures since a session was live, when one may try again, and who tries now; absent: none failed."""

_FAILED: Final = """
local time = redis.call('TIME')
local now = time[1] * 1000000 + time[2]
local known = redis.call('HMGET', KEYS[1], 'failures', 'next', 'prober')
local failures = tonumber(known[1] or 0)
if known[3] ~= ARGV[1] and now < tonumber(known[2] or 0) then return 0 end
local interval = math.min(ARGV[2] * 2 ^ math.min(failures, 30), tonumber(ARGV[3]))
redis.call('HSET', KEYS[1], 'failures', failures + 1, 'prober', '',
  'next', string.format('%.0f', now + interval))
redis.call('PEXPIRE', KEYS[1], ARGV[4])
return 0
"""


class SharedAdmission(Admission):
    """The same rule as `Admission` for all processes of one address, restarts included.

    While Redis is away each process keeps the caps alone.

    Args:
        redis: made by `exchange.reach.connect`, or as impatient.
        name: of the exchange.
        probes: how often to try while all are down.
        clock: returns seconds from any fixed start, never going back; used while Redis is away.
    """

    def __init__(
        self,
        redis: Redis,
        name: str,
        caps: StreamCaps,
        *,
        probes: Probes = USUAL_PROBES,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        super().__init__(caps, probes=probes, clock=clock)
        self._redis = redis
        self._take = redis.register_script(_TAKE)
        self._failed = redis.register_script(_FAILED)
        self._reach = Reach("stream admission", clock=clock)
        self._of_dials = f"admission:{name}:dials"
        self._of_authentications = f"admission:{name}:authentications"
        self._of_probing = {
            False: f"admission:{name}:probing:prices",
            True: f"admission:{name}:probing:accounts",
        }
        self._probes = {False: probes, True: probes.of_accounts}

    def wait_s(self, *, authenticates: bool, name: str = "", alone: bool = False) -> float:
        name, caps = name or token_hex(8), self._caps
        keys = [self._of_probing[authenticates], self._of_dials]
        args: list[str | int] = [name, int(alone), _us(PROBING_S)]
        args += [caps.account_dials_per_hour if authenticates else caps.dials_per_hour]
        args += [_us(HOUR_S * MARGIN)]
        if authenticates:
            keys += [self._of_authentications]
            args += [caps.authentications_per_minute, _us(MINUTE_S * MARGIN)]
        wait_us = self._reach.call(lambda: self._take(keys=keys, args=args))
        if not isinstance(wait_us, int):
            return super().wait_s(authenticates=authenticates, name=name, alone=alone)
        return wait_us / _SECOND_US

    def ended(self, attempt: Attempt, *, authenticates: bool, name: str, alone: bool) -> None:
        super().ended(attempt, authenticates=authenticates, name=name, alone=alone)
        self._reach.call(lambda: self._end(attempt, name, authenticates=authenticates, alone=alone))

    def _end(self, attempt: Attempt, name: str, *, authenticates: bool, alone: bool) -> object:
        """Do the same in one round trip; what was taken while Redis was away is not there."""
        with self._redis.pipeline(transaction=False) as at_once:
            if not attempt.stood:
                at_once.zrem(self._of_dials, name)
            if not attempt.signed_in:
                at_once.zrem(self._of_authentications, name)
            if attempt.live:
                at_once.delete(
                    *[self._of_probing[lane] for lane in lanes_proven(authenticates=authenticates)]
                )
            elif alone:
                probes = self._probes[authenticates]
                self._failed(
                    keys=[self._of_probing[authenticates]],
                    args=[name, _us(probes.first_s), _us(probes.most_s), round(HOUR_S * 1000)],
                    client=at_once,
                )
            return at_once.execute()


def _us(seconds: float) -> int:
    return round(seconds * _SECOND_US)
