"""When a new connection to the stream may be dialled, within the exchange's caps."""

import threading
import time
from collections import deque
from collections.abc import Callable
from typing import Final

from exchange.config import StreamCaps

MARGIN: Final = 1.1
"""What we send evenly may arrive unevenly: our windows are a tenth longer than the exchange's."""
HOUR_S: Final = 3600.0
MINUTE_S: Final = 60.0


class SlidingWindow:
    """At most `most` in any `window_s`."""

    def __init__(self, most: int, window_s: float) -> None:
        self._most = most
        self._window_s = window_s
        self._taken: deque[float] = deque(maxlen=most)

    def wait_s(self, now: float) -> float:
        """Return the seconds until one more fits; takes nothing."""
        if len(self._taken) < self._most:
            return 0.0
        return max(0.0, self._taken[0] + self._window_s - now)

    def take(self, now: float) -> None:
        self._taken.append(now)


class Admission:
    """Paces the connections of one address of ours.

    Args:
        clock: returns seconds from any fixed start, never going back.
    """

    def __init__(self, caps: StreamCaps, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._dials = SlidingWindow(caps.dials_per_hour, HOUR_S * MARGIN)
        self._authentications = SlidingWindow(caps.authentications_per_minute, MINUTE_S * MARGIN)

    def wait_s(self, *, authenticates: bool) -> float:
        """Take a place and return 0; or take nothing and return the seconds until one is free."""
        windows = [self._dials, self._authentications] if authenticates else [self._dials]
        with self._lock:
            now = self._clock()
            wait_s = max(window.wait_s(now) for window in windows)
            if wait_s == 0:
                for window in windows:
                    window.take(now)
            return wait_s
