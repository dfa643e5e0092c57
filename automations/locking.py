"""One worker per position at a time, across all machines."""

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager

from django.db import connection

from automations.outages import DATABASE_ERRORS, database_is_away
from exchange.position import CROSS, PositionId


def lock_name(account_id: int, automation_id: int, position_id: PositionId | None) -> str:
    """Return what at most one worker may hold: a position, or an entry that has none yet."""
    if position_id is None:
        return f"entry {automation_id}"
    return f"cross of {account_id}" if position_id == CROSS else position_id


def closing_lock_name(name: str) -> str:
    """Return what a worker holds that may only close, while another one has the position."""
    return f"{name} closing"


@contextmanager
def position_lock(name: str) -> Iterator[bool]:
    """Yield True while this process alone may act under `name`, False where another one does.

    A PostgreSQL advisory lock of the session rather than a lease in a row: it is free the moment its
    holder dies, and a holder that merely hangs never has to share it. It needs a database connection
    that is not pooled per transaction.
    """
    key = int.from_bytes(hashlib.blake2b(name.encode(), digest_size=8).digest(), signed=True)
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_try_advisory_lock(%s)", [key])
        mine = bool(cursor.fetchone()[0])
    try:
        yield mine
    finally:
        if mine:
            _unlock(key)


def _unlock(key: int) -> None:
    try:
        with connection.cursor() as cursor:
            cursor.execute("SELECT pg_advisory_unlock(%s)", [key])
    except DATABASE_ERRORS as error:
        if not database_is_away(error):
            raise
        # The connection is gone and took the lock with it, or is now.
        connection.close()
