"""Keeping processes running: one that crashes starts again, all of them stop together."""

import time
from collections.abc import Callable, Iterable
from typing import Final

from hubdefisats.stack.processes import Process, Program
from hubdefisats.stack.terminal import Terminal

FIRST_WAIT_S: Final = 1.0
LONGEST_WAIT_S: Final = 30.0
_HEALTHY_AFTER_S: Final = 30.0
"""One that ran for so long is not crashing at its start: the next wait is the first one again."""

STOPS_WITHIN_S: Final = 6.0


class Supervisor:
    """Starts its programs when entered into `start`, and watches them in `tend`, to be called often."""

    def __init__(
        self,
        programs: Iterable[Program],
        terminal: Terminal,
        *,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._kept = [_Kept(program, terminal, clock) for program in programs]
        self._terminal = terminal

    def start(self) -> None:
        for kept in self._kept:
            kept.start()

    def tend(self) -> None:
        for kept in self._kept:
            kept.tend()

    def pids(self) -> dict[str, int]:
        """Return the processes that run now, by name."""
        return {kept.program.name: kept.process.pid for kept in self._kept if kept.process is not None}

    def stop(self, *, within_s: float = STOPS_WITHIN_S) -> None:
        """Ask all of them to end, the last started first, and kill those that do not in time."""
        running = [kept.process for kept in reversed(self._kept) if kept.process is not None]
        for process in running:
            process.ask_to_end()
        end = time.monotonic() + within_s
        for process in running:
            if not process.end_within(end - time.monotonic()):
                self._terminal.say("stack", f"{process.program.name} did not stop in time: killed")


class _Kept:
    """One program, its process while it runs, and when it may start again while it does not."""

    def __init__(self, program: Program, terminal: Terminal, clock: Callable[[], float]) -> None:
        self.program = program
        self.process: Process | None = None
        self._terminal = terminal
        self._clock = clock
        self._started_at = 0.0
        self._due_at = 0.0
        self._wait_s = FIRST_WAIT_S

    def start(self) -> None:
        self._started_at = self._clock()
        self.process = Process(self.program, self._terminal)

    def tend(self) -> None:
        if self.process is None:
            if self._clock() >= self._due_at:
                self.start()
        elif (ending := self.process.ending()) is not None:
            self.process = None
            self._plan(ending)

    def _plan(self, ending: str) -> None:
        now = self._clock()
        if now - self._started_at >= _HEALTHY_AFTER_S:
            self._wait_s = FIRST_WAIT_S
        self._terminal.say(
            "stack", f"{self.program.name} {ending}; it starts again in {self._wait_s:g} s"
        )
        self._due_at = now + self._wait_s
        self._wait_s = min(2 * self._wait_s, LONGEST_WAIT_S)
