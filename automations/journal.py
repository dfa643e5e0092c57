"""Writing the journal: one shape, one chain for each account, and no refusal twice in a row."""

from datetime import datetime
from typing import Any, Final

from django.db import connection

from accounts.models import Account
from automations import telling
from automations.models import Automation, Execution, JournalChain, JournalEntry
from automations.models.compiled import Compiled, insert, update

INTENDED: Final = "intended"
EXECUTED: Final = "executed"
READ_BACK: Final = "read_back"
"""What the exchange shows after an action: position and balance."""
LIMITED: Final = "limited"
"""A top-up was made in part: beside its own entry, what is missing."""
RECONCILED: Final = "reconciled"
UNSETTLED: Final = "unsettled"
"""For 30 s nobody knows what came of an action."""
DISARMED: Final = "disarmed"
"""Nothing more is done before a person looked: the exchange keeps refusing an entry, or an exit was
changed by hand."""
REARMED: Final = "rearmed"
"""A person lets an automation act on a position again."""
STOP_AHEAD: Final = "stop_ahead"
"""A native stop closes the position before its guard acts."""
MISSED: Final = "missed"
"""The price of an entry came and went too far: it is disarmed."""
HELD: Final = "held"
"""The rule wanted to act, and a gate refused."""
QUARANTINED: Final = "quarantined"
"""Looks did not end, so nobody looks any more."""
RELEASED: Final = "released"
"""A person lets them look again."""
# Events of their own, about an account or a position of it that no automation moved:
KEY_REFUSED: Final = "key_refused"
"""The exchange refused an account's key."""
KEY_ACCEPTED: Final = "key_accepted"
"""And accepts it again."""
KEY_REVOKED: Final = "key_revoked"
"""A person switched everything off, for keys may have leaked."""
KEY_TOO_WIDE: Final = "key_too_wide"
"""An account acts with a key that may do more than it needs."""
KEY_UNOPENED: Final = "key_unopened"
"""No key of this installation opens what an account has stored."""
KEY_OPENED: Final = "key_opened"
"""And one does again."""
UNPROTECTED: Final = "unprotected"
"""Neither stream nor REST tells enough to act, and that lasts."""
PROTECTED_AGAIN: Final = "protected_again"
POSITION_UNREADABLE: Final = "position_unreadable"
"""The exchange shows a position that cannot be read: nobody can act on it."""
POSITION_READABLE: Final = "position_readable"
"""That is over."""
LIQUIDATED: Final = "liquidated"
STOPLOSS_EXECUTED: Final = "stoploss_executed"
"""A native stop, by the exchange."""
TAKEPROFIT_EXECUTED: Final = "takeprofit_executed"
CLOSED_ELSEWHERE: Final = "closed_elsewhere"
"""By hand, or by another program."""
FUNDING_PAID: Final = "funding_paid"
"""Or received, where the amount is negative."""

_LOCKED: Final = Compiled[Account](
    # Not its key: what only refers to the account can be added meanwhile.
    lambda account: (
        Account.objects.select_for_update(no_key=True).only("name", "network").filter(pk=account)
    ),
    int,
)
_CHAIN: Final = Compiled[JournalChain](
    lambda account: JournalChain.objects.filter(account=account), int
)


def entry_of(
    automation: Automation,
    outcome: str,
    *,
    message: str,
    data: dict[str, Any],
    now: datetime,
    position_id: str,
    execution: Execution | None = None,
) -> JournalEntry:
    """Return an entry to be appended; its event is kind and outcome: `margin_guard_executed`."""
    return JournalEntry(
        event=f"{automation.KIND}_{outcome}",
        account_id=automation.account_id,
        automation=automation,
        execution=execution,
        position_id=position_id,
        type=automation.KIND,
        message=message[:500],
        data={"positionId": position_id, **data},
        timestamp=now,
    )


def record(automation: Automation, outcome: str, **of_entry: Any) -> JournalEntry:
    """Add one entry, made as `entry_of` says. Must run inside a transaction."""
    entry = entry_of(automation, outcome, **of_entry)
    append(entry)
    return entry


def append(*entries: JournalEntry) -> None:
    """Seal entries of one account to the end of its chain, in this order, and tell whoever is to know.

    Must run inside a transaction: the account's row is locked, so that its chain never forks.
    """
    account_id = entries[0].account_id
    account = lock_chain(account_id)
    chain = _CHAIN.first(account_id) or JournalChain.objects.create(account_id=account_id)
    for entry in entries:
        entry.previous_hash = chain.newest_hash
        entry.hash = chain.newest_hash = entry.computed_hash()
        chain.length += 1
    insert(entries)
    update(chain, "newest_hash", "length")
    for entry in entries:
        telling.tell(entry, account)


def lock_chain(account_id: int) -> Account:
    """Let nobody else write to the account's journal before this transaction ends.

    Returns:
        the account, with its name and network only.
    """
    assert connection.in_atomic_block
    [locked] = _LOCKED(account_id)
    return locked


def record_about(
    account: Account,
    event: str,
    *,
    message: str,
    now: datetime,
    data: dict[str, Any] | None = None,
    position_id: str = "",
) -> JournalEntry:
    """Add one entry about an account, such as a fallback of its stream, or about a position of it.

    Must run inside a transaction.
    """
    entry = JournalEntry(
        event=event,
        account=account,
        position_id=position_id,
        type="account",
        message=message[:500],
        data=data or {},
        timestamp=now,
    )
    append(entry)
    return entry


def record_held(
    automation: Automation,
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
    newest = JournalEntry.objects.filter(automation=automation, position_id=position_id).first()
    if newest and newest.event == f"{automation.KIND}_{HELD}" and newest.data.get("reason") == reason:
        return
    record(
        automation,
        HELD,
        message=message,
        data={"reason": reason, **data},
        now=now,
        position_id=position_id,
    )
