"""Celery's doors to the services: ids in, one call, a word out."""

from datetime import datetime
from decimal import Decimal
from typing import Any

from celery import shared_task
from django.utils import timezone

from automations import reconciling, retention, services
from automations.executing import Cause
from automations.models import AutoEntry, Execution, MarginGuard, TakeProfitStopLoss
from automations.models.kinds import Kind
from exchange.errors import TransientError
from exchange.market import Quote, Source
from exchange.money import UsdPerBtc
from exchange.position import PositionId

EXPIRES_S = 30
"""A message older than this is dropped: the sweep has looked since."""


@shared_task(
    expires=EXPIRES_S,
    autoretry_for=(TransientError,),
    max_retries=2,
    retry_backoff=2,
    retry_backoff_max=60,
    retry_jitter=True,
    ignore_result=True,
)
def act(
    automation_id: int, position_id: str | None, tick: dict[str, Any] | None = None
) -> dict[str, Any]:
    """Look at one position with one automation; `tick` is the price that crossed a trigger, if any."""
    origin = Execution.Origin.TICK if tick else Execution.Origin.SWEEP
    cause = Cause(origin=origin, tick=_quote(tick) if tick else None)
    return services.act(automation_id, PositionId(position_id) if position_id else None, cause)


def send(
    automation_id: int, position_id: str | None, *, urgent: bool, tick: Quote | None = None
) -> None:
    """Call a worker to look; what saves a position from liquidation has a queue of its own."""
    act.apply_async(
        (automation_id, position_id, *([] if tick is None else [tick_as_json(tick)])),
        queue="urgent" if urgent else "automation-execute",
    )


@shared_task(ignore_result=True)
def sweep_margin_guards() -> str:
    """The second way to every action: weigh all guards, whatever the stream saw."""
    return _sweep(MarginGuard, urgent=True)


@shared_task(ignore_result=True)
def sweep_exits() -> str:
    """The same for take profit and stop loss."""
    return _sweep(TakeProfitStopLoss, urgent=False)


@shared_task(ignore_result=True)
def sweep_entries() -> str:
    """The same for entries."""
    return _sweep(AutoEntry, urgent=False)


def _sweep(kind: type[Kind], *, urgent: bool) -> str:
    sent = 0
    for due in services.due(kind):  # one after the other: a slow account holds back no other's
        send(due.automation_id, due.position_id, urgent=urgent)
        sent += 1
    return f"{sent} due"


@shared_task(ignore_result=True)
def reconcile() -> str:
    """Settle executions whose answer never came."""
    return f"{len(reconciling.settle_all())} settled"


@shared_task(ignore_result=True)
def prune_executions() -> str:
    """Delete executions that are old, not among the last, and of no weight any more."""
    return f"{retention.prune_executions(timezone.now())} pruned"


def tick_as_json(tick: Quote) -> dict[str, Any]:
    return {
        "price": str(tick.price),
        "at": tick.at.isoformat(),
        "time_ms": tick.time_ms,
        "source": tick.source,
    }


def _quote(tick: dict[str, Any]) -> Quote:
    return Quote(
        price=UsdPerBtc(Decimal(tick["price"])),
        at=datetime.fromisoformat(tick["at"]),
        time_ms=tick["time_ms"],
        source=Source(tick["source"]),
    )
