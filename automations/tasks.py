"""Celery's doors to the services: ids in, one call, a word out."""

from datetime import datetime
from decimal import Decimal
from typing import Any

from celery import shared_task

from automations import reconciling, services
from automations.executing import Seen
from automations.models import Execution
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
def act(guard_id: int, position_id: str, tick: dict[str, Any] | None = None) -> str:
    """Look at one position with one guard; `tick` is the price that crossed its trigger, if one did."""
    origin = Execution.Origin.TICK if tick else Execution.Origin.SWEEP
    seen = Seen(origin=origin, tick=_quote(tick) if tick else None)
    return services.act(guard_id, PositionId(position_id), seen)


@shared_task(ignore_result=True)
def sweep_margin_guards() -> str:
    """The second way to every action: weigh all guards, whatever the stream saw."""
    sent = 0
    for due in services.due():
        act.delay(due.guard_id, due.position_id)
        sent += 1
    return f"{sent} due"


@shared_task(ignore_result=True)
def reconcile() -> str:
    """Settle executions whose answer never came."""
    return f"{len(reconciling.settle_all())} settled"


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
