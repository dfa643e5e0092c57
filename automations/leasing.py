"""Which accounts this stream process may watch: leases in PostgreSQL, no account with two holders.

All leases of a process hang on its one row in `StreamProcess`, so that a heartbeat is one small update
however many accounts it serves (docs/decisions/0004-leases.md).
"""

import math
import os
import socket
import time
from collections.abc import Callable, Collection
from dataclasses import dataclass
from typing import Final

from django.db import connection

_JOIN: Final = """
INSERT INTO automations_streamprocess (name, alive_until, holds)
VALUES (%(name)s, clock_timestamp() + make_interval(secs => %(lease_s)s), 0) RETURNING id
"""
_RENEW: Final = """
UPDATE automations_streamprocess
SET alive_until = clock_timestamp() + make_interval(secs => %(lease_s)s), holds = %(holds)s
WHERE id = %(id)s
"""
_COUNT: Final = "UPDATE automations_streamprocess SET holds = %(holds)s WHERE id = %(id)s"
_BURY: Final = """
WITH gone AS (
    DELETE FROM automations_streamprocess WHERE alive_until < clock_timestamp() RETURNING id
)
UPDATE automations_lease SET holder_id = NULL FROM gone WHERE holder_id = gone.id
"""
_LEAVE: Final = """
WITH gone AS (DELETE FROM automations_streamprocess WHERE id = %(id)s RETURNING id)
UPDATE automations_lease SET holder_id = NULL FROM gone WHERE holder_id = gone.id
"""
_SHARE: Final = """
SELECT coalesce(sum(holds), 0) + (SELECT count(*) FROM automations_lease WHERE holder_id IS NULL),
    count(*)
FROM automations_streamprocess
"""
_TAKE: Final = """
WITH free AS MATERIALIZED (
    SELECT account_id FROM automations_lease WHERE holder_id IS NULL
    ORDER BY account_id LIMIT %(most)s FOR UPDATE SKIP LOCKED
)
UPDATE automations_lease AS lease SET holder_id = %(id)s FROM free
WHERE lease.account_id = free.account_id RETURNING lease.account_id
"""
_RELEASE: Final = """
UPDATE automations_lease SET holder_id = NULL
WHERE holder_id = %(id)s AND account_id = ANY(%(accounts)s)
"""
_WANTED: Final = """
SELECT account.id FROM accounts_account AS account
WHERE account.is_active AND account.verified_at IS NOT NULL AND EXISTS (
    SELECT FROM automations_automation WHERE account_id = account.id AND enabled
)
"""
_OFFER_ALL: Final = (
    f"INSERT INTO automations_lease (account_id) {_WANTED} ON CONFLICT (account_id) DO NOTHING"
)
_OFFER: Final = f"""
INSERT INTO automations_lease (account_id) {_WANTED} AND account.id = ANY(%(accounts)s)
ON CONFLICT (account_id) DO NOTHING
"""
_DROP: Final = f"""
DELETE FROM automations_lease WHERE holder_id = %(id)s AND account_id = ANY(%(accounts)s)
AND account_id NOT IN ({_WANTED} AND account.id = ANY(%(accounts)s)) RETURNING account_id
"""  # noqa: S608 - put together from nothing but what stands above
_HELD: Final = "SELECT account_id FROM automations_lease WHERE holder_id = %(id)s"


Value = int | float | str | list[int] | None


