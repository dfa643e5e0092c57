"""When a session dials again, and which of several goes first: no socket, no thread."""

from collections.abc import Callable
from typing import Final

from exchange.admission import ASKED_AGAIN_S, Attempt
from exchange.config import Timeouts

_TURN_S: Final = ASKED_AGAIN_S / 4
_FORGOTTEN_S: Final = 2 * ASKED_AGAIN_S
"""Whoever did not ask for this long waits no more."""


class DialQueue:
    """Lets sessions dial one after the other; asked under a lock.

    Who tried in vain more often comes after all others: a key that is refused for ever, at however much
    risk, must not take the one probe that there is while all are down.

    Args:
        risk_of: tells how near an account is to harm.
        clock: returns seconds from any fixed start, never going back.
    """

    def __init__(self, risk_of: Callable[[int], float], *, clock: Callable[[], float]) -> None:
        self._risk_of = risk_of
        self._clock = clock
        self._asked_s: dict[int, float] = {}
        self._tries: dict[int, int] = {}
        """Dials since the session was live."""

    def wait_s(self, account_id: int) -> float:
        """Return 0 where this account's session is the next, else the seconds until it asks again."""
        now_s = self._clock()
        self._asked_s[account_id] = now_s
        waiting = [key for key, at_s in self._asked_s.items() if now_s - at_s <= _FORGOTTEN_S]
        first = max(waiting, key=lambda key: (-self._tries.get(key, 0), self._risk_of(key), -key))
        return 0.0 if first == account_id else _TURN_S

    def dials(self, account_id: int) -> None:
        """Let the next one come: this session dials now."""
        self._asked_s.pop(account_id, None)
        self._tries[account_id] = self._tries.get(account_id, 0) + 1

    def is_live(self, account_id: int) -> None:
        """Forget how often it tried."""
        self._tries.pop(account_id, None)

    def leave(self, account_id: int) -> None:
        """Forget a session that is no more."""
        self._asked_s.pop(account_id, None)
        self._tries.pop(account_id, None)


class Redials:
    """How long one session waits between its connections: longer and longer while they fail.

    Args:
        has_key: whether it signs in.
        chance: returns a number in [0, 1).
    """

    def __init__(self, timeouts: Timeouts, *, has_key: bool, chance: Callable[[], float]) -> None:
        self._timeouts = timeouts
        self._has_key = has_key
        self._chance = chance
        self._failures = 0

    def wait_s(self, attempt: Attempt, *, lasted_s: float, is_alone: bool) -> float:
        """Return the seconds to wait after a connection of which this became, and that lasted so long.

        A fault of this key's own, while other sessions are live, makes its connections rarer: all are
        counted together.
        """
        lasted = attempt.live and lasted_s >= self._timeouts.reconnect_most_s
        self._failures = 1 if lasted else self._failures + 1
        its_own = self._has_key and attempt.stood and not is_alone
        most_s = self._timeouts.refused_most_s if its_own else self._timeouts.reconnect_most_s
        # The exponent is bounded: after days of outage the power would overflow.
        full_s = self._timeouts.reconnect_first_s * 2.0 ** min(self._failures - 1, 30)
        return min(full_s, most_s) * (0.5 + self._chance() / 2)
