"""Limits on how often something may happen."""

from dataclasses import dataclass
from typing import Final

REST_GRACE_S: Final = 0.05
"""A client that paces itself exactly is not refused for the jitter of its own network."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Rate:
    """At most `most` in any window of `window_s` seconds that begins with the first.

    With a burst: that many at once, and `most` more in `window_s` seconds, evenly (12).
    """

    most: int
    window_s: float
    burst: int | None = None

    @property
    def at_once(self) -> int:
        return self.most if self.burst is None else self.burst


@dataclass(slots=True)
class _Window:
    begins_s: float
    used: float


class Windows:
    """Counts per name: a key, an IP. A budget is full again `window_s` after its first use."""

    def __init__(self, rate: Rate) -> None:
        self.rate = rate
        self._windows: dict[str, _Window] = {}

    def take(self, name: str, now_s: float) -> bool:
        """Use one; False, and nothing used, where none is left. `now_s` never goes back."""
        window = self._current(name, now_s)
        if window.used > self.rate.at_once - 1:
            return False
        window.used += 1
        return True

    def left(self, name: str, now_s: float) -> int:
        return int(self.rate.at_once - self._current(name, now_s).used)

    def full_in_s(self, name: str, now_s: float) -> float:
        """Return the seconds until the budget is full again."""
        window = self._current(name, now_s)
        if self.rate.burst is not None:
            return window.used * self.rate.window_s / self.rate.most
        return window.begins_s + self.rate.window_s - now_s

    def _current(self, name: str, now_s: float) -> _Window:
        window = self._windows.get(name)
        if window is not None and self.rate.burst is not None:
            refilled = (now_s - window.begins_s) * self.rate.most / self.rate.window_s
            window.used, window.begins_s = max(0.0, window.used - refilled), now_s
            return window
        if window is None or now_s - window.begins_s >= self.rate.window_s:
            window = self._windows[name] = _Window(now_s, 0)
        return window