class Fence:
    """Until when a process may act on its leases, by its own clock.

    Reckoned from before the renewal was asked for, and shorter than the lease: whoever could not renew
    has stopped before anybody else may begin, whatever its database or network does. Asked by several
    threads.

    Args:
        clock: returns seconds from any fixed start, never going back.
    """

    def __init__(self, valid_s: float, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._valid_s = valid_s
        self._clock = clock
        self._until_s = -math.inf

    def renew(self, asked_s: float) -> None:
        self._until_s = asked_s + self._valid_s

    def drop(self) -> None:
        self._until_s = -math.inf

    @property
    def left_s(self) -> float:
        """The seconds that are left; 0 where the process may not act."""
        return max(0.0, self._until_s - self._clock())

    @property
    def stands(self) -> bool:
        return self._clock() < self._until_s


@dataclass(frozen=True, slots=True, kw_only=True)
class Terms:
    """How leases are kept, in seconds."""

    lease_s: float
    """A process that was not heard for this long has lost what it held."""
    heartbeat_s: float
    margin_s: float
    """It stops this long before that by itself."""


class Leases:
    """The leases of this process. Used by one thread; its fence by all.

    Every method but those of the fence asks the database, and raises its errors.

    Args:
        clock: returns seconds from any fixed start, never going back.
    """

    def __init__(self, terms: Terms, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._terms = terms
        self._clock = clock
        self._renewed_s = -math.inf
        self.process_id: int | None = None
        self.held: set[int] = set()
        self.share = 0
        """How many accounts would be its part, were they shared evenly."""
        self.fence = Fence(terms.lease_s - terms.margin_s, clock=clock)

    @property
    def surplus(self) -> int:
        return len(self.held) - self.share

    @property
    def is_due(self) -> bool:
        return self._clock() - self._renewed_s >= self._terms.heartbeat_s

    def renew(self) -> bool:
        """Live on, or begin to; return False where everything that was held is lost."""
        asked_s = self._clock()
        if self.process_id is None:
            (self.process_id,) = self._found(_JOIN, name=f"{socket.gethostname()}:{os.getpid()}")
        elif not self._run(_RENEW, holds=len(self.held)):
            self.fence.drop()
            self.process_id, self.held = None, set()
            return False
        self.fence.renew(asked_s)
        self._renewed_s = asked_s
        self._run(_BURY)
        with connection.cursor() as cursor:
            cursor.execute(_SHARE)
            accounts, processes = cursor.fetchone()
        self.share = -(-int(accounts) // max(1, processes))
        return True

    def take(self) -> set[int]:
        """Take what nobody holds, up to this process's share; return what was taken."""
        if self.surplus >= 0:
            return set()
        taken = set(self._found(_TAKE, most=-self.surplus))
        if taken:
            self._hold(self.held | taken)
        return taken

    def release(self, accounts: Collection[int]) -> None:
        """Give up accounts that this process watches no more; another may have them at once."""
        if accounts:
            self._run(_RELEASE, accounts=list(accounts))
            self._hold(self.held - set(accounts))

    def offer(self, accounts: Collection[int]) -> None:
        """Put up those of the accounts that want watching, for whoever has less than its part."""
        self._run(_OFFER, accounts=list(accounts))

    def offer_all(self) -> None:
        """Put up every account that wants watching."""
        self._run(_OFFER_ALL)

    def drop(self, accounts: Collection[int]) -> None:
        """Take down those of the held accounts that want no watching any more."""
        if accounts:
            self._hold(self.held - set(self._found(_DROP, accounts=list(accounts))))

    def check(self) -> None:
        """Read what is held from the database, after an answer that was lost."""
        self.held = set(self._found(_HELD))

    def leave(self) -> None:
        """Give up everything, at the end; the caller watches nothing any more."""
        self.fence.drop()
        if self.process_id is not None:
            self._run(_LEAVE)
            self.process_id, self.held = None, set()

    def _hold(self, accounts: set[int]) -> None:
        """Hold exactly these, and let the others know how many, for they reckon their part from it."""
        self.held = accounts
        self._run(_COUNT, holds=len(accounts))

    def _run(self, statement: str, **values: Value) -> int:
        with connection.cursor() as cursor:
            cursor.execute(statement, self._values(values))
            return int(cursor.rowcount)

    def _found(self, statement: str, **values: Value) -> list[int]:
        with connection.cursor() as cursor:
            cursor.execute(statement, self._values(values))
            return [number for (number,) in cursor.fetchall()]

    def _values(self, values: dict[str, Value]) -> dict[str, Value]:
        return {"id": self.process_id, "lease_s": self._terms.lease_s, **values}
