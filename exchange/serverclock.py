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
    def measured(self) -> bool:
        return self._measured_at is not None

    @property
    def fresh(self) -> bool:
        return self._measured_at is not None and self._clock() - self._measured_at < _FRESH_S

    def now_ms(self) -> int:
        return self._wall_ms() + self.offset_ms

    def measure(self, ask: Callable[[], int]) -> bool:
        """Ask the exchange's time, in ms, and return whether our idea of it moved noticeably.

        The answer is taken to be true for the middle of the round trip.
        """
        before, started = self._wall_ms(), self._clock()
        server_ms = ask()
        ended = self._clock()
        offset = server_ms - before - round((ended - started) * 500)
        moved = abs(offset - self.offset_ms) > _NOTICEABLE_MS
        self.offset_ms, self._measured_at = offset, ended
        return moved

    def forget(self) -> None:
        """Hold the offset for unknown: the exchange refused a signature."""
        self._measured_at = None
