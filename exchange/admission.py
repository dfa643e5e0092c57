"""When a new connection to the stream may be dialled, within the exchange's caps."""

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from secrets import token_hex
from typing import Final, Protocol

from exchange.config import USUAL_PROBES, Probes, StreamCaps

MARGIN: Final = 1.1
"""What we send evenly may arrive unevenly: our windows are a tenth longer than the exchange's."""
HOUR_S: Final = 3600.0
MINUTE_S: Final = 60.0
ASKED_AGAIN_S: Final = 1.0
"""A session asks again after at most this long: by then another one may have come through."""
PROBING_S: Final = 20.0
"""So long a probe may be on its way before another one is made: its process may be dead."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Attempt:
    """What became of a dial, told once: as soon as its session is live, else when it has ended."""

    stood: bool = False
    """The connection was open: the exchange counts it."""
    signed_in: bool = False
    """A key was shown: the exchange counts that, too."""
    live: bool = False


class Gate(Protocol):
    """What a session asks before it dials, and tells afterwards."""

    def wait_s(self) -> float:
        """Take a place for the next dial and return 0, or return the seconds to wait at least."""

    def ended(self, attempt: Attempt) -> None:
        """Note what became of that dial."""

    def is_alone(self) -> bool:
        """Whether no other session of its kind is live: then a failure is no fault of its own."""


class SlidingWindow:
    """At most so many in any `window_s`. Whoever takes a place has a name, and may give it back."""

    def __init__(self, window_s: float) -> None:
        self._window_s = window_s
        self._taken: dict[str, float] = {}
        """By name, the oldest first."""

    def wait_s(self, now: float, *, most: int) -> float:
        """Return the seconds until one more fits; takes nothing."""
        self._taken = {name: at for name, at in self._taken.items() if at + self._window_s > now}
        times = list(self._taken.values())
        return times[-most] + self._window_s - now if len(times) >= most else 0.0

    def take(self, name: str, now: float) -> None:
        self._taken[name] = now

    def give_back(self, name: str) -> None:
        self._taken.pop(name, None)


class Probing:
    """Who tries while no session is live: one dial at a time, at growing intervals. Has no clock."""

    def __init__(self, probes: Probes) -> None:
        self._probes = probes
        self._failures = 0
        self._next_s = float("-inf")
        self._prober = ""

    def wait_s(self, now: float) -> float:
        """Return the seconds until one may try; 0 also as long as nothing has failed."""
        return max(0.0, self._next_s - now) if self._failures else 0.0

    def take(self, name: str, now: float) -> None:
        if self._failures:
            self._prober, self._next_s = name, now + PROBING_S

    def failed(self, name: str, now: float) -> None:
        """Count a failure; those that were dialled side by side with it count as one."""
        if name == self._prober or now >= self._next_s:
            self._failures += 1
            self._prober, self._next_s = "", now + self._probes.interval_s(self._failures)

    def succeeded(self) -> None:
        self._failures, self._prober = 0, ""


def lanes_proven(*, authenticates: bool) -> list[bool]:
    """Return in which lanes one may dial again once a session is live: prices prove it for accounts."""
    return [True] if authenticates else [False, True]


class Admission:
    """Paces the connections of one address of ours.

    Prices, which need no key, and accounts have a lane each. A part of the dials is kept for prices.
    While no session of a lane is live, one dial probes; prices that are live prove that accounts may
    dial, too. A dial gives its place back where no connection came to stand: what the exchange never
    had to bear is not in its count.

    Args:
        probes: how often to try while all are down.
        clock: returns seconds from any fixed start, never going back.
    """

    def __init__(
        self,
        caps: StreamCaps,
        *,
        probes: Probes = USUAL_PROBES,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._caps = caps
        self._clock = clock
        self._lock = threading.Lock()
        self._dials = SlidingWindow(HOUR_S * MARGIN)
        self._authentications = SlidingWindow(MINUTE_S * MARGIN)
        self._probing = {
            False: Probing(probes),
            True: Probing(probes.of_accounts),
        }
        """By whether it authenticates."""

    def wait_s(self, *, authenticates: bool, name: str = "", alone: bool = False) -> float:
        """Take a place and return 0; or take nothing and return the seconds until one is free.

        Args:
            authenticates: whether the session has a key.
            name: of this one dial, for `ended`.
            alone: whether no other session of the lane is live.
        """
        name = name or token_hex(8)
        with self._lock:
            now, probing = self._clock(), self._probing[authenticates]
            most = self._caps.dials_per_hour
            if authenticates:
                most = self._caps.account_dials_per_hour
            wait_s = self._dials.wait_s(now, most=most)
            if authenticates:
                most = self._caps.authentications_per_minute
                wait_s = max(wait_s, self._authentications.wait_s(now, most=most))
            if alone:
                wait_s = max(wait_s, probing.wait_s(now))
            if wait_s > 0:
                return wait_s
            self._dials.take(name, now)
            if authenticates:
                self._authentications.take(name, now)
            if alone:
                probing.take(name, now)
            return 0.0

    def ended(self, attempt: Attempt, *, authenticates: bool, name: str, alone: bool) -> None:
        """Note what became of the dial of this name, and take back what it did not cost."""
        with self._lock:
            if not attempt.stood:
                self._dials.give_back(name)
            if not attempt.signed_in:
                self._authentications.give_back(name)
            if attempt.live:
                for lane in lanes_proven(authenticates=authenticates):
                    self._probing[lane].succeeded()
            elif alone:
                self._probing[authenticates].failed(name, self._clock())


class Dials:
    """The gate of one session: its dials, one after the other.

    Args:
        authenticates: whether it has a key.
        alone: tells whether no other session of its kind is live.
        turn_s: returns 0 where it is this session's turn among its own kind, else the seconds to wait.
    """

    def __init__(
        self,
        admission: Admission,
        *,
        authenticates: bool,
        alone: Callable[[], bool] = lambda: True,
        turn_s: Callable[[], float] = lambda: 0.0,
    ) -> None:
        self._admission = admission
        self._turn_s = turn_s
        self._authenticates = authenticates
        self.is_alone = alone
        self._name = ""

    def wait_s(self) -> float:
        if (wait_s := self._turn_s()) > 0:
            return wait_s
        name = token_hex(8)
        wait_s = self._admission.wait_s(
            authenticates=self._authenticates, name=name, alone=self.is_alone()
        )
        if wait_s == 0:
            self._name = name
        return min(wait_s, ASKED_AGAIN_S)

    def ended(self, attempt: Attempt) -> None:
        self._admission.ended(
            attempt, authenticates=self._authenticates, name=self._name, alone=self.is_alone()
        )


class OpenGate:
    """The gate of a session that nobody holds back, and that nobody shares."""

    def wait_s(self) -> float:
        return 0.0

    def ended(self, attempt: Attempt) -> None:
        """Note nothing."""

    def is_alone(self) -> bool:
        return False
