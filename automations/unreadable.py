"""Positions that the exchange shows and we cannot read: told once, and told again when that is over."""

import logging
from collections.abc import Iterator
from datetime import datetime
from typing import Final

from django.db import transaction

from accounts.models import Account
from automations import journal
from automations.models import Notification
from automations.models.kinds import POSITION_KINDS, OnPosition
from exchange.position import CROSS, PositionsSnapshot, Regime
from exchange.unreadable import Unreadable

logger = logging.getLogger(__name__)

REASON: Final = "unreadable"
"""Of what a rule did not even decide."""


def standing(account_id: int) -> set[str]:
    """Return the positions that their owner knows to be unreadable; "" is one without an id."""
    told = Notification.objects.filter(
        account=account_id, ends=True, entry__event=journal.POSITION_UNREADABLE
    )
    return set(told.values_list("entry__position_id", flat=True))


def write_down(
    account: Account, snapshot: PositionsSnapshot, regimes: frozenset[Regime], now: datetime
) -> None:
    """Tell of what cannot be read since this reading, and of what is over; each once."""
    shown = {row.id or "": row for row in snapshot.unreadable}
    if not shown and not standing(account.pk):
        return
    with transaction.atomic():
        journal.lock_chain(account.pk)
        known = standing(account.pk)  # another process may have told it since
        for position_id in shown.keys() - known:
            _tell(account, position_id, shown[position_id], now)
        for position_id in known - shown.keys():
            if _regime_of(position_id) in regimes and snapshot.hidden(position_id) is None:
                _tell_over(account, position_id, snapshot, now)


def hold(automation: OnPosition, position_id: str, row: Unreadable, now: datetime) -> None:
    """Write into the journal that the automation can decide nothing on the position."""
    with transaction.atomic():
        journal.record_held(
            automation,
            reason=REASON,
            message=said(row),
            data={"fault": row.fault},
            now=now,
            position_id=position_id,
        )


def said(row: Unreadable) -> str:
    """Return in a sentence why nobody acts on the position."""
    return f"the position cannot be read: {row.fault}"[:500]


def _tell(account: Account, position_id: str, row: Unreadable, now: datetime) -> None:
    journal.record_about(
        account,
        journal.POSITION_UNREADABLE,
        message=said(row),
        data={"positionId": position_id, "fault": row.fault},
        now=now,
        position_id=position_id,
    )
    for automation in _whose(account, row):
        hold(automation, position_id, row, now)
    extra = {"account": account.pk, "account_name": account.name, "position": position_id}
    logger.error("position cannot be read", extra=extra | {"error": row.fault})


def _tell_over(account: Account, position_id: str, snapshot: PositionsSnapshot, now: datetime) -> None:
    runs = any(each.id == position_id for each in snapshot.positions)
    message = "it can be read again" if runs else "what could not be read is shown no more"
    journal.record_about(
        account,
        journal.POSITION_READABLE,
        message=message,
        data={"positionId": position_id},
        now=now,
        position_id=position_id,
    )
    extra = {"account": account.pk, "account_name": account.name, "position": position_id}
    logger.warning("position can be read again", extra=extra | {"why": message})


def _whose(account: Account, row: Unreadable) -> Iterator[OnPosition]:
    """Yield the automations that would look at the position."""
    for kind in POSITION_KINDS:
        acting = kind.acting().filter(account=account)
        yield from (automation for automation in acting if automation.may_cover(row))


def _regime_of(position_id: str) -> Regime:
    return Regime.CROSS if position_id == CROSS else Regime.ISOLATED
