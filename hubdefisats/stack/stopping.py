"""Being asked to stop: by Ctrl-C, by a service manager, or by the terminal going away."""

import signal
import time
from typing import Final

_SIGNALS: Final = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
_BEAT_S: Final = 0.1


class StoppedError(Exception):
    """Somebody asked us to stop: undo what was started and end well."""


class StopRequest:
    """Only notes the signal. Raising from it could tear a start in two and lose a process."""

    def __init__(self) -> None:
        self.asked = False

    def listen(self) -> None:
        for number in _SIGNALS:
            # What the starter chose to ignore (nohup does) stays ignored.
            if signal.getsignal(number) is not signal.SIG_IGN:
                signal.signal(number, self._note)

    def check(self) -> None:
        """Raise StoppedError once somebody asked."""
        if self.asked:
            raise StoppedError

    def pause(self, seconds: float = _BEAT_S) -> None:
        """Wait, and raise StoppedError soon after somebody asks."""
        end = time.monotonic() + seconds
        while (left := end - time.monotonic()) > 0:
            self.check()
            time.sleep(min(left, _BEAT_S))
        self.check()

    def _note(self, _number: int, _frame: object) -> None:
        self.asked = True
