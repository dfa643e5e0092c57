"""Celery's doors to the services: ids in, one call, a word out."""

import random
from collections.abc import Callable
from contextlib import suppress
from datetime import datetime
from decimal import Decimal
from typing import Any, Final

from celery import shared_task
from django.conf import settings
from django.utils import timezone

from accounts import inquiries, rotation
from automations import (
    closings,
    delivering,
    inquiring,
    known_positions,
    protection,
    reading_back,
    reconciling,
    recovering,
    retention,
    services,
    suspending,
)
from automations.executing import Cause
from automations.models import AutoEntry, Execution, MarginGuard, TakeProfitStopLoss
from automations.models.kinds import KINDS, Kind
from automations.outages import DATABASE_ERRORS, QUEUE_ERRORS, is_outage
from exchange.errors import TransientError
from exchange.market import Quote, Source
from exchange.money import UsdPerBtc
from exchange.position import PositionId

EXPIRES_S: Final = 30
"""A message older than this is dropped: the sweep has looked since."""
FIRST_WAIT_S: Final = 2.0
LONGEST_WAIT_S: Final = 60.0


@shared_task(bind=True, expires=EXPIRES_S, max_retries=2, ignore_result=True)
def act(
    self: Any, automation_id: int, position_id: str | None, tick: dict[str, Any] | None = None
) -> dict[str, Any]:
    """Look at one position with one automation; `tick` is the price that crossed a trigger, if any."""
    origin = Execution.Origin.TICK if tick else Execution.Origin.SWEEP
    cause = Cause(origin=origin, tick=_quote(tick) if tick else None)
    try:
        answer = services.act(automation_id, PositionId(position_id) if position_id else None, cause)
    except (TransientError, *DATABASE_ERRORS, *QUEUE_ERRORS) as error:
        after_s = error.after_s if isinstance(error, TransientError) else 0.0
        if not (isinstance(error, TransientError) or is_outage(error)):
            raise
        wait = wait_s(self.request.retries, at_least_s=after_s)
        raise self.retry(exc=error, countdown=wait) from error
    for acted in answer.pop("acted", ()):
        with suppress(*QUEUE_ERRORS):  # what nobody reads back now is overdue soon
            read_back.apply_async((acted,))
    return answer


@shared_task(ignore_result=True)
def read_back(execution_id: int) -> None:
    """Store what the exchange shows after an action."""
    reading_back.read_back(execution_id)


def wait_s(
    retries: int,
    *,
    at_least_s: float = 0.0,
    chance: Callable[[], float] = random.random,
) -> float:
    """Return how long to wait for the next attempt: from 2 s, from 4 s, and up to half as much more.

    Celery's own jitter draws from zero on, and would try again at once what has just failed.

    Args:
        retries: how many there were.
        at_least_s: what the exchange asked for.
        chance: returns a share, from 0 to 1.
    """
    grown = FIRST_WAIT_S * 2.0**retries * (1 + chance() / 2)
    return min(LONGEST_WAIT_S, max(grown, at_least_s))


def send(
    automation_id: int, position_id: str | None, *, urgent: bool, tick: Quote | None = None
) -> None:
    """Call a worker to look; what saves a position from liquidation has a queue of its own."""
    # What Flower shows; and Redis needs no queue declared. Finding out both takes Celery its time.
    cheaply: dict[str, Any] = {
        "argsrepr": f"({automation_id}, {position_id!r})",
        "kwargsrepr": "{}",
        "declare": (),
    }
    act.apply_async(
        (automation_id, position_id, *([] if tick is None else [tick_as_json(tick)])),
        queue="urgent" if urgent else "automation-execute",
        **cheaply,
    )


@shared_task(ignore_result=True)
def sweep_margin_guards() -> str:
    """The second way to every action: weigh all guards, whatever the stream saw."""
    return _sweep(MarginGuard)


@shared_task(ignore_result=True)
def sweep_exits() -> str:
    """The same for take profit and stop loss."""
    return _sweep(TakeProfitStopLoss)


@shared_task(ignore_result=True)
def sweep_entries() -> str:
    """The same for entries."""
    return _sweep(AutoEntry)


@shared_task(ignore_result=True, expires=EXPIRES_S)
def sweep_accounts(kind: str, account_ids: list[int]) -> str:
    """Do a part of a sweep that is too long for one task."""
    swept = next(each for each in KINDS if kind == each.KIND)
    return _sweep_accounts(swept, account_ids)


