"""SQL that PostgreSQL plans once for each connection: planning takes it longer than answering."""

import re
from collections.abc import Callable, Mapping, Sequence
from functools import cache
from hashlib import sha256
from typing import Any, Final
from weakref import WeakKeyDictionary

from django.db import connection, transaction
from django.db.backends.utils import CursorWrapper

_ROOM: Final = re.compile(r"%(?:\((\w+)\))?s")
_KNOWN: Final[WeakKeyDictionary[Any, set[str]]] = WeakKeyDictionary()
"""Which statements each connection has; a new connection has none."""
_EXPECTED: Final[list[Callable[[], str]]] = []


def expect(text: Callable[[], str]) -> None:
    """Have a statement prepared on connections before they are needed."""
    _EXPECTED.append(text)


def prepare_all() -> None:
    """Prepare all that is expected on this thread's connection."""
    with transaction.atomic(), connection.cursor() as cursor:  # some lock, which Django forbids without
        for text in _EXPECTED:
            _prepare(cursor, text())


def execute(
    cursor: CursorWrapper, sql: str, values: Sequence[Any] | Mapping[str, Any], *, first: str = ""
) -> None:
    """Execute one statement as `cursor.execute` does; its text must always be the same.

    `first` is a statement without answer that is sent before it, in the same round trip, and has the
    same values by their names.
    """
    cursor.execute(first + _prepare(cursor, sql), values)


def _prepare(cursor: CursorWrapper, sql: str) -> str:
    """Prepare a statement where it is not yet; return what asks for it."""
    name, prepare, ask = _prepared(sql)
    known = _KNOWN.setdefault(connection.connection, set())
    if name not in known:
        cursor.execute(prepare)
        known.add(name)  # it stays where the transaction is rolled back
    return ask


@cache
def _prepared(sql: str) -> tuple[str, str, str]:
    """Return the statement's name, what prepares it, and what asks for it."""
    rooms = list(dict.fromkeys(_ROOM.findall(sql))) if "%(" in sql else None
    count = iter(range(1, sql.count("%s") + 1))
    numbered = _ROOM.sub(lambda it: f"${rooms.index(it[1]) + 1 if rooms else next(count)}", sql)
    name = f"hub_{sha256(sql.encode()).hexdigest()[:16]}"
    given = [f"%({room})s" for room in rooms] if rooms else ["%s"] * sql.count("%s")
    return name, f"PREPARE {name} AS {numbered}", f"EXECUTE {name} ({', '.join(given)})"
