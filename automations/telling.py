"""Telling owners: writes down, beside an entry of the journal, what its owner is told, and when."""

import logging
from datetime import timedelta
from functools import cache
from typing import Final

from celery import current_app
from django.db import transaction
from django.db.models import F
from redis import Redis

from accounts.gateway import redis_client
from accounts.models import Account
from accounts.times import written, zone_of
from automations.models import Execution, JournalEntry, Notification
from automations.models.compiled import insert
from automations.notices import REPEATED, Effect, Notice, notice_of
from automations.outages import QUEUE_ERRORS, line
from automations.wording import subject_of, text_of
from exchange.position import Regime
from exchange.reach import Reach

logger = logging.getLogger(__name__)

TASK: Final = "automations.tasks.deliver_notifications"
EXPIRES_S: Final = 30
"""A request for delivery older than this is dropped: the sweep has asked since."""
_ASKED: Final = "hubdefisats:delivery:asked"
"""While this key is there, a message waits whose receiver will find everything written until now."""
_FLAT: Final = "flat"
_GUARD: Final = "margin_guard"
_DOES: Final = Execution.Does
_CLOSES: Final = frozenset({_DOES.CLOSE_POSITION, _DOES.REDUCE_POSITION})
_WAITING: Final = Notification.State.WAITING


def tell(entry: JournalEntry, account: Account) -> None:
    """Write down that the account's owner is to be told of the entry, where he is; then have it sent.

    Must run inside the transaction that writes the entry.
    """
    notice = notice_of(entry.type, what_of(entry))
    if notice is None or not notice.told or _is_shadow(entry):
        return
    back = notice.effect is Effect.RETURNS and _returns(entry, notice)
    if notice.only_after and not back:
        return
    last = None if back or notice.joined is None else _last(entry, notice)
    if last is None:
        _write(entry, account, notice, waits=notice.waits, back=back)
    else:
        _join(entry, account, notice, last)


def complete(execution: Execution) -> None:
    """Send what waits for the numbers of an action, now that they are known.

    Must run inside the transaction that stores them.
    """
    waits = Notification.objects.filter(
        account_id=execution.account_id, entry__execution=execution.pk, state=_WAITING, attempts=0
    )
    for told in waits.select_related("entry__automation"):
        notice = notice_of(told.entry.type, what_of(told.entry))
        if notice is None or not notice.waits:
            continue
        told.entry.data["after"] = execution.after  # only here: an entry is never written to again
        told.text = text_of(told.entry, execution.account, notice, back=told.is_back)
        told.next_attempt_at = told.made_at
        told.save(update_fields=["text", "next_attempt_at"])
        transaction.on_commit(_ask_for_delivery, robust=True)


def _is_shadow(entry: JournalEntry) -> bool:
    """Whether it is about what a shadow would do; what was sent before it became one is told."""
    return entry.execution_id is None and entry.automation is not None and entry.automation.shadow


def what_of(entry: JournalEntry) -> str:
    """Return what the entry tells, in the words of the table."""
    outcome = entry.event.removeprefix(f"{entry.type}_")
    if _is_flat(entry, outcome):
        return _FLAT
    match outcome:
        case "held":
            return f"held {entry.data.get('reason')}"
        case "executed":
            return f"executed {entry.data.get('action')}"
        case "closed_elsewhere" if not entry.data.get("guarded"):
            return f"{outcome} unguarded"
        case "reconciled":
            closed = entry.data.get("action") in _CLOSES and entry.data.get("state") == "confirmed"
            return "reconciled closed" if closed else f"reconciled {entry.data.get('state')}"
        case _:
            return outcome


def _is_flat(entry: JournalEntry, outcome: str) -> bool:
    """Whether a trade was closed to be opened smaller, and was not opened again."""
    execution = entry.execution
    if execution is None:
        return bool(entry.data.get(_FLAT))
    if execution.follows_id is not None:
        return outcome in {"rejected", "not_sent"} or (
            outcome == "reconciled" and execution.state != Execution.State.CONFIRMED
        )
    reduced = execution.does == _DOES.REDUCE_POSITION and execution.regime == Regime.ISOLATED
    return outcome == "reconciled" and reduced and execution.state == Execution.State.CONFIRMED


