"""When the present cross position began: it bears the same name for life, and was flat in between."""

from datetime import datetime
from typing import Final

from django.db import connection, transaction

from automations.models import Execution, SpentStep
from exchange.formulas import Side
from exchange.position import CROSS, PositionsSnapshot

_BEGIN: Final = """
UPDATE accounts_account AS account SET cross_since = %(at)s
 WHERE id = %(account)s AND (cross_since IS NULL OR cross_since < %(at)s) AND EXISTS (
    SELECT FROM automations_execution
     WHERE account_id = account.id AND position_id = %(cross)s AND decided_at < %(at)s
       AND (account.cross_since IS NULL OR decided_at >= account.cross_since)
 )
"""
"""Only where something happened to the position that is over."""


def begin_anew(account_id: int, at: datetime) -> None:
    """Let the account's cross position begin anew: at this moment it was flat, or about to turn.

    What was spent and which steps acted before counts for the position before. Thresholds for it are
    its owner's settings, and stay. Does nothing where that is known already, or where nothing happened
    since; a late word of an earlier moment takes nothing from what came later.
    """
    with transaction.atomic():
        with connection.cursor() as cursor:
            cursor.execute(_BEGIN, {"account": account_id, "at": at, "cross": CROSS})
        SpentStep.objects.filter(
            step__guard__account_id=account_id, position_id=CROSS, acted_at__lt=at
        ).delete()


def closed(execution: Execution) -> bool:
    """Whether the execution surely closed the cross position."""
    closes = execution.does == Execution.Does.CLOSE_POSITION and execution.position_id == CROSS
    return closes and execution.state == Execution.State.CONFIRMED


def seen_between(known: PositionsSnapshot | None, seen: PositionsSnapshot) -> datetime | None:
    """Return a moment before which all belongs to a cross position that is over; None: not told.

    Args:
        known: the reading before, if any.
        seen: the newest one.
    """
    if not seen.with_cross or seen.hidden(CROSS):
        return None
    now = _side(seen)
    if known is None or not known.with_cross or known.hidden(CROSS):
        return seen.at if now is None else None
    before = _side(known)
    if before is None or before is now:
        return None
    # On its way to the other side it was flat for a moment, nobody knows when in between.
    return seen.at if now is None else known.at


def _side(snapshot: PositionsSnapshot) -> Side | None:
    """Return the side of the cross position; None while it is flat."""
    return next((each.side for each in snapshot.positions if each.id == CROSS), None)
