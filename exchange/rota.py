"""Whose positions are read now: who is due, and others a little before, lest all come at once."""

from collections.abc import Mapping
from heapq import nsmallest

from exchange.config import PoolPace
from exchange.keeping import Care, Keeping


class Rota:
    """Spreads readings evenly over time. Has no clock; not thread-safe.

    Accounts that began together, or waited together while nothing could be read, would else be read
    together ever after, and one that was just changed would wait behind all of them.
    """

    def __init__(self, pace: PoolPace) -> None:
        self._pace = pace
        self._asked_s: float | None = None
        self._owed = dict.fromkeys(Care, 0.0)
        """Readings that an even spread has not made yet."""

    def due(self, kept: Mapping[int, Keeping], now_s: float) -> list[int]:
        """Return the accounts whose reading is to begin now; `kept` has all that are to be read."""
        passed_s = 0.0 if self._asked_s is None else now_s - self._asked_s
        self._asked_s = now_s
        cared: dict[Care, dict[int, Keeping]] = {care: {} for care in Care}
        for account_id, keeping in kept.items():
            cared[keeping.care(now_s)][account_id] = keeping
        due: list[int] = []
        for care, group in cared.items():
            every_s = self._every_s(care, len(group))
            self._owed[care] = self._owed[care] % 1 + len(group) * min(1.0, passed_s / every_s)
            due += _first(group, now_s, every_s, at_least=int(self._owed[care]))
        return due

    def _every_s(self, care: Care, accounts: int) -> float:
        if care is Care.EMPTY:
            return self._pace.empty_s(accounts)
        return self._pace.reread_s if care is Care.STREAM else self._pace.poll_s


def _first(group: Mapping[int, Keeping], now_s: float, every_s: float, *, at_least: int) -> list[int]:
    """Return all that are due, and as many of the next as are missing from `at_least`."""
    due_s = {account_id: keeping.due_s(now_s, every_s) for account_id, keeping in group.items()}
    overdue = sum(each <= now_s for each in due_s.values())
    next_ones = nsmallest(max(overdue, at_least), due_s, key=due_s.__getitem__)
    return [each for each in next_ones if due_s[each] <= now_s or group[each].steady]
