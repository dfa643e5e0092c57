"""Orders of ours that rest at the exchange, as far as the database knows."""

from datetime import datetime

from automations.models import AutoEntry, Execution
from automations.models.execution import ExecutionQuerySet
from exchange.position import PositionId


def resting() -> ExecutionQuerySet:
    """Return the executions whose limit orders were placed, and not seen filled or canceled since."""
    return Execution.objects.filter(rests=True, state=Execution.State.CONFIRMED)


def expired(now: datetime) -> ExecutionQuerySet:
    """Return those whose entry's time is over, also where it is disarmed: it may have been its last.

    A shadow does nothing, also about what it placed before it was one.
    """
    return resting().filter(
        automation__autoentry__expires_at__lte=now,
        automation__shadow=False,
        account__is_active=True,
        account__verified_at__isnull=False,
    )


def entry_of(automation_id: int, order_id: PositionId, now: datetime) -> AutoEntry | None:
    """Return the entry whose order's time is over, enabled or not."""
    if not expired(now).filter(automation_id=automation_id, position_id=order_id).exists():
        return None
    return AutoEntry.objects.select_related("account").get(pk=automation_id)


def no_longer_rests(automation_id: int, order_id: str) -> None:
    resting().filter(automation_id=automation_id, position_id=order_id).update(rests=False)
