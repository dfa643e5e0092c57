"""How often we may ask: the exchange's limits kept on our side, with room reserved for protection."""

import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Final, Protocol

from exchange.config import Rate


class Scope(StrEnum):
    """What the exchange counts apart (API notes, 4.4)."""

    PUBLIC = "public"
    """Calls without a key, counted per address of ours."""
    PRIVATE = "private"
    """Signed calls, counted per key."""


NOT_URGENT: Final = 1e9
"""The urgency of a write that cuts risk and of which nothing more is known."""
RENEWED_S: Final = 0.05
"""Whoever waits for a slot asks again within this time."""
FORGOTTEN_S: Final = 1.0
"""Whoever did not for this long waits no more: its process may be dead."""

LONGEST_HOLD_S: Final = 300.0
"""Ordinary calls wait this long at most; then one asks again, and the answer decides."""
DOUBTED_HOLD_S: Final = 60.0
"""A longer hold may be a mistake, such as milliseconds sent as seconds, and a position may be lost
meanwhile: protective calls do not wait for its end."""
HEEDED_S: Final = 60.0
"""So long a limit that the exchange told counts."""
TRIAL_S: Final = 1.0
"""During such a hold one protective call may go in this time."""


def hold_s(after_s: float, *, protective: bool) -> float:
    """Return how long calls of a kind wait where the exchange asked to wait for `after_s` seconds."""
    if protective and after_s > DOUBTED_HOLD_S:
        return TRIAL_S
    return min(after_s, LONGEST_HOLD_S)


@dataclass(frozen=True, slots=True, kw_only=True)
class Waiter:
    """Who asks for a slot; whoever waits asks again under the same name."""

    urgency: float | None = None
    """None: an ordinary call. A number: a protective one, the smaller the more urgent; what was said
    last counts."""
    name: str = ""
    """Tells it from all others, in all processes."""
    takes: bool = True
    """False: it only waits until there is a slot for it, and stays in front until it asks to take it,
    or asks once more without any patience."""

    @property
    def protective(self) -> bool:
        return self.urgency is not None


ORDINARY: Final = Waiter()


class Limiter(Protocol):
    """Who is asked before each request."""

    def wait_s(
        self, scope: Scope, owner: str, waiter: Waiter = ORDINARY, *, within_s: float = 0.0
    ) -> float:
        """Take a slot and return 0; or take nothing and return the seconds until one may be free.

        `owner` names those whose calls are counted together: a key, or the exchange's address. A
        protective call is a write that cuts risk; it may use the room that all others keep free. Of
        those that wait the most urgent gets the next slot, and ordinary ones get none before them.
        It waits only where it is told to wait no longer than `within_s`, and must then ask again
        within `RENEWED_S`.
        """

    def hold(self, scope: Scope, owner: str, *, after_s: float) -> None:
        """Let nobody call for `after_s` seconds: the exchange said so (`Retry-After`).

        Of a hold longer than `DOUBTED_HOLD_S` protective calls try the truth, one each `TRIAL_S`;
        ordinary ones wait for its end, `LONGEST_HOLD_S` at most.
        """

    def heed(self, scope: Scope, owner: str, *, per_s: float) -> None:
        """Take over what the exchange says is its limit; one above ours changes nothing.

        It counts for `HEEDED_S`: every answer says it again, or it holds no more.
        """

    def release(self, scope: Scope, owner: str) -> bool:
        """End a hold during which a protective call was let through and has succeeded.

        Returns whether there was one. A refusal since that call keeps the hold.
        """


@dataclass(slots=True)
class _Lane:
    """When the next call of a kind is due if all come evenly: the theoretical arrival time."""

    due_at: float = 0.0


class _Queue:
    """Who waits for a slot, by urgency, then by when it began to wait."""

    def __init__(self) -> None:
        self._waiting: dict[str, tuple[float, float, float]] = {}
        """By name: urgency, since when, and until when it counts."""

    def before(self, waiter: Waiter, now: float) -> int:
        """Return how many are to go first; an ordinary call lets all of them go."""
        self._waiting = {name: each for name, each in self._waiting.items() if each[2] > now}
        if waiter.urgency is None:
            return len(self._waiting)
        mine = (waiter.urgency, self._since(waiter.name, now))
        return sum(each[:2] < mine for name, each in self._waiting.items() if name != waiter.name)

    def join(self, waiter: Waiter, now: float) -> None:
        if waiter.urgency is not None:
            since = self._since(waiter.name, now)
            self._waiting[waiter.name] = (waiter.urgency, since, now + FORGOTTEN_S)

    def leave(self, waiter: Waiter) -> None:
        self._waiting.pop(waiter.name, None)

    def _since(self, name: str, now: float) -> float:
        return self._waiting[name][1] if name in self._waiting else now


