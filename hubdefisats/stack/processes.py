"""One child process: in a session of its own, its lines relayed, ended with all that it started."""

import os
import signal
import subprocess
import threading
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from typing import IO

from hubdefisats.local import BASE_DIR
from hubdefisats.stack.terminal import Terminal


@dataclass(frozen=True, slots=True, kw_only=True)
class Program:
    """What to start, and under which name it speaks."""

    name: str
    command: tuple[str, ...]
    variables: Mapping[str, str] = field(default_factory=dict, repr=False)
    """Beside those of this process."""

    @property
    def while_away(self) -> str:
        """Return nothing: what it said before it ended stands on the terminal."""
        return ""

    def start(self, terminal: Terminal) -> "Process":
        return Process(self, terminal)


class Process:
    """A started program. What it says on standard error is relayed, and standard output with it."""

    def __init__(self, program: Program, terminal: Terminal, *, own_output: bool = False) -> None:
        self.program = program
        self._popen = subprocess.Popen(  # noqa: S603 - the project's own programs
            program.command,
            cwd=BASE_DIR,
            env=os.environ | {"PYTHONUNBUFFERED": "1", **program.variables},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE if own_output else subprocess.STDOUT,
            # The terminal's Ctrl-C must reach the supervisor alone, which stops things in order.
            start_new_session=True,
        )
        self._terminal = terminal
        self._relays: list[threading.Thread] = []
        self.last_line = ""
        """What it said last, which is why it ended where it could not start."""
        self.relay(self._popen.stderr if own_output else self._popen.stdout)

    @property
    def pid(self) -> int:
        return self._popen.pid

    @property
    def output(self) -> IO[bytes]:
        """Its standard output, where that was to be kept apart: to be read, then given to `relay`."""
        assert self._popen.stdout
        return self._popen.stdout

    def relay(self, lines: IO[bytes] | None) -> None:
        """Say every line until there are no more."""
        assert lines
        thread = threading.Thread(target=self._relay, args=(lines,), daemon=True)
        self._relays.append(thread)
        thread.start()

    def ending(self) -> str | None:
        """Return how it ended, in words; None while it runs."""
        status = self._popen.poll()
        if status is None:
            return None
        self._end_group()
        if status < 0:
            return f"was killed by {signal.Signals(-status).name}"
        return f"ended with status {status}"

    def ask_to_end(self) -> None:
        self._popen.terminate()

    def end_within(self, seconds: float) -> bool:
        """Wait for it, then kill what is left of its session; return whether it ended by itself."""
        try:
            self._popen.wait(max(0.0, seconds))
            by_itself = True
        except subprocess.TimeoutExpired:
            by_itself = False
        self._end_group()
        self._popen.wait()
        self.hear_out()
        return by_itself

    def hear_out(self) -> None:
        """Wait until its last words are said; whoever inherited its output does not hold us up."""
        for relay in self._relays:
            relay.join(1)

    def _relay(self, lines: IO[bytes]) -> None:
        with lines:
            for line in lines:
                if text := line.decode(errors="replace").rstrip():
                    self.last_line = text
                    self._terminal.say(self.program.name, text)

    def _end_group(self) -> None:
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(self._popen.pid, signal.SIGKILL)
