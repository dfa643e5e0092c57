"""Delivering notifications: by e-mail where there is a mail server, else into the log."""

import logging
import time
from datetime import datetime, timedelta
from smtplib import SMTPDataError, SMTPRecipientsRefused
from typing import Final

from django.conf import settings
from django.core.mail import EmailMessage
from django.db.models import Count, F, Min
from django.utils import timezone

from automations.locking import position_lock
from automations.models import Notification
from automations.telling import begin_delivery

logger = logging.getLogger(__name__)

FIRST_WAIT: Final = timedelta(minutes=1)
"""Doubles with each attempt. Longer than an attempt may take, so that nobody takes up what somebody
still tries."""
LONGEST_WAIT: Final = timedelta(hours=4)
MOST_ATTEMPTS: Final = 50
"""The last is made a week after the first."""
AT_MOST_S: Final = 15.0
"""No mail is begun later; the next message or sweep goes on."""
LATE: Final = timedelta(minutes=10)
"""After this the operator is told that owners are not."""
KEPT_FOR: Final = timedelta(days=90)
_STATE: Final = Notification.State
_OF_ONE_MAIL: Final = (SMTPRecipientsRefused, SMTPDataError, ValueError)
"""Failures that say nothing about the next mail."""


def deliver_due() -> int:
    """Deliver what is due, one after the other; return for how many that was settled.

    One process at a time: a mail server that hangs holds one task up, and the others act. It is left
    alone until the next time once it failed.
    """
    begin_delivery()
    settled, until = 0, time.monotonic() + AT_MOST_S
    with position_lock("notifications") as mine:
        while mine and time.monotonic() < until and (taken := _taken(timezone.now())):
            goes_on = _deliver(taken)
            settled += taken.state != _STATE.WAITING
            if not goes_on:
                break
    return settled


def overdue(now: datetime) -> tuple[int, datetime] | None:
    """Return how many messages were tried and not delivered, and since when; None: there are none."""
    late = Notification.objects.filter(state=_STATE.WAITING, attempts__gt=0, made_at__lt=now - LATE)
    count, since = late.aggregate(count=Count("pk"), since=Min("made_at")).values()
    return (count, since) if count else None


def forget_old(now: datetime) -> int:
    """Delete what was settled long ago; return how many that was. The journal tells it still."""
    old = Notification.objects.filter(settled_at__lt=now - KEPT_FOR)
    return old.delete()[0]


def _taken(now: datetime) -> Notification | None:
    """Take the one that is due longest, and set its next attempt: one taken and lost comes again."""
    while (due := _first_due(now)) is not None:
        wait = min(FIRST_WAIT * 2 ** min(due.attempts, 10), LONGEST_WAIT)
        same = Notification.objects.due(now).filter(pk=due.pk)
        if same.update(attempts=F("attempts") + 1, next_attempt_at=now + wait):
            due.refresh_from_db()  # repetitions may have joined it until now
            return due
    return None


def _first_due(now: datetime) -> Notification | None:
    return Notification.objects.due(now).select_related("account__owner").first()


def _deliver(taken: Notification) -> bool:
    """Try once, and write down what came of it; return whether another may be tried now."""
    if not settings.EMAIL_HOST:
        said = {"subject": taken.subject, "text": taken.text}
        logger.info("notification, mailed to nobody", extra=_fields(taken) | said)
        taken.settle(_STATE.LOGGED, timezone.now())
        return True
    owner = taken.account.owner
    taken.recipient = owner.email
    if not owner.email:
        _give_up(taken, f"{owner.get_username()}, the account's owner, has no e-mail address")
        return True
    try:
        EmailMessage(taken.subject, taken.text, to=[owner.email]).send()
    except (OSError, ValueError) as error:
        _failed(taken, " ".join(f"{type(error).__name__}: {error}".split()))
        return isinstance(error, _OF_ONE_MAIL)
    taken.settle(_STATE.SENT, timezone.now())
    logger.info("notification sent", extra=_fields(taken))
    return True


def _failed(taken: Notification, why: str) -> None:
    if taken.attempts >= MOST_ATTEMPTS:
        _give_up(taken, why)
        return
    taken.error = why[:500]
    taken.save(update_fields=["error", "recipient"])
    extra = _fields(taken) | {"attempts": taken.attempts, "error": why}
    if timezone.now() - taken.made_at < LATE:
        logger.warning("notification not sent yet", extra=extra)
    else:
        logger.error("an owner is not told", extra=extra | {"since": taken.made_at.isoformat()})


def _give_up(taken: Notification, why: str) -> None:
    taken.settle(_STATE.FAILED, timezone.now(), error=why)
    logger.error("notification given up", extra=_fields(taken) | {"error": why})


def _fields(taken: Notification) -> dict[str, object]:
    return {
        "account": taken.account_id,
        "account_name": taken.account.name,
        "notification": taken.pk,
    }
