"""Which accounts' plans changed since the last look, by the database's own notes; none is missed."""

import time
from collections.abc import Callable
from typing import Final

from django.db import connection

_KEPT_S: Final = 3600.0
"""Notes are kept this long; who did not look for half of it reads everything anew."""

_READ: Final = """
SELECT txid_snapshot_xmin(txid_current_snapshot()), note.id, note.account_id, note.transaction
FROM (SELECT 1) AS always LEFT JOIN automations_planchange AS note
    ON note.transaction >= coalesce(%s, txid_snapshot_xmin(txid_current_snapshot()))
"""
_PRUNE: Final = """
DELETE FROM automations_planchange WHERE changed_at < now() - make_interval(secs => %s)
"""


class PlanChanges:
    """Reads the notes (`models.sharing.PlanChange`), each of them once.

    A transaction that commits late has an older number than others that were seen already. So what is
    remembered is not the newest note but the horizon: the oldest transaction that was still running at
    the last look. Everything from there on is read again, and what was seen is left out.

    Args:
        clock: returns seconds from any fixed start, never going back.
    """

    def __init__(self, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._looked_s = float("-inf")
        self._horizon: int | None = None
        self._seen: frozenset[int] = frozenset()

    def read(self) -> set[int] | None:
        """Return the accounts with changes since the last look; None: anything may have changed.

        What the caller reads from the database after this is at least as new as what is told here.
        """
        now_s, horizon = self._clock(), self._horizon
        continues = horizon is not None and now_s - self._looked_s < _KEPT_S / 2
        rows = self._rows(horizon if continues else None)
        self._looked_s, self._horizon = now_s, rows[0][0]
        seen, self._seen = (
            self._seen,
            frozenset(
                note for _, note, _, transaction in rows if note and transaction >= self._horizon
            ),
        )
        # A horizon that went back is of another server, restored from a copy.
        if not continues or self._horizon < (horizon or 0):
            return None
        return {account for _, note, account, _ in rows if note and note not in seen}

    def prune(self) -> None:
        """Delete the notes that nobody reads any more."""
        with connection.cursor() as cursor:
            cursor.execute(_PRUNE, [_KEPT_S])

    def _rows(self, horizon: int | None) -> list[tuple[int, int | None, int, int]]:
        with connection.cursor() as cursor:
            cursor.execute(_READ, [horizon])
            found: list[tuple[int, int | None, int, int]] = cursor.fetchall()
        return found
