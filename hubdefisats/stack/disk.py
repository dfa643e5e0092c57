"""Watching the disk on which PostgreSQL keeps the record: people are told when it is full."""

import os
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Final

from hubdefisats.stack.terminal import Terminal

FULL_BELOW: Final = 16 * 1024 * 1024
"""Free bytes: PostgreSQL writes what it is about to do into files of this size."""
_LOOKS_EVERY_S: Final = 1.0
_SAYS_EVERY_S: Final = 60.0


class Disk:
    """Looks in `tend`, to be called often."""

    def __init__(
        self, folder: Path, terminal: Terminal, *, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._folder = folder
        self._terminal = terminal
        self._clock = clock
        self._look_at = self._say_at = 0.0
        self.is_full = False

    def tend(self) -> bool:
        """Say once a minute that the disk is full; return True when it has room again."""
        now = self._clock()
        if now < self._look_at:
            return False
        self._look_at = now + _LOOKS_EVERY_S
        was_full = self.is_full
        with suppress(OSError):
            self._look()
        if self.is_full and now >= self._say_at:
            self._say_at = now + _SAYS_EVERY_S
            self._say(
                "is full: where PostgreSQL cannot write, nothing can act, and nobody is protected. "
                "Delete something; all goes on by itself then"
            )
        if was_full and not self.is_full:
            self._say_at = 0.0
            self._say("has room again")
        return was_full and not self.is_full

    def _look(self) -> None:
        seen = os.statvfs(self._folder)
        # Some file systems count no files.
        out_of_files = bool(seen.f_files) and seen.f_favail == 0
        self.is_full = out_of_files or seen.f_bavail * seen.f_frsize < FULL_BELOW

    def _say(self, what: str) -> None:
        self._terminal.say("stack", f"the disk of {self._folder} {what}")
