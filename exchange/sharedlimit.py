"""The exchange's limits kept by all our processes together, through Redis."""

import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Final

from redis import Redis

from exchange.config import Rate
from exchange.ratelimit import (
    FORGOTTEN_S,
    HEEDED_S,
    ORDINARY,
    TRIAL_S,
    LocalLimiter,
    Scope,
    Waiter,
    hold_s,
)
from exchange.reach import Reach

_ALONE_SHARE: Final = 0.25
"""Without Redis each process takes this part of a rate: others may be doing the same."""
_HEEDED_AGAIN_S: Final = 10.0
"""The same limit is not written into Redis more often."""
_KEPT_MS: Final = 60_000
_SECOND_US: Final = 1_000_000

_LOAD: Final = """
local time = redis.call('TIME')
local now = time[1] * 1000000 + time[2]
local stored = redis.call(
    'HMGET', KEYS[1], 'all', 'ordinary', 'held', 'protective_held', 'told', 'told_until')
local all, ordinary = tonumber(stored[1] or 0), tonumber(stored[2] or 0)
local held, protective_held = tonumber(stored[3] or 0), tonumber(stored[4] or 0)
local function store(field, value) redis.call('HSET', KEYS[1], field, string.format('%.0f', value)) end
local function keep()
    redis.call('PEXPIRE', KEYS[1], math.ceil(math.max(0, held - now) / 1000 + ARGV[1]))
end
"""
"""Redis's own clock is the one that all share. `all` and `ordinary` say when the next call is due."""

_TAKE: Final = (
    _LOAD
    + """
local every, ordinary_every = tonumber(ARGV[2]), tonumber(ARGV[3])
if tonumber(stored[6] or 0) > now and tonumber(stored[5]) > every then
    ordinary_every = ordinary_every * stored[5] / every
    every = tonumber(stored[5])
end
local slack, name, urgency = tonumber(ARGV[4]), ARGV[5], tonumber(ARGV[6])
local within, forgotten, takes = tonumber(ARGV[7]), tonumber(ARGV[8]), ARGV[9] == '1'
local since, before, waiting = now, 0, {}

local found = redis.call('HGETALL', KEYS[2])
for i = 1, #found, 2 do
    local its_urgency, its_since, ends = string.match(found[i + 1], '(%S+) (%S+) (%S+)')
    if tonumber(ends) <= now then
        redis.call('HDEL', KEYS[2], found[i])
    elseif found[i] == name then
        since = tonumber(its_since)
    else
        waiting[#waiting + 1] = {tonumber(its_urgency), tonumber(its_since)}
    end
end
for _, each in ipairs(waiting) do
    local sooner = each[1] == urgency and each[2] < since
    if not urgency or each[1] < urgency or sooner then before = before + 1 end
end

local free = math.max(urgency and protective_held or held, all - slack * every)
if not urgency then free = math.max(free, ordinary - slack * ordinary_every) end
local wait = math.max(free - now, 0) + before * every
local stays = wait > 0 or not takes
if urgency and stays and within > 0 and wait <= within then
    local stored = string.format('%s %.0f %.0f', ARGV[6], since, now + forgotten)
    redis.call('HSET', KEYS[2], name, stored)
    redis.call('PEXPIRE', KEYS[2], math.ceil(forgotten / 1000))
elseif #found > 0 then
    redis.call('HDEL', KEYS[2], name)
end
if wait > 0 or not takes then return wait end
store('all', math.max(all, now) + every)
if not urgency then store('ordinary', math.max(ordinary, now) + ordinary_every) end
if held > now then
    store('protective_held', now + ARGV[10])
    redis.call('HSET', KEYS[1], 'tried', 1)
end
keep()
return held > now and -1 or 0
"""
)
"""The second key has those who wait: by name the urgency, since when, and until when it counts.

Returns the wait, and -1 for a slot that was taken during a hold.
"""

_HOLD: Final = (
    _LOAD
    + """
held = math.max(held, now + ARGV[2])
store('held', held)
store('protective_held', math.max(protective_held, now + ARGV[3]))
redis.call('HDEL', KEYS[1], 'tried')
keep()
return 0
"""
)

_HEED: Final = (
    _LOAD
    + """
store('told', ARGV[2])
store('told_until', now + ARGV[3])
keep()
return 0
"""
)

_RELEASE: Final = """
if redis.call('HEXISTS', KEYS[1], 'tried') == 1 then
    redis.call('HDEL', KEYS[1], 'tried', 'held', 'protective_held')
end
return 0
"""


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
        self._heed = redis.register_script(_HEED)
        self._release = redis.register_script(_RELEASE)
        self._clock = clock
        self._told: dict[tuple[Scope, str], tuple[float, float]] = {}
        """What was told last of each owner, and when."""
        self._reach = Reach("rate limits", clock=clock)
        alone = {
            scope: replace(rate, per_s=rate.per_s * _ALONE_SHARE, burst=1)
            for scope, rate in rates.items()
        }
        self._alone = LocalLimiter(alone, clock=clock)

    def wait_s(
        self, scope: Scope, owner: str, waiter: Waiter = ORDINARY, *, within_s: float = 0.0
    ) -> float:
        rate = self._rates[scope]
        args: list[str | int] = [
            _KEPT_MS,
            round(_SECOND_US / rate.per_s),
            round(_SECOND_US / rate.ordinary_per_s),
            rate.burst - 1,
            waiter.name,
            "" if waiter.urgency is None else repr(waiter.urgency),
            round(within_s * _SECOND_US),
            round(FORGOTTEN_S * _SECOND_US),
            int(waiter.takes),
            round(TRIAL_S * _SECOND_US),
        ]
        keys = [_key(scope, owner), f"{_key(scope, owner)}:waiting"]
        wait_us = self._reach.call(lambda: self._take(keys=keys, args=args))
        if isinstance(wait_us, int):
            if wait_us < 0:
                self._alone.note_trial(scope, owner)
            return max(wait_us, 0) / _SECOND_US
        return self._alone.wait_s(scope, owner, waiter, within_s=within_s)

    def hold(self, scope: Scope, owner: str, *, after_s: float) -> None:
        holds_s = (hold_s(after_s, protective=protective) for protective in (False, True))
        args = [_KEPT_MS, *(round(each * _SECOND_US) for each in holds_s)]
        self._reach.call(lambda: self._hold(keys=[_key(scope, owner)], args=args))
        # Remembered here too: Redis may be away, or go away before the time is over.
        self._alone.hold(scope, owner, after_s=after_s)

    def heed(self, scope: Scope, owner: str, *, per_s: float) -> None:
        before = self._told.get((scope, owner))
        if before is None and per_s >= self._rates[scope].per_s:
            return
        now = self._clock()
        if before is not None and before[0] == per_s and now - before[1] < _HEEDED_AGAIN_S:
            return
        self._told[scope, owner] = per_s, now
        args = [_KEPT_MS, round(_SECOND_US / per_s), round(HEEDED_S * _SECOND_US)]
        self._reach.call(lambda: self._heed(keys=[_key(scope, owner)], args=args))
        self._alone.heed(scope, owner, per_s=per_s * _ALONE_SHARE)

    def release(self, scope: Scope, owner: str) -> bool:
        released = self._alone.release(scope, owner)
        if released:  # else this process made no trial, and Redis need not be asked
            self._reach.call(lambda: self._release(keys=[_key(scope, owner)]))
        return released


def _key(scope: Scope, owner: str) -> str:
    return f"rate:{scope}:{owner}"