def _sweep(kind: type[Kind]) -> str:
    """Sweep all accounts; many of them in parts, side by side, each well within a task's time."""
    accounts = services.accounts_to_sweep(kind)
    at_once = settings.SWEEP_ACCOUNTS
    if len(accounts) <= at_once:
        return _sweep_accounts(kind, accounts)
    parts = range(0, len(accounts), at_once)
    for begin in parts:
        sweep_accounts.delay(kind.KIND, accounts[begin : begin + at_once])
    return f"{len(accounts)} accounts in {len(parts)} parts"


def _sweep_accounts(kind: type[Kind], account_ids: list[int]) -> str:
    sent = 0
    for due in services.due(kind, account_ids):  # at once: a slow account holds back no other's
        send(due.automation_id, due.position_id, urgent=due.urgent)
        sent += 1
    return f"{sent} due"


@shared_task(ignore_result=True, expires=EXPIRES_S)
def explain_closings(account_id: int) -> str:
    """Find out what ended the positions of an account that run no more."""
    return f"{closings.explain([account_id])} explained"


@shared_task(ignore_result=True)
def reconcile() -> str:
    """Settle executions whose answer never came."""
    settled = reconciling.settle_all()
    overdue = reading_back.read_back_overdue(timezone.now())
    known_positions.read_unwatched(timezone.now())
    closings.explain()
    for execution in settled:
        if execution.read_back_due:
            with suppress(*QUEUE_ERRORS):  # what nobody reads back now is overdue soon
                read_back.apply_async((execution.pk,))
    return f"{len(settled)} settled, {overdue} read back"


@shared_task(ignore_result=True, expires=EXPIRES_S)
def watch_protection() -> None:
    """Tell owners of protection that ended, or is back, without an action of ours."""
    now = timezone.now()
    protection.look(now)
    recovering.tell(now)


# A test of a connection makes several requests, each of which has its patience.
@shared_task(ignore_result=True, soft_time_limit=60, time_limit=300)
def answer_inquiry(inquiry_id: int) -> str:
    """Find out what somebody wants to know of the exchange: a test of a connection, a preview."""
    return inquiring.answer(inquiry_id)


@shared_task(ignore_result=True)
def seal_older_credentials() -> str:
    """Seal to its place what a version sealed that knew none."""
    return f"{rotation.seal_older()} sealed anew"


@shared_task(ignore_result=True, expires=EXPIRES_S, soft_time_limit=60, time_limit=300)
def ask_again() -> str:
    """Ask the exchange about keys: in doubt, of suspended accounts, or not looked at for a day.

    First come the inquiries whose messages were lost.
    """
    for inquiry_id in inquiries.overdue(timezone.now(), after=inquiring.OVERDUE_AFTER):
        answer_inquiry.apply_async((inquiry_id,), expires=EXPIRES_S)
    return f"{suspending.ask_again()} asked"


@shared_task(ignore_result=True)
def prune_executions() -> str:
    """Delete executions that are old, not among the last, and of no weight any more."""
    return f"{retention.prune_executions(timezone.now())} pruned"


# A mail server may take its time: each wait for it ends after `EMAIL_TIMEOUT`, and a worker that ended
# with it would take others' tasks along.
@shared_task(ignore_result=True, expires=EXPIRES_S, soft_time_limit=60, time_limit=300)
def deliver_notifications() -> str:
    """Deliver what owners are to be told; asked for by each new notification and by the sweep."""
    return f"{delivering.deliver_due()} settled"


@shared_task(ignore_result=True)
def prune_notifications() -> str:
    """Delete notifications that were delivered, or given up, long ago."""
    return f"{delivering.forget_old(timezone.now())} pruned"


def tick_as_json(tick: Quote) -> dict[str, Any]:
    return {
        "price": str(tick.price),
        "at": tick.at.isoformat(),
        "time_ms": tick.time_ms,
        "source": tick.source,
        "index": None if tick.index is None else str(tick.index),
    }


def _quote(tick: dict[str, Any]) -> Quote:
    index = tick.get("index")  # a message of an older version has none
    return Quote(
        price=UsdPerBtc(Decimal(tick["price"])),
        at=datetime.fromisoformat(tick["at"]),
        time_ms=tick["time_ms"],
        source=Source(tick["source"]),
        index=None if index is None else UsdPerBtc(Decimal(index)),
    )
