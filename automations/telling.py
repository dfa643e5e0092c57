"""What owners are told: which entries of the journal, in which words; written beside the entry."""

from datetime import timedelta
from functools import cache
from typing import Any, Final

from celery import current_app
from django.db import transaction
from redis import Redis

from accounts.gateway import redis_client
from accounts.models import Account
from automations.models import Execution, JournalEntry, Notification
from automations.models.compiled import insert
from exchange.position import Regime
from exchange.reach import Reach

TASK: Final = "automations.tasks.deliver_notifications"
EXPIRES_S: Final = 30
"""A request for delivery older than this is dropped: the sweep has asked since."""
_ASKED: Final = "hubdefisats:delivery:asked"
"""While this key is there, a message waits whose receiver will find everything written until now."""

_FLAT: Final = "flat"
_SUBJECTS: Final = {
    "executed": "{action}",
    "rejected": "refused by the exchange: {action}",
    "reconciled confirmed": "{action}, as the exchange shows",
    "reconciled quarantined": "nobody can tell whether this happened: {action}",
    _FLAT: "closed, and not opened again",
    "quarantined": "stopped on a position until you release it",
    "key_refused": "suspended, for the exchange refused the key",
    "key_accepted": "acts again, for the exchange accepts the key",
}
"""By what an entry tells; nobody is told of anything else, nor of what a shadow would have done."""

_DOES: Final = Execution.Does
_MOVES_AN_EXIT: Final = frozenset({_DOES.SET_STOPLOSS, _DOES.SET_TRAILING, _DOES.SET_TAKEPROFIT})
_SELDOM: Final = timedelta(hours=1)
"""What may come again every few seconds is told once in this time."""
_SHOWN: Final = {
    "margin": "margin {} sats",
    "liquidation": "liquidation at {}",
    "stoploss": "stop at {}",
    "takeprofit": "take profit at {}",
}


def tell(entry: JournalEntry, account: Account) -> None:
    """Write down that the account's owner is to be told of the entry, where he is; then have it sent.

    Must run inside the transaction that writes the entry.
    """
    subject = _subject(entry)
    if subject is None or _told_lately(entry):
        return
    told = Notification(
        account=account,
        entry=entry,
        # A name may hold a line break, and a subject may not.
        subject=" ".join(f"[hubdefisats] {account.name}: {subject}".split())[:200],
        text=_text(entry, account),
        made_at=entry.timestamp,
        next_attempt_at=entry.timestamp,
    )
    insert([told])
    transaction.on_commit(_ask_for_delivery, robust=True)


def _ask_for_delivery() -> None:
    """Send a message to whoever delivers, unless one waits already: each delivers all there is.

    Without Redis nobody waits for it, and the sweep does it. Celery itself would look for a broker that
    is away for seconds.
    """
    redis = redis_client()
    if _reach(redis).call(lambda: redis.set(_ASKED, 1, nx=True, ex=EXPIRES_S)):
        current_app.send_task(TASK, queue="notifications", expires=EXPIRES_S, retry=False)


def begin_delivery() -> None:
    """Say that what is told from now on needs a message of its own."""
    redis = redis_client()
    _reach(redis).call(lambda: redis.delete(_ASKED))


@cache
def _reach(redis: Redis) -> Reach:  # noqa: ARG001 - one for each connection
    return Reach("queue of notifications")


def _subject(entry: JournalEntry) -> str | None:
    pattern = _SUBJECTS.get(_what(entry))
    if pattern is None:
        return None
    by = f"{entry.automation.name}: " if entry.automation else ""
    return f"{by}{pattern.format(action=_action(entry))}"


def _what(entry: JournalEntry) -> str:
    """Return what the entry tells, in a word of the table or another."""
    outcome = entry.event.removeprefix(f"{entry.type}_")
    if _is_flat(entry, outcome):
        return _FLAT
    return f"reconciled {entry.data['state']}" if outcome == "reconciled" else outcome


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


def _told_lately(entry: JournalEntry) -> bool:
    """Whether the owner was told the same a moment ago, of what comes again every few seconds."""
    repeats = entry.event.endswith("_rejected") or entry.data.get("action") in _MOVES_AN_EXIT
    return repeats and (
        Notification.objects.filter(
            account_id=entry.account_id,
            made_at__gt=entry.timestamp - _SELDOM,
            entry__event=entry.event,
            entry__automation=entry.automation,
            entry__position_id=entry.position_id,
        ).exists()
    )


def _action(entry: JournalEntry) -> str:
    does = entry.data.get("action")
    if does is None:
        return ""
    return "warning" if does == _DOES.NOTIFY else _DOES(does).label


def _text(entry: JournalEntry, account: Account) -> str:
    """Return who, why, what, before and after, a line each, as far as the entry knows them."""
    lines = (
        f"{_who(entry)} account “{account.name}” ({account.network}): {entry.message}.",
        _what_was_done(entry),
        _stood("Before", entry.data),
        _stood("After", entry.data.get("after") or {}),
        f"{entry.timestamp:%Y-%m-%d %H:%M:%S} UTC, journal entry {entry.pk}.",
    )
    return "\n".join(line for line in lines if line)


def _who(entry: JournalEntry) -> str:
    if entry.automation is None:
        return "Your"
    on = f", position {entry.position_id}," if entry.position_id else ""
    return f"“{entry.automation.name}”{on} on your"


def _what_was_done(entry: JournalEntry) -> str:
    """Return the action with its numbers; nothing where the entry is about none."""
    action, data = _action(entry), entry.data
    if not action:
        return ""
    amount, level, price = data.get("amount"), data.get("level"), data.get("price")
    quantity = data.get("quantity")
    numbers = (
        f"{amount:,} sats" if amount else "",
        f"{quantity:,} USD" if quantity else "",
        f"to {level}" if level else "",
        f"at a price of {price}" if price else "",
    )
    return f"Action: {', '.join(filter(None, (action, *numbers)))}."


def _stood(when: str, data: dict[str, Any]) -> str:
    """Return how the position stood; nothing where that is not known."""
    known = [
        pattern.format(f"{value:,}" if isinstance(value, int) else value)
        for name, pattern in _SHOWN.items()
        if (value := data.get(name)) is not None
    ]
    return f"{when}: {', '.join(known)}." if "margin" in data else ""