def _topic(entry: JournalEntry, what: str) -> str:
    """Return by what repetitions are known: who, on which position, and what."""
    return f"{entry.automation_id or ''}:{entry.position_id}:{what}"[:200]


def _returns(entry: JournalEntry, notice: Notice) -> bool:
    """Note that what had ended is back; return whether its owner had been told of the end.

    What ended and came back before it was worth telling is not told at all.
    """
    ended = Notification.objects.filter(account_id=entry.account_id, ends=True)
    if notice.only_after:
        ended = ended.filter(topic__in=[_topic(entry, what) for what in notice.only_after])
    else:
        ended = ended.filter(topic__startswith=_topic(entry, ""))
    if not ended:  # nearly always: one question, and no more
        return False
    waits = ended.all().filter(state=_WAITING, attempts=0, next_attempt_at__gt=entry.timestamp)
    waits.filter(count=0).delete()
    return ended.update(ends=False) > 0


def _last(entry: JournalEntry, notice: Notice) -> Notification | None:
    """Return the last message about the same within the hour; an end after a return is a new one."""
    found = Notification.objects.filter(
        account_id=entry.account_id,
        topic=_topic(entry, notice.what),
        made_at__gt=entry.timestamp - REPEATED,
    ).first()
    return None if found is None or found.ends != notice.effect.is_bad else found


def _join(entry: JournalEntry, account: Account, notice: Notice, last: Notification) -> None:
    """Add a repetition to the message that collects them; where none does, begin one."""
    assert notice.joined is not None
    collecting = Notification.objects.filter(
        pk=last.pk, state=_WAITING, attempts=0, count__gt=0, next_attempt_at__gt=entry.timestamp
    )
    count = last.count + 1
    times = f"{count} times since {written(last.made_at, zone_of(account.owner_id))}"
    added = collecting.update(
        entry=entry,
        count=F("count") + 1,
        subject=f"{subject_of(entry, account, notice)[:170]} ({times})",
        text=f"{times}; the last:\n{text_of(entry, account, notice)}",
        ends=notice.effect.is_bad,
    )
    if not added:
        _write(entry, account, notice, waits=notice.joined, count=1)


def _write(
    entry: JournalEntry,
    account: Account,
    notice: Notice,
    *,
    waits: timedelta,
    count: int = 0,
    back: bool = False,
) -> None:
    back = back and entry.type == _GUARD
    told = Notification(
        account=account,
        entry=entry,
        topic=_topic(entry, notice.what),
        ends=notice.effect.is_bad,
        is_back=back,
        count=count,
        subject=subject_of(entry, account, notice),
        text=text_of(entry, account, notice, back=back),
        made_at=entry.timestamp,
        next_attempt_at=entry.timestamp + waits,
    )
    insert([told])
    if not count:
        transaction.on_commit(lambda: _ask_for_delivery(waits.total_seconds()), robust=True)


def _ask_for_delivery(in_s: float = 0) -> None:
    """Send a message to whoever delivers, unless one waits already: each delivers all there is.

    Without Redis nobody waits for it, and the sweep does it. Celery itself would look for a broker that
    is away for seconds.
    """
    redis = redis_client()
    if in_s:
        asked = _reach(redis).call(redis.ping)
    else:
        asked = _reach(redis).call(lambda: redis.set(_ASKED, 1, nx=True, ex=EXPIRES_S))
    if asked:
        expires_s = in_s + EXPIRES_S
        try:
            current_app.send_task(
                TASK, queue="notifications", countdown=in_s or None, expires=expires_s, retry=False
            )
        except QUEUE_ERRORS as error:
            logger.warning("delivery not asked for", extra={"why": line(error)})
            begin_delivery()


def begin_delivery() -> None:
    """Say that what is told from now on needs a message of its own."""
    redis = redis_client()
    _reach(redis).call(lambda: redis.delete(_ASKED))


@cache
def _reach(redis: Redis) -> Reach:  # noqa: ARG001 - one for each connection
    return Reach("queue of notifications")
