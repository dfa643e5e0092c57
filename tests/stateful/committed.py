"""What is committed at this very moment, as a connection that is nobody's else sees it."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final, Self

import psycopg2
from django.db import connection

ISOLATED: Final = "/v3/futures/isolated/trade"
CROSS: Final = "/v3/futures/cross"

_MEANS: Final = {
    ("POST", ISOLATED): "does = 'open_position' AND client_id = %(clientId)s",
    ("POST", f"{ISOLATED}/add-margin"): (
        "does = 'add_margin' AND position_id = %(id)s AND amount_sats = %(amount)s"
    ),
    ("POST", f"{ISOLATED}/close"): (
        "does IN ('close_position', 'reduce_position') AND position_id = %(id)s"
    ),
    ("PUT", f"{ISOLATED}/stoploss"): (
        "does IN ('set_stoploss', 'set_trailing') AND position_id = %(id)s"
        " AND coalesce(level, distance) = %(value)s"
    ),
    ("PUT", f"{ISOLATED}/takeprofit"): (
        "does = 'set_takeprofit' AND position_id = %(id)s AND level = %(value)s"
    ),
    ("POST", f"{CROSS}/order"): (
        "does IN ('open_position', 'reduce_position') AND regime = 'cross' AND client_id = %(clientId)s"
    ),
    ("POST", f"{ISOLATED}/cancel"): "does = 'cancel_order' AND position_id = %(id)s",
    ("POST", f"{CROSS}/order/cancel"): "does = 'cancel_order' AND position_id = %(id)s",
    ("POST", f"{CROSS}/deposit"): (
        "does = 'add_margin' AND position_id = 'cross' AND amount_sats = %(amount)s"
    ),
    ("POST", f"{CROSS}/position/close"): "does = 'close_position' AND position_id = 'cross'",
}
"""Which intent each request of ours may stand for; one that is not named stands for none."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Intent:
    """A committed execution whose request may be on its way, and what is thrown over it."""

    id: int
    account_id: int
    automation_id: int
    position_id: str
    does: str
    follows_id: int | None
    switches: tuple[str, str, str]
    """Of everything, of the account, of the automation."""
    may_act: bool
    """Whether the account is active and verified, and the automation enabled and no shadow."""


_FIND: Final = """
SELECT e.id, e.account_id, e.automation_id, e.position_id, e.does, e.follows_id,
       ARRAY[i.switch, a.switch, o.switch]::text[],
       a.is_active AND a.verified_at IS NOT NULL AND o.enabled AND NOT o.shadow
FROM automations_execution e
JOIN accounts_account a ON a.id = e.account_id
JOIN automations_automation o ON o.id = e.automation_id
CROSS JOIN accounts_installation i
WHERE e.state IN ('intended', 'sent') AND e.id IN (SELECT id FROM automations_execution WHERE {means})
"""


class Committed:
    """A context manager; not to be used by two threads at once."""

    def __enter__(self) -> Self:
        self._connection = psycopg2.connect(**connection.get_connection_params())
        self._connection.autocommit = True
        return self

    def __exit__(self, *_: object) -> None:
        self._connection.close()

    def behind(self, method: str, path: str, params: Mapping[str, Any]) -> tuple[Intent, ...]:
        """Return the intents that a request may stand for, whosever they are."""
        means = _MEANS.get((method, path))
        if means is None:
            return ()
        given = {name: params.get(name) for name in ("id", "amount", "value", "clientId")}
        with self._connection.cursor() as cursor:
            cursor.execute(_FIND.format(means=means), given)
            return tuple(
                Intent(
                    id=row[0],
                    account_id=row[1],
                    automation_id=row[2],
                    position_id=row[3],
                    does=row[4],
                    follows_id=row[5],
                    switches=tuple(row[6]),
                    may_act=row[7],
                )
                for row in cursor.fetchall()
            )

    def execute(self, statement: str, *values: object) -> None:
        """Do something that others see at once."""
        with self._connection.cursor() as cursor:
            cursor.execute(statement, values)
