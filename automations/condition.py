"""What bounds an action at the moment of its intent: switches, and what is used up of each limit."""

import json
from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any, Final, Self

from django.db import connection

from automations.models import Automation, Execution
from automations.models.prepared import execute, expect
from exchange.money import Sats, UsdPerBtc

BUDGET_DAY: Final = timedelta(hours=24)
"""A daily budget counts what was spent in the last 24 hours, so that midnight is no reset button."""
_COMMAND_WINDOW: Final = timedelta(minutes=1)
_STATE: Final = Execution.State
_NONE: Final = Sats(0)

_LOCK: Final = "SELECT 1 FROM accounts_account WHERE id = %(account)s FOR NO KEY UPDATE;"
"""Not its key: what only refers to the account can be added meanwhile."""

_READ: Final = """
SELECT ARRAY[coalesce(everything.switch, 'active'), account.switch, automation.switch] AS switches,
       automation.enabled, automation.shadow,
       account.is_active AND account.verified_at IS NOT NULL AS may_act,
       account.reserve_sats, account.budget_per_day_sats, account.entry_budget_per_day_sats,
       account.commands_per_minute, account.guard_commands_per_minute,
       acted.*, used.*
  FROM accounts_account AS account
  JOIN automations_automation AS automation ON automation.id = %(automation)s
  LEFT JOIN accounts_installation AS everything ON everything.id = 1
 CROSS JOIN LATERAL (
    SELECT coalesce(jsonb_agg(to_jsonb(newest)), '[]') AS acts
      FROM (
        SELECT DISTINCT ON (step_id, does) step_id AS step, does, state, price::text, settled_at
          FROM automations_execution
         WHERE account_id = account.id
           AND (position_id = %(position)s OR (continues_as <> '' AND continues_as = %(position)s))
           AND (position_id <> 'cross' OR decided_at >= coalesce(account.cross_since, '-infinity'))
           AND automation_id = automation.id AND settled_at IS NOT NULL
           AND state <> ALL(%(idle)s) AND (state <> 'shadow' OR automation.shadow)
         ORDER BY step_id, does, id DESC
      ) AS newest
 ) AS acted
 CROSS JOIN LATERAL (
    SELECT count(*) FILTER (WHERE commands AND NOT by_guard) AS commands,
           count(*) FILTER (WHERE commands AND by_guard) AS guard_commands,
           count(*) FILTER (WHERE commands AND here AND does = 'reduce_position'
               AND state <> ALL(%(idle)s)) AS reductions,
           max(settled_at) FILTER (WHERE here AND counts AND (live OR own) AND does <> 'notify'
               AND state <> ALL(%(idle)s)) AS acted_at,
           coalesce(jsonb_agg(jsonb_build_object('id', id, 'does', does, 'amount', amount_sats))
               FILTER (WHERE live AND open AND here AND (own OR position_id <> '')), '[]') AS unsettled,
           coalesce(sum(amount_sats) FILTER (WHERE counts AND spends AND own AND here), 0)::bigint
               AS spent_on_position,
           coalesce(sum(amount_sats) FILTER (WHERE counts AND spends AND own AND here AND recent),
               0)::bigint AS spent_on_position_today,
           coalesce(sum(amount_sats) FILTER (WHERE counts AND spends AND own AND recent), 0)::bigint
               AS spent_by_automation,
           coalesce(sum(amount_sats) FILTER (WHERE live AND spends AND recent AND by_guard),
               0)::bigint AS spent_by_guards,
           coalesce(sum(amount_sats) FILTER (WHERE live AND spends AND recent AND NOT by_guard),
               0)::bigint AS spent_by_entries,
           coalesce(sum(amount_sats) FILTER (WHERE live AND spends
               AND (settled_at >= %(asked_at)s OR open)), 0)::bigint AS spent_since
      FROM (
        SELECT execution.*,
               guard.automation_ptr_id IS NOT NULL AS by_guard,
               state <> 'shadow' AS live,
               state <> 'shadow' OR automation.shadow AS counts,
               state = ANY(%(spending)s) AS spends,
               state = ANY(%(unsettled)s) AS open,
               automation_id = automation.id AS own,
               (position_id = %(position)s OR (continues_as <> '' AND continues_as = %(position)s))
                   AND (position_id <> 'cross'
                        OR decided_at >= coalesce(account.cross_since, '-infinity')) AS here,
               decided_at > %(day)s AS recent,
               (state <> 'shadow' OR (automation.shadow AND automation_id = automation.id))
                   AND does <> 'notify' AND decided_at > %(minute)s AS commands
          FROM automations_execution AS execution
          LEFT JOIN automations_marginguard AS guard
            ON guard.automation_ptr_id = execution.automation_id
         WHERE account_id = account.id
           AND (decided_at > %(day)s OR position_id = %(position)s OR state = ANY(%(unsettled)s)
                OR (continues_as <> '' AND continues_as = %(position)s))
      ) AS execution
 ) AS used
 WHERE account.id = %(account)s
"""

expect(lambda: _READ)


@dataclass(frozen=True, slots=True, kw_only=True)
class Act:
    """What an automation did on a position last, with one step."""

    step: int | None
    does: str
    state: str
    price: UsdPerBtc
    """On which it was decided."""
    settled_at: datetime

    @classmethod
    def of(cls, *, step: int | None, does: str, state: str, price: str, settled_at: str) -> Self:
        return cls(
            step=step,
            does=does,
            state=state,
            price=UsdPerBtc(Decimal(price)),
            settled_at=datetime.fromisoformat(settled_at),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Unsettled:
    """An execution whose effect at the exchange is not known yet."""

    id: int
    does: str
    amount: Sats | None


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
    """Of the account, for top-ups; None: unbounded."""
    entry_budget_per_day_sats: int | None
    commands_per_minute: int
    """What entries and exits of the account may send together."""
    guard_commands_per_minute: int
    """What its guards may send together."""
    commands: int
    """By entries and exits of the account, within the last minute; what other shadows would have done
    takes no turn."""
    guard_commands: int
    reductions: int
    """Of the position, within the last minute."""
    acted_at: datetime | None = None
    """When somebody of ours last did something on the position."""
    acts: tuple[Act, ...] = ()
    """The newest of each step and action, by the automation on the position."""
    unsettled: tuple[Unsettled, ...] = ()
    """On the position, whoever asked for it; an entry sees only its own."""
    spent_on_position: Sats = _NONE
    """By the automation, ever."""
    spent_on_position_today: Sats = _NONE
    """By the automation, within the last 24 hours."""
    spent_by_automation: Sats = _NONE
    """Within the last 24 hours."""
    spent_by_guards: Sats = _NONE
    """Of the account, within the last 24 hours."""
    spent_by_entries: Sats = _NONE
    """Of the account, within the last 24 hours."""
    spent_since: Sats = _NONE
    """By the account, since the moment asked for or still open."""

    @classmethod
    def read(
        cls,
        automation: Automation,
        position_id: str,
        *,
        now: datetime,
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
            asked_at: when the free balance was asked for.
            locking: let no other action of the account be weighed before this transaction ends.

        Raises:
            Automation.DoesNotExist: it is gone.
        """
        params: dict[str, Any] = {
            "account": automation.account_id,
            "automation": automation.pk,
            "position": position_id,
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
        read = dict(zip(names, row, strict=True))
        acts = tuple(Act.of(**each) for each in json.loads(read.pop("acts")))
        unsettled = tuple(Unsettled(**each) for each in json.loads(read.pop("unsettled")))
        return cls(acts=acts, unsettled=unsettled, **read)
