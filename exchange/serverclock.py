"""How far the exchange's clock is from ours, as signatures need it."""

import time
from collections.abc import Callable
from typing import Final

_FRESH_S: Final = 600.0
_NOTICEABLE_MS: Final = 1_000
"""The client keeps within a second of `GET /time`; the exchange forgives 30 (API notes, 2.4)."""


def _wall_ms() -> int:
    return time.time_ns() // 1_000_000


class ServerClock:
    """The exchange's time by our own clock and a measured offset; one per exchange will do.

    Args:
        wall_ms: our wall clock, in milliseconds since the epoch.
        clock: returns seconds from any fixed start, never going back.
    """

    def __init__(
        self,
        *,
        wall_ms: Callable[[], int] = _wall_ms,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._wall_ms = wall_ms
        self._clock = clock
        self._measured_at: float | None = None
        self.offset_ms = 0
        """The exchange's time less ours."""

    @property
    def fresh(self) -> bool:
        return self._measured_at is not None and self._clock() - self._measured_at < _FRESH_S

    def now_ms(self) -> int:
        return self._wall_ms() + self.offset_ms

    def measure(self, ask: Callable[[], int]) -> bool:
        """Ask the exchange's time, in ms, and return whether our idea of it moved noticeably."""
        asked_s = self._clock()
        return self.learn(ask(), asked_s=asked_s)

    def learn(self, server_ms: int, *, asked_s: float) -> bool:
        """Take over what the exchange just said, asked at `asked_s` of our steady clock.

        The answer is taken to be true for the middle of the round trip. Returns whether our idea of
        the exchange's time moved noticeably.
        """
        now_s = self._clock()
        halfway_ms = self._wall_ms() - round((now_s - asked_s) * 500)
        moved = abs(server_ms - halfway_ms - self.offset_ms) > _NOTICEABLE_MS
        self.offset_ms, self._measured_at = server_ms - halfway_ms, now_s
        return moved
