"""Reading an action back: what the exchange shows afterwards, for the record."""

import logging
from datetime import datetime, timedelta
from typing import Any, Final

from django.db import transaction
from django.utils import timezone

from accounts.crypto import SealBrokenError
from accounts.gateway import client_for, server_clock
from automations import answering, journal, telling
from automations.intending import entry_about
from automations.models import Execution
from automations.models.compiled import Compiled
from automations.models.kinds import typed
from automations.reading import closing, closing_on_cross, described, read, told
from automations.suspending import note_refusal
from exchange.client import Client
from exchange.config import Network
from exchange.errors import ExchangeError, KeyRefusedError
from exchange.paging import Span
from exchange.position import PositionId, Regime

logger = logging.getLogger(__name__)

_WAITS: Final = timedelta(seconds=30)
_GIVES_UP: Final = timedelta(days=1)
_BACK: Final = timedelta(minutes=1)
_CLOSES: Final = frozenset({Execution.Does.CLOSE_POSITION, Execution.Does.REDUCE_POSITION})
_DUE: Final = Compiled[Execution](
    lambda execution: Execution.objects.filter(pk=execution, read_back_due=True).select_related(
        "account", "automation"
    ),
    int,
)


def read_back(execution_id: int) -> None:
    """Store what the exchange shows after an action; what cannot be read stays due."""
    for execution in _DUE(execution_id):
        _read_back(execution)


def read_back_overdue(now: datetime) -> int:
    """Read back what nobody did within a while, as messages may be lost; return how many were due.

    What cannot be read within a day is given up: too much has happened since.
    """
    due = Execution.objects.filter(read_back_due=True)
    due.filter(settled_at__lt=now - _GIVES_UP).update(read_back_due=False)
    overdue = list(due.filter(settled_at__lt=now - _WAITS).select_related("account", "automation"))
    answers = answering.balances(each.account for each in overdue)
    for execution in overdue:
        if execution.account_id in answers:
            _read_back(execution)
    return len(overdue)


def _read_back(execution: Execution) -> None:
    account = execution.account
    try:
        _store(execution, client_for(account))
    except (ExchangeError, SealBrokenError) as error:
        extra = {
            "account": account.pk,
            "account_name": account.name,
            "automation": execution.automation_id,
            "execution": execution.pk,
            "error": str(error),
        }
        logger.warning("not read back", extra=extra)
        if isinstance(error, KeyRefusedError):
            note_refusal(account, str(error))


def _store(execution: Execution, client: Client) -> None:
    """Store what the exchange shows after an action, for the record.

    Not on the way of the order, nor in the way of the next one: it may wait.

    Raises:
        ExchangeError: the exchange could not be read; it stays due.
    """
    seen = read(client, Regime(execution.regime), not_before=execution.settled_at)
    balance = client.balance()
    position = seen.position(PositionId(execution.position_id))
    shown = described(position, seen.quote) if position else {}
    if execution.does in _CLOSES:
        shown |= _closing(execution, client)
    with transaction.atomic():
        execution.after = execution.after | shown | told(balance)
        due = Execution.objects.filter(pk=execution.pk, read_back_due=True)
        if not due.update(read_back_due=False, after=execution.after):
            return  # somebody else did
        telling.complete(execution)
        now = timezone.now()
        automation = typed(execution.automation)
        journal.append(
            entry_about(automation, execution, journal.READ_BACK, message=execution.why, now=now)
        )


def _closing(execution: Execution, client: Client) -> dict[str, Any]:
    """Return how what was closed ended: price, profit, fees; nothing where the exchange shows none.

    Raises:
        ExchangeError: the exchange could not be read.
    """
    offset = timedelta(milliseconds=server_clock(Network(execution.account.network)).offset_ms)
    since = Span(since=execution.decided_at + offset - _BACK)
    if execution.regime == Regime.ISOLATED:
        trade = client.closed_trades(since).find(execution.position_id)
        return closing(trade) if trade else {}
    for order in client.rest.cross.filled_orders(since):
        if order.client_id == execution.client_id or (
            execution.does == Execution.Does.CLOSE_POSITION
            and order.side != execution.before["side"]
            and not order.client_id
        ):
            return closing_on_cross(execution.before, order)
    return {}
