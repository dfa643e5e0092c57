"""The owner's hand wins: where an exit was changed by hand, nothing is done until it is re-armed."""

from collections.abc import Callable, Collection, Iterable
from typing import Any

from django.db import transaction
from django.utils import timezone

from automations import journal
from automations.models import Automation, Execution, ExitDisarmed
from automations.models.kinds import typed
from automations.planning import Plan, PositionPlan
from exchange.position import PositionId, PositionsSnapshot


def disarm(automation: Automation, position_id: PositionId, why: str, data: dict[str, Any]) -> None:
    """Let the automation do nothing more on the position, and write that down with what was seen.

    Only to be called under the position's lock: it is told once.
    """
    now = timezone.now()
    with transaction.atomic():
        ExitDisarmed.objects.update_or_create(
            automation_id=automation.pk,
            position_id=position_id,
            defaults={"since": now, "why": why[:300], "rearmed_after": None},
        )
        journal.record(
            automation,
            journal.DISARMED,
            message=f"{why}: it does nothing more on this position until you re-arm it on its page",
            data={**data, "why": why},
            now=now,
            position_id=position_id,
        )


def rearm(rows: Iterable[ExitDisarmed], *, by: str) -> int:
    """Let automations act again where they were disarmed; return on how many positions."""
    return sum(_rearm(row, by) for row in rows)


def _rearm(row: ExitDisarmed, by: str) -> bool:
    newest = Execution.objects.filter(automation=row.automation_id, position_id=row.position_id).first()
    with transaction.atomic():
        standing = ExitDisarmed.objects.standing().filter(pk=row.pk)
        if not standing.update(rearmed_after=newest.pk if newest else 0):
            return False
        journal.record(
            typed(row.automation),
            journal.REARMED,
            message=f"{by} re-armed it on this position",
            data={"by": by},
            now=timezone.now(),
            position_id=row.position_id,
        )
    return True


def forget_gone(
    plans: Iterable[Plan],
    snapshot: PositionsSnapshot | None,
    read_again: Callable[[], PositionsSnapshot],
) -> None:
    """Forget the positions that run no more: that a second reading lacks as this one does.

    One that a later reading than this may show is kept.

    Raises:
        ExchangeError: the second reading failed.
    """
    if snapshot is None:
        return
    later: PositionsSnapshot | None = None
    for plan in plans:
        if not isinstance(plan, PositionPlan) or not (gone := _lacking(snapshot, plan.disarmed)):
            continue
        later = later or read_again()
        rows = ExitDisarmed.objects.filter(
            automation=plan.automation_id, position_id__in=_lacking(later, gone)
        )
        rows.filter(since__lt=snapshot.at).delete()


def _lacking(snapshot: PositionsSnapshot, places: Collection[PositionId]) -> set[PositionId]:
    """Return which of the positions surely run no more by this reading."""
    running = {position.id for position in snapshot.positions}
    return {each for each in places if each not in running and snapshot.hidden(each) is None}
