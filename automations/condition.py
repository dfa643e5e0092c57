"""What bounds an action at the moment of its intent: switches, and what is used up of each limit."""

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final, Self

from django.db import connection

from automations.models import Automation, Execution
from automations.models.prepared import execute, expect
from exchange.money import Sats

BUDGET_DAY: Final = timedelta(hours=24)
"""A daily budget counts what was spent in the last 24 hours, so that midnight is no reset button."""
_COMMAND_WINDOW: Final = timedelta(minutes=1)
_STATE: Final = Execution.State

_LOCK: Final = "SELECT 1 FROM accounts_account WHERE id = %(account)s FOR NO KEY UPDATE;"
"""Not its key: what only refers to the account can be added meanwhile."""

_READ: Final = """
SELECT ARRAY[coalesce(everything.switch, 'active'), account.switch, automation.switch] AS switches,
       automation.enabled, automation.shadow,
       account.is_active AND account.verified_at IS NOT NULL AS may_act,
       account.reserve_sats, account.budget_per_day_sats, account.commands_per_minute,
       used.*
  FROM accounts_account AS account
  JOIN automations_automation AS automation ON automation.id = %(automation)s
  LEFT JOIN accounts_installation AS everything ON everything.id = 1
 CROSS JOIN LATERAL (
    SELECT count(*) FILTER (WHERE counts AND (live OR own) AND does <> 'notify'
               AND decided_at > %(minute)s) AS commands,
           max(settled_at) FILTER (WHERE counts AND own AND here AND state <> ALL(%(idle)s)
               AND (%(step)s::bigint IS NULL OR step_id = %(step)s)
               AND (%(does)s::text IS NULL OR does = %(does)s)) AS rests_since,
           coalesce(sum(amount_sats) FILTER (WHERE counts AND spends AND own AND here), 0)::bigint
               AS spent_on_position,
           coalesce(sum(amount_sats) FILTER (WHERE counts AND spends AND own AND recent), 0)::bigint
               AS spent_by_automation,
           coalesce(sum(amount_sats) FILTER (WHERE live AND spends AND recent), 0)::bigint
               AS spent_by_account,
           coalesce(sum(amount_sats) FILTER (WHERE live AND spends
               AND (settled_at >= %(asked_at)s OR open)), 0)::bigint AS spent_since
      FROM (
        SELECT *,
               state <> 'shadow' AS live,
               state <> 'shadow' OR automation.shadow AS counts,
               state = ANY(%(spending)s) AS spends,
               state = ANY(%(unsettled)s) AS open,
               automation_id = automation.id AS own,
               position_id = %(position)s AS here,
               decided_at > %(day)s AS recent
          FROM automations_execution
         WHERE account_id = account.id
           AND (decided_at > %(day)s OR position_id = %(position)s OR state = ANY(%(unsettled)s))
      ) AS execution
 ) AS used
 WHERE account.id = %(account)s
"""

expect(lambda: _READ)


@dataclass(frozen=True, slots=True, kw_only=True)
class Condition:
    """How account and automation stand; sats that are spent or may be count as used.

    A live automation is not bound by what a shadow did. A shadow is bound by what it would have spent
    itself, so that it decides as it would live; the account's sums are what was truly spent.
    """

    switches: list[str]
    """Of everything, of the account, of the automation."""
    enabled: bool
    shadow: bool
    may_act: bool
    """Whether the account is active and verified."""
    reserve_sats: int
    budget_per_day_sats: int | None
    """Of the account; None: unbounded."""
    commands_per_minute: int
    commands: int
    """Of the account, within the last minute; what other shadows would have done takes no turn."""
    rests_since: datetime | None
    """When the automation last acted on the position: with the step, or with the action, asked for."""
    spent_on_position: Sats
    """By the automation, ever."""
    spent_by_automation: Sats
    """Within the last 24 hours."""
    spent_by_account: Sats
    """Within the last 24 hours."""
    spent_since: Sats
    """By the account, since the moment asked for or still open."""

    @classmethod
    def read(
        cls,
        automation: Automation,
        position_id: str,
        *,
        now: datetime,
        step: int | None = None,
        does: str | None = None,
        asked_at: datetime | None = None,
        locking: bool = False,
    ) -> Self:
        """Read it in one round trip.

        Plain SQL, since it stands between a tick and its order: building the same from querysets
        takes the worker longer than PostgreSQL takes to answer. The lock is a statement of its own
        before the reading, which so sees what its last holder committed.

        Args:
            automation: whose, and of which account.
            position_id: empty for one that is not open yet.
            now: ends the windows of a minute and a day.
            step: only acts of this step count for the rest.
            does: only acts of this kind count for the rest.
            asked_at: when the free balance was asked for.
            locking: let no other action of the account be weighed before this transaction ends.

        Raises:
            Automation.DoesNotExist: it is gone.
        """
        params: dict[str, Any] = {
            "account": automation.account_id,
            "automation": automation.pk,
            "position": position_id,
            "step": step,
            "does": does,
            "asked_at": asked_at,
            "minute": now - _COMMAND_WINDOW,
            "day": now - BUDGET_DAY,
            "idle": [_STATE.NOT_SENT, _STATE.NOT_APPLIED],
            "spending": list(Execution.SPENDING),
            "unsettled": list(Execution.UNSETTLED),
        }
        with connection.cursor() as cursor:
            execute(cursor, _READ, params, first=_LOCK if locking else "")
            row = cursor.fetchone()
            names = [column.name for column in cursor.description]
        if row is None:
            raise Automation.DoesNotExist(f"automation {automation.pk} is gone")
        return cls(**dict(zip(names, row, strict=True)))
