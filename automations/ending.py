"""When an entry opens nothing more, or not yet, and how it is disarmed once that is for good."""

from collections.abc import Collection, Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import takewhile
from typing import Any, Final

from django.db import connection, transaction
from django.utils import timezone

from automations import journal
from automations.models import AutoEntry, Execution

EXPIRED: Final = "expired"
OPENED_ENOUGH: Final = "opened as often as it may"
REFUSED: Final = "refused by the exchange three times in a row"
PAUSING: Final = "pausing"
RESTING: Final = "cooldown"
"""The exchange refused it just now, for a reason that may pass: a balance, a limit, a closed market."""
RESTS: Final = (timedelta(minutes=1), timedelta(minutes=30))
"""After the first refusal in a row, and after the second. What it refuses three times in half an hour
it is believed to refuse for good."""
FOR_GOOD: Final = frozenset({EXPIRED, OPENED_ENOUGH, REFUSED})

_READ: Final = """
SELECT automation.id, entry.expires_at, entry.most_times, entry.pause_s, past.*
  FROM automations_automation AS automation
  JOIN automations_autoentry AS entry ON entry.automation_ptr_id = automation.id
 CROSS JOIN LATERAL (
    SELECT (array_agg(state ORDER BY id DESC) FILTER (WHERE tried))[1:3],
           (array_agg(settled_at ORDER BY id DESC) FILTER (WHERE tried))[1],
           count(*) FILTER (WHERE done),
           (array_agg(settled_at ORDER BY id DESC) FILTER (WHERE done))[1]
      FROM (
        SELECT *,
               state <> ALL(%(idle)s) AND decided_at >= automation.changed_at AS tried,
               state = ANY(%(spending)s) AND (state <> 'shadow' OR automation.shadow) AS done
          FROM automations_execution
         WHERE automation_id = automation.id AND does = 'open_position'
      ) AS execution
 ) AS past
 WHERE automation.id = ANY(%(entries)s)
"""
"""What surely never came to the exchange says nothing about what it thinks of the next."""


@dataclass(frozen=True, slots=True)
class _Past:
    """A row of it."""

    entry: int
    expires_at: datetime | None
    most_times: int
    pause_s: int
    newest_tries: list[str] | None
    """How the last three since it was changed ended, the newest first."""
    tried_at: datetime | None
    """When the newest of these was settled."""
    times: int
    """It opened, or may have; a live one is not bound by what a shadow did."""
    settled_at: datetime | None
    """Of the newest of these."""


def over(entry: AutoEntry) -> str | None:
    """Return why the entry opens nothing more, or not yet; None: it may."""
    return over_of_all([entry]).get(entry.pk)


def end(entries: Iterable[AutoEntry]) -> dict[int, str]:
    """Return the same for many entries, by their ids; those that are done for good are disarmed."""
    asked = list(entries)
    over = over_of_all(asked)
    for entry in asked:
        if (why := over.get(entry.pk)) in FOR_GOOD:
            _disarm(entry, why)
    return over


def over_of_all(entries: Collection[AutoEntry]) -> dict[int, str]:
    """Return why entries open nothing more, or not yet, in one query; one that may is left out."""
    if not entries:
        return {}
    asked: dict[str, Any] = {
        "entries": [entry.pk for entry in entries],
        "spending": Execution.SPENDING,
        "idle": [Execution.State.NOT_SENT, Execution.State.NOT_APPLIED],
    }
    with connection.cursor() as cursor:
        cursor.execute(_READ, asked)
        pasts = [_Past(*row) for row in cursor.fetchall()]
    now = timezone.now()
    return {past.entry: why for past in pasts if (why := _why(past, now)) is not None}


def _why(past: _Past, now: datetime) -> str | None:
    if past.expires_at is not None and past.expires_at <= now:
        return EXPIRED
    if past.newest_tries == [Execution.State.REJECTED] * 3:
        return REFUSED
    if past.times >= past.most_times:
        return OPENED_ENOUGH
    if (until := _rests_until(past)) is not None and until > now:
        return RESTING
    if past.settled_at and past.settled_at + timedelta(seconds=past.pause_s) > now:
        return PAUSING
    return None


def _rests_until(past: _Past) -> datetime | None:
    """Return when an entry that was refused may be tried again."""
    refused = takewhile(lambda state: state == Execution.State.REJECTED, past.newest_tries or ())
    times = len(list(refused))
    return past.tried_at + RESTS[times - 1] if times and past.tried_at else None


def _disarm(entry: AutoEntry, why: str) -> None:
    with transaction.atomic():
        disarmed = AutoEntry.objects.filter(pk=entry.pk, enabled=True).update(enabled=False)
        if disarmed and why == REFUSED:
            journal.record(
                entry,
                journal.DISARMED,
                message=f"disarmed until it is enabled again: {why}: {last_refusal(entry)}",
                data={},
                now=timezone.now(),
                position_id="",
            )


def last_refusal(entry: AutoEntry) -> str:
    """Return what the exchange said when it refused the entry last."""
    refused = Execution.objects.filter(automation=entry, state=Execution.State.REJECTED).first()
    return refused.error if refused else ""
