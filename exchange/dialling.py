"""Which of several waiting sessions dials next: the one whose account is most at risk. No lock."""

from collections.abc import Callable
from typing import Final

from exchange.admission import ASKED_AGAIN_S

_TURN_S: Final = ASKED_AGAIN_S / 4
_FORGOTTEN_S: Final = 2 * ASKED_AGAIN_S
"""Whoever did not ask for this long waits no more."""


class DialQueue:
    """Lets sessions dial one after the other; asked under a lock.

    Args:
        risk_of: tells how near an account is to harm.
        clock: returns seconds from any fixed start, never going back.
    """

    def __init__(self, risk_of: Callable[[int], float], *, clock: Callable[[], float]) -> None:
        self._risk_of = risk_of
        self._clock = clock
        self._asked_s: dict[int, float] = {}

    def wait_s(self, account_id: int) -> float:
        """Return 0 where this account's session is the next, else the seconds until it asks again."""
        now_s = self._clock()
        self._asked_s[account_id] = now_s
        waiting = [key for key, at_s in self._asked_s.items() if now_s - at_s <= _FORGOTTEN_S]
        first = max(waiting, key=lambda key: (self._risk_of(key), -key))
        return 0.0 if first == account_id else _TURN_S

    def leave(self, account_id: int) -> None:
        """Let the next one come: this session dials, or wants to no more."""
        self._asked_s.pop(account_id, None)
