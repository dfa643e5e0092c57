"""Writing the journal: what happened, in one shape, and no refusal twice in a row."""

from datetime import datetime
from typing import Any, Final

from accounts.models import Account
from automations.models import Execution, JournalEntry, MarginGuard

INTENDED: Final = "intended"
EXECUTED: Final = "executed"
RECONCILED: Final = "reconciled"
HELD: Final = "held"
"""The rule wanted to act, and a gate refused."""


def record(
    guard: MarginGuard,
    outcome: str,
    *,
    message: str,
    data: dict[str, Any],
    now: datetime,
    position_id: str,
    execution: Execution | None = None,
) -> JournalEntry:
    """Add one entry; its event is the automation's kind and the outcome: `margin_guard_executed`."""
    return JournalEntry.objects.create(
        event=f"{guard.KIND}_{outcome}",
        account=guard.account,
        automation=guard,
        execution=execution,
        position_id=position_id,
        type=guard.KIND,
        message=message[:500],
        data={"positionId": position_id, **data},
        timestamp=now,
    )


def record_about(
    account: Account, event: str, *, message: str, now: datetime, data: dict[str, Any] | None = None
) -> JournalEntry:
    """Add one entry about an account as a whole, such as a fallback of its stream."""
    return JournalEntry.objects.create(
        event=event,
        account=account,
        type="account",
        message=message[:500],
        data=data or {},
        timestamp=now,
    )


def record_held(
    guard: MarginGuard,
    *,
    reason: str,
    message: str,
    data: dict[str, Any],
    now: datetime,
    position_id: str,
) -> None:
    """Add a refusal, unless the newest entry for this position already says the same.

    A price that stays beyond a trigger brings the same refusal every few seconds; one entry tells it.
    """
    newest = JournalEntry.objects.filter(automation=guard, position_id=position_id).first()
    if newest and newest.event == f"{guard.KIND}_{HELD}" and newest.data.get("reason") == reason:
        return
    record(
        guard,
        HELD,
        message=message,
        data={"reason": reason, **data},
        now=now,
        position_id=position_id,
    )
