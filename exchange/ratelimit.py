"""How often we may ask: the exchange's limits kept on our side, with room reserved for protection."""

import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Protocol

from exchange.config import Rate


class Scope(StrEnum):
    """What the exchange counts apart (API notes, 4.4)."""

    PUBLIC = "public"
    """Calls without a key, counted per address of ours."""
    PRIVATE = "private"
    """Signed calls, counted per key."""


class Limiter(Protocol):
    """Who is asked before each request."""

    def wait_s(self, scope: Scope, owner: str, *, protective: bool) -> float:
        """Take a slot and return 0; or take nothing and return the seconds until one may be free.

        `owner` names those whose calls are counted together: a key, or the exchange's address. A
        protective call is a write that cuts risk; it may use the room that all others keep free.
        """

    def hold(self, scope: Scope, owner: str, *, after_s: float) -> None:
        """Let nobody call for `after_s` seconds: the exchange said so (`Retry-After`)."""


@dataclass(slots=True)
class _Lane:
    """When the next call of a kind is due if all come evenly: the theoretical arrival time."""

    due_at: float = 0.0


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

    def wait_s(self, *, protective: bool = False) -> float:
        """Take a slot and return 0; or take nothing and return the seconds until one may be free."""
        lanes = [(self._all, self._rate.per_s)]
        if not protective:
            lanes.append((self._ordinary, self._rate.ordinary_per_s))
        with self._lock:
            now = self._clock()
            slack = self._rate.burst - 1
            free_at = max(lane.due_at - slack / per_s for lane, per_s in lanes)
            wait = max(free_at, self._held_until) - now
            if wait > 0:
                return wait
            for lane, per_s in lanes:
                lane.due_at = max(lane.due_at, now) + 1 / per_s
            return 0.0

    def hold(self, *, after_s: float) -> None:
        with self._lock:
            self._held_until = max(self._held_until, self._clock() + after_s)


class LocalLimiter:
    """Limits of this process alone."""

    def __init__(
        self, rates: Mapping[Scope, Rate], *, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._rates = rates
        self._clock = clock
        self._lock = threading.Lock()
        self._buckets: dict[tuple[Scope, str], TokenBucket] = {}

    def wait_s(self, scope: Scope, owner: str, *, protective: bool) -> float:
        return self._bucket(scope, owner).wait_s(protective=protective)

    def hold(self, scope: Scope, owner: str, *, after_s: float) -> None:
        self._bucket(scope, owner).hold(after_s=after_s)

    def _bucket(self, scope: Scope, owner: str) -> TokenBucket:
        with self._lock:
            bucket = self._buckets.get((scope, owner))
            if bucket is None:
                bucket = TokenBucket(self._rates[scope], clock=self._clock)
                self._buckets[scope, owner] = bucket
            return bucket
