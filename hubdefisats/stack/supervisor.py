"""Keeping programs and servers running: what crashes starts again, all of them stop together."""

import time
from collections.abc import Callable, Iterable
from typing import Final, Protocol

from hubdefisats.refusals import RefusalError
from hubdefisats.stack.terminal import Terminal

FIRST_WAIT_S: Final = 1.0
LONGEST_WAIT_S: Final = 30.0
_HEALTHY_AFTER_S: Final = 30.0
"""One that ran for so long is not crashing at its start: the next wait is the first one again."""

STOPS_WITHIN_S: Final = 6.0
_PERSISTS_AFTER: Final = 3
"""So many ends in a row are no accident: then people are told what that means and where to look."""


class Running(Protocol):
    """What was started."""

    @property
    def pid(self) -> int: ...
    def ending(self) -> str | None:
        """Return how it ended, in words; None while it runs."""

    def ask_to_end(self) -> None: ...
    def end_within(self, seconds: float) -> bool:
        """Wait for it, then kill it; return whether it ended by itself."""


class Startable(Protocol):
    """What can be started, and started again."""

    @property
    def name(self) -> str: ...
    @property
    def while_away(self) -> str:
        """Return what people must know where it does not come back; empty: nothing more."""

    def start(self, terminal: Terminal, /) -> Running:
        """Start it, without waiting until it works. Raises OSError or RefusalError."""


class Supervisor:
    """Starts what it is given in `start`, and watches it in `tend`, to be called often."""

    def __init__(
        self,
        startables: Iterable[Startable],
        terminal: Terminal,
        *,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._kept = [_Kept(startable, terminal, clock) for startable in startables]
        self._terminal = terminal
        self._clock = clock

    def start(self) -> None:
        for kept in self._kept:
            kept.start()

    def take_over(self, startable: Startable, running: Running) -> None:
        """Watch what somebody else has started."""
        self._kept.append(_Kept(startable, self._terminal, self._clock, running))

    def tend(self, *, quietly: bool = False) -> None:
        """Start again what ended and is due; `quietly` where people know already why things end."""
        for kept in self._kept:
            kept.tend(quietly=quietly)

    def hurry(self) -> None:
        """Start at the next look whatever is down: the reason for which it ended is gone."""
        for kept in self._kept:
            kept.hurry()

    def pids(self) -> dict[str, int]:
        """Return the processes that run now, by name."""
        return {kept.name: kept.process.pid for kept in self._kept if kept.process is not None}

    def stop(self, *, within_s: float = STOPS_WITHIN_S) -> None:
        """Ask all of them to end, the last started first, and kill those that do not in time."""
        running = [
            (kept.name, kept.process) for kept in reversed(self._kept) if kept.process is not None
        ]
        for _, process in running:
            process.ask_to_end()
        end = time.monotonic() + within_s
        for name, process in running:
            if not process.end_within(end - time.monotonic()):
                self._terminal.say("stack", f"{name} did not stop in time: killed")


class _Kept:
    """One startable, its process while it runs, and when it may start again while it does not."""

    def __init__(
        self,
        startable: Startable,
        terminal: Terminal,
        clock: Callable[[], float],
        process: Running | None = None,
    ) -> None:
        self.name = startable.name
        self.process = process
        self._startable = startable
        self._terminal = terminal
        self._clock = clock
        self._started_at = clock()
        self._due_at = 0.0
        self._wait_s = FIRST_WAIT_S
        self._ends_in_a_row = 0

    def start(self) -> None:
        self._started_at = self._clock()
        self.process = self._startable.start(self._terminal)

    def tend(self, *, quietly: bool) -> None:
        if self.process is None:
            if self._clock() >= self._due_at:
                self._start_again(quietly=quietly)
        elif (ending := self.process.ending()) is not None:
            self.process = None
            self._plan(ending, quietly=quietly)

    def hurry(self) -> None:
        self._due_at, self._wait_s = 0.0, FIRST_WAIT_S

    def _start_again(self, *, quietly: bool) -> None:
        try:
            self.start()
        except (OSError, RefusalError) as error:
            self._plan(f"cannot be started ({error})", quietly=quietly)

    def _plan(self, ending: str, *, quietly: bool) -> None:
        now = self._clock()
        if now - self._started_at >= _HEALTHY_AFTER_S:
            self._wait_s, self._ends_in_a_row = FIRST_WAIT_S, 0
        self._ends_in_a_row += 1
        if not quietly:
            more = self._startable.while_away if self._ends_in_a_row >= _PERSISTS_AFTER else ""
            self._terminal.say(
                "stack",
                f"{self.name} {ending}; it starts again in {self._wait_s:g} s"
                + (f". {more}" if more else ""),
            )
        self._due_at = now + self._wait_s
        self._wait_s = min(2 * self._wait_s, LONGEST_WAIT_S)