class TokenBucket:
    """Allow `rate.per_s` calls a second, `rate.burst` at once; ordinary ones leave the reserve free.

    Two evenly refilled lanes: every call passes the first, an ordinary one must also fit into the
    second, which is slower by the reserve. So under full ordinary load a protective call finds the
    next slot free.

    Args:
        clock: returns seconds from any fixed start, never going back.
    """

    def __init__(self, rate: Rate, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._rate = rate
        self._clock = clock
        self._lock = threading.Lock()
        self._all = _Lane()
        self._ordinary = _Lane()
        self._held_until = 0.0
        self._protective_held_until = 0.0
        self._tried = False
        """Whether a call went during a hold and no refusal has come since."""
        self._queue = _Queue()
        self._told_per_s = rate.per_s
        self._told_until = 0.0

    def wait_s(self, waiter: Waiter = ORDINARY, *, within_s: float = 0.0) -> float:
        """Take a slot and return 0; or take nothing and return the seconds until one may be free."""
        with self._lock:
            now = self._clock()
            rate = self._rate_at(now)
            lanes = [(self._all, rate.per_s)]
            if not waiter.protective:
                lanes.append((self._ordinary, rate.ordinary_per_s))
            slack = rate.burst - 1
            free_at = max(lane.due_at - slack / per_s for lane, per_s in lanes)
            before = self._queue.before(waiter, now)
            held_until = self._protective_held_until if waiter.protective else self._held_until
            wait = max(free_at - now, held_until - now, 0.0) + before / rate.per_s
            stays = wait > 0 or not waiter.takes
            if stays and 0 < within_s >= wait:
                self._queue.join(waiter, now)
            else:
                self._queue.leave(waiter)
            if wait == 0 and waiter.takes:
                for lane, per_s in lanes:
                    lane.due_at = max(lane.due_at, now) + 1 / per_s
                if self._held_until > now:
                    self._tried, self._protective_held_until = True, now + TRIAL_S
            return wait

    def heed(self, *, per_s: float) -> None:
        with self._lock:
            self._told_per_s, self._told_until = per_s, self._clock() + HEEDED_S

    def _rate_at(self, now: float) -> Rate:
        if now >= self._told_until or self._told_per_s >= self._rate.per_s:
            return self._rate
        return replace(self._rate, per_s=self._told_per_s)

    def hold(self, *, after_s: float) -> None:
        with self._lock:
            now, self._tried = self._clock(), False
            until = now + hold_s(after_s, protective=False)
            self._held_until = max(self._held_until, until)
            until = now + hold_s(after_s, protective=True)
            self._protective_held_until = max(self._protective_held_until, until)

    def note_trial(self) -> None:
        """Note a call that went during a hold which is kept elsewhere."""
        with self._lock:
            self._tried = True

    def release(self) -> bool:
        with self._lock:
            released, self._tried = self._tried, False
            if released:
                self._held_until = self._protective_held_until = 0.0
            return released


class LocalLimiter:
    """Limits of this process alone."""

    def __init__(
        self, rates: Mapping[Scope, Rate], *, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._rates = rates
        self._clock = clock
        self._lock = threading.Lock()
        self._buckets: dict[tuple[Scope, str], TokenBucket] = {}

    def wait_s(
        self, scope: Scope, owner: str, waiter: Waiter = ORDINARY, *, within_s: float = 0.0
    ) -> float:
        return self._bucket(scope, owner).wait_s(waiter, within_s=within_s)

    def hold(self, scope: Scope, owner: str, *, after_s: float) -> None:
        self._bucket(scope, owner).hold(after_s=after_s)

    def heed(self, scope: Scope, owner: str, *, per_s: float) -> None:
        self._bucket(scope, owner).heed(per_s=per_s)

    def note_trial(self, scope: Scope, owner: str) -> None:
        self._bucket(scope, owner).note_trial()

    def release(self, scope: Scope, owner: str) -> bool:
        return self._bucket(scope, owner).release()

    def _bucket(self, scope: Scope, owner: str) -> TokenBucket:
        with self._lock:
            bucket = self._buckets.get((scope, owner))
            if bucket is None:
                bucket = TokenBucket(self._rates[scope], clock=self._clock)
                self._buckets[scope, owner] = bucket
            return bucket
