"""What a person sees: each line with the name of who says it, in colour on a terminal only."""

import threading
from contextlib import suppress
from itertools import cycle
from typing import Final, TextIO

_COLOURS: Final = (36, 32, 33, 35, 34, 31)
_WIDTH: Final = 8


class Terminal:
    """May be used by many threads; a reader that went away stops no one."""

    def __init__(self, out: TextIO) -> None:
        self._out = out
        self._lock = threading.Lock()
        self._colours = cycle(_COLOURS) if out.isatty() else None
        self._prefixes: dict[str, str] = {}

    def say(self, who: str, line: str) -> None:
        with self._lock, suppress(OSError, ValueError):
            print(f"{self._prefix(who)} {line}", file=self._out, flush=True)

    def _prefix(self, who: str) -> str:
        if who not in self._prefixes:
            name = f"{who:{_WIDTH}} |"
            colour = next(self._colours) if self._colours else None
            self._prefixes[who] = f"\x1b[{colour}m{name}\x1b[0m" if colour else name
        return self._prefixes[who]
