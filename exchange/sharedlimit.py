"""The exchange's limits kept by all our processes together, through Redis."""

import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Final

from redis import Redis

from exchange.config import Rate
from exchange.ratelimit import LocalLimiter, Scope
from exchange.reach import Reach

_ALONE_SHARE: Final = 0.25
"""Without Redis each process takes this part of a rate: others may be doing the same."""
_KEPT_MS: Final = 60_000
_SECOND_US: Final = 1_000_000

_LOAD: Final = """
local time = redis.call('TIME')
local now = time[1] * 1000000 + time[2]
local stored = redis.call('HMGET', KEYS[1], 'all', 'ordinary', 'held')
local all, ordinary = tonumber(stored[1] or 0), tonumber(stored[2] or 0)
local held = tonumber(stored[3] or 0)
local function store(field, value) redis.call('HSET', KEYS[1], field, string.format('%.0f', value)) end
local function keep() redis.call('PEXPIRE', KEYS[1], math.max(0, held - now) / 1000 + ARGV[1]) end
"""
"""Redis's own clock is the one that all share. `all` and `ordinary` say when the next call is due."""

_TAKE: Final = (
    _LOAD
    + """
local every, ordinary_every = tonumber(ARGV[2]), tonumber(ARGV[3])
local slack, protective = tonumber(ARGV[4]), ARGV[5] == '1'
local free = math.max(held, all - slack * every)
if not protective then free = math.max(free, ordinary - slack * ordinary_every) end
if free > now then return free - now end
store('all', math.max(all, now) + every)
if not protective then store('ordinary', math.max(ordinary, now) + ordinary_every) end
keep()
return 0
"""
)

_HOLD: Final = (
    _LOAD
    + """
held = math.max(held, now + ARGV[2])
store('held', held)
keep()
return 0
"""
)


class SharedLimiter:
    """The same rule as `TokenBucket`, in one atomic step for all processes (4.4).

    Args:
        redis: made by `exchange.reach.connect`, or as impatient.
        clock: returns seconds from any fixed start, never going back; used while Redis is away.
    """

    def __init__(
        self,
        redis: Redis,
        rates: Mapping[Scope, Rate],
        *,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._rates = rates
        self._take = redis.register_script(_TAKE)
        self._hold = redis.register_script(_HOLD)
        self._reach = Reach("rate limits", clock=clock)
        alone = {
            scope: replace(rate, per_s=rate.per_s * _ALONE_SHARE, burst=1)
            for scope, rate in rates.items()
        }
        self._alone = LocalLimiter(alone, clock=clock)

    def wait_s(self, scope: Scope, owner: str, *, protective: bool) -> float:
        rate = self._rates[scope]
        args = [
            _KEPT_MS,
            round(_SECOND_US / rate.per_s),
            round(_SECOND_US / rate.ordinary_per_s),
            rate.burst - 1,
            int(protective),
        ]
        wait_us = self._reach.call(lambda: self._take(keys=[_key(scope, owner)], args=args))
        if isinstance(wait_us, int):
            return wait_us / _SECOND_US
        return self._alone.wait_s(scope, owner, protective=protective)

    def hold(self, scope: Scope, owner: str, *, after_s: float) -> None:
        args = [_KEPT_MS, round(after_s * _SECOND_US)]
        self._reach.call(lambda: self._hold(keys=[_key(scope, owner)], args=args))
        # Remembered here too: Redis may be away, or go away before the time is over.
        self._alone.hold(scope, owner, after_s=after_s)


def _key(scope: Scope, owner: str) -> str:
    return f"rate:{scope}:{owner}"
