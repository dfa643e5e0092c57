"""Asking a worker about an account, whose credentials web cannot open; and what came of it."""

import time
from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any, Final

from celery import current_app
from django.db import transaction
from django.utils import timezone

from accounts.models import Account, Inquiry

TASK: Final = "automations.tasks.answer_inquiry"
_KEPT: Final = timedelta(days=1)
_POLL_S: Final = 0.1


def ask(account: Account, kind: Inquiry.Kind, asks: dict[str, Any] | None = None) -> Inquiry:
    """Write the question down, and call a worker once it is committed.

    Where the message is lost beat has the question answered a moment later.
    """
    now = timezone.now()
    Inquiry.objects.filter(account=account, asked_at__lt=now - _KEPT).delete()
    inquiry = Inquiry.objects.create(account=account, kind=kind, asks=asks or {}, asked_at=now)
    expires_s = Inquiry.ANSWERED_WITHIN.total_seconds()
    transaction.on_commit(
        lambda: current_app.send_task(TASK, (inquiry.pk,), expires=expires_s), robust=True
    )
    return inquiry


def answered(inquiry: Inquiry, *, within_s: float) -> bool:
    """Wait for the answer and read it; return whether it came in time.

    Must not run inside a transaction, in which nobody else would see the question.
    """
    ends_s = time.monotonic() + within_s
    while True:
        inquiry.refresh_from_db()
        if inquiry.answered_at is not None:
            return True
        if time.monotonic() >= ends_s:
            return False
        time.sleep(_POLL_S)


def take(inquiry_id: int, *, clock: Callable[[], datetime] = timezone.now) -> Inquiry | None:
    """Take an inquiry that nobody has taken; None where there is nothing to answer any more."""
    now = clock()
    open_ones = Inquiry.objects.filter(
        pk=inquiry_id, taken_at=None, asked_at__gt=now - Inquiry.ANSWERED_WITHIN
    )
    if not open_ones.update(taken_at=now):
        return None
    return Inquiry.objects.select_related("account").get(pk=inquiry_id)


def settle(inquiry: Inquiry, *, answer: dict[str, Any] | None = None, fault: str = "") -> None:
    """Write down what was found out, or why nothing was."""
    Inquiry.objects.filter(pk=inquiry.pk).update(
        answer=answer, fault=fault[:500], answered_at=timezone.now()
    )


def overdue(now: datetime, *, after: timedelta) -> list[int]:
    """Return the inquiries that nobody took for so long, the oldest first."""
    waiting = Inquiry.objects.filter(
        taken_at=None,
        answered_at=None,
        asked_at__range=(now - Inquiry.ANSWERED_WITHIN, now - after),
    )
    return list(waiting.order_by("asked_at").values_list("pk", flat=True))
