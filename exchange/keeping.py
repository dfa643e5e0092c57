"""How fresh one account's positions are, and when to read them again: no socket, no clock."""

from dataclasses import dataclass, replace
from datetime import datetime
from enum import Enum, auto
from math import inf

from exchange.config import PoolPace
from exchange.position import PositionsSnapshot


class Care(Enum):
    """What keeps an account fresh."""

    STREAM = auto()
    """Its stream; read all the same, for some changes bring no event (API notes, 5.9)."""
    POLLED = auto()
    """Readings alone."""
    EMPTY = auto()
    """Readings alone, and there is nothing to lose."""


@dataclass(slots=True, kw_only=True)
class Keeping:
    """One account's freshness. Times without a date are seconds of the pool's clock."""

    pace: PoolPace
    since_s: float
    """When we began."""
    snapshot: PositionsSnapshot | None = None
    live: bool = False
    """Its stream session is."""
    fallback: bool = False
    """REST has taken over from a stream that should be live."""
    reading: bool = False
    changed: bool = True
    """Something happened since the last reading began, or there was none."""
    changed_at: datetime | None = None
    heard_s: float = -inf
    tried_s: float = -inf
    failures: int = 0
    unreadable: int = 0
    """How many readings in a row had something that could not be read."""
    wait_s: float = 0.0
    """The exchange asked for this patience."""
    empty_since_s: float | None = None

    def care(self, now_s: float) -> Care:
        if self.is_heard(now_s):
            return Care.STREAM
        # What a stream that fell silent hid may be a position.
        return Care.POLLED if self.empty_since_s is None or self.fallback else Care.EMPTY

    @property
    def steady(self) -> bool:
        """Whether nothing speaks against reading a little before the time."""
        return not (self.reading or self.failures)

    def due_s(self, now_s: float, every_s: float) -> float:
        """Return when to read next, where that is usually `every_s` after the last reading."""
        if self.reading:
            return inf
        if self.failures:
            backoff_s = self.pace.retry_s * 2.0 ** min(self.failures - 1, 10)
            return self.tried_s + max(min(backoff_s, self.pace.retry_most_s), self.wait_s)
        if self.changed:
            return now_s
        if self.unreadable:  # a row of them may be readable in a moment
            soon_s = self.pace.retry_s * 2.0 ** min(self.unreadable - 1, 10)
            return self.tried_s + min(soon_s, self.pace.poll_s, every_s)
        return self.tried_s + every_s

    def is_heard(self, now_s: float) -> bool:
        """Whether the stream may be believed."""
        return self.live and now_s - self.heard_s <= self.pace.stale_s

    def is_lost(self, now_s: float) -> bool:
        """Whether a stream that should be live has not been heard for too long."""
        return not self.is_heard(now_s) and now_s - max(self.heard_s, self.since_s) > self.pace.stale_s

    def is_idle(self, now_s: float) -> bool:
        """Whether there has been nothing to watch for long."""
        return self.empty_since_s is not None and now_s - self.empty_since_s > self.pace.idle_s

    def begin_reading(self, now_s: float) -> None:
        self.changed, self.tried_s = False, now_s

    def read(self, snapshot: PositionsSnapshot, now_s: float) -> bool:
        """Take a reading over; return whether it is the newest."""
        self.failures, self.wait_s = 0, 0.0
        if self.snapshot is not None and snapshot.at < self.snapshot.at:
            return False
        self.snapshot = snapshot
        self.unreadable = self.unreadable + 1 if snapshot.unreadable else 0
        if not snapshot.is_empty:
            self.empty_since_s = None
        elif self.empty_since_s is None:
            self.empty_since_s = now_s
        return True

    def failed(self, wait_s: float) -> None:
        self.failures += 1
        self.wait_s = wait_s

    def happened(self, at: datetime, now_s: float) -> None:
        """Note an event of the stream: what was read before it is no longer true."""
        self.heard_s, self.changed, self.changed_at = now_s, True, at

    def confirmed(self, at: datetime, now_s: float) -> PositionsSnapshot | None:
        """Note that all events before `at` have come; return what they confirm, if anything."""
        self.heard_s = now_s
        known = self.snapshot
        if not self.live or known is None or (self.changed_at and known.at <= self.changed_at):
            return None
        if at <= known.fresh_at:
            return None
        self.snapshot = replace(known, confirmed_at=at)
        return self.snapshot
