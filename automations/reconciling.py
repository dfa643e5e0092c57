"""Settling what was left open: executions whose answer never came, or was never recorded."""

import logging
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from django.db import transaction
from django.utils import timezone

from accounts.crypto import SealBrokenError
from accounts.gateway import client_for
from automations import journal, proof
from automations.locking import position_lock
from automations.models import Execution
from automations.proof import Verdict
from exchange.client import Client
from exchange.errors import ExchangeError
from exchange.money import Sats
from exchange.paging import Span
from exchange.position import PositionId

logger = logging.getLogger(__name__)

ARRIVES_WITHIN: Final = timedelta(seconds=45)
"""After this a request can no longer take effect: its turn at the limit (3 s), then the exchange's
clock window of 30 s and 10 s of margin (API notes, section 8)."""
_BACK: Final = timedelta(minutes=1)

_STATE_BY: Final = {
    Verdict.HAPPENED: Execution.State.CONFIRMED,
    Verdict.DID_NOT: Execution.State.NOT_APPLIED,
    Verdict.CANNOT_BE_TOLD: Execution.State.QUARANTINED,
}


def settle(execution: Execution, client: Client, now: datetime) -> None:
    """Look at the exchange and settle the execution, unless it is too early to tell.

    Only to be called under the position's lock: then no worker is about to settle it itself.

    Raises:
        ExchangeError: the exchange could not be read; the execution stays as it is.
    """
    verdict = _judge(execution, client, may_arrive=now < execution.decided_at + ARRIVES_WITHIN)
    state = _STATE_BY.get(verdict)
    if state is None:
        return
    execution.state, execution.settled_at = state, timezone.now()
    with transaction.atomic():
        execution.save(update_fields=["state", "settled_at"])
        journal.record(
            execution.automation.marginguard,
            journal.RECONCILED,
            message=f"{execution.get_does_display()} without an answer: it {verdict}",
            data={"executionId": execution.pk, "state": state.value},
            now=execution.settled_at,
            position_id=execution.position_id,
            execution=execution,
        )


def settle_all() -> list[Execution]:
    """Try to settle everything left open; return what is settled now.

    An execution whose position a worker holds is that worker's. An account that cannot be read is
    logged and left to the next time.
    """
    settled = []
    for execution in Execution.objects.unsettled().select_related("account"):
        with position_lock(PositionId(execution.position_id)) as mine:
            if not mine:
                continue
            execution.refresh_from_db()  # its worker may have settled it since
            if execution.state in Execution.UNSETTLED and _settled(execution):
                settled.append(execution)
    return settled


def _settled(execution: Execution) -> bool:
    try:
        settle(execution, client_for(execution.account), timezone.now())
    except (ExchangeError, SealBrokenError) as error:
        extra = {"execution": execution.pk, "account": execution.account_id, "error": str(error)}
        logger.warning("execution not settled", extra=extra)
    return execution.state not in Execution.UNSETTLED


def _judge(execution: Execution, client: Client, *, may_arrive: bool) -> Verdict:
    shown = _shown(execution, client)
    if execution.does == Execution.Does.CLOSE_POSITION:
        return proof.of_close(runs=shown is None or shown.runs, may_arrive=may_arrive)
    if shown is None:
        return Verdict.OPEN if may_arrive else Verdict.CANNOT_BE_TOLD
    return proof.of_added_margin(
        amount=Sats(execution.amount_sats or 0),
        before=Sats(execution.margin_before),
        now=shown.margin,
        funding_paid=shown.funding_fees - execution.funding_before,
        may_arrive=may_arrive and shown.runs,
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class _Shown:
    """The position as the exchange shows it now."""

    runs: bool
    margin: Sats
    funding_fees: Sats


def _shown(execution: Execution, client: Client) -> _Shown | None:
    """Return the position, running or closed; None where the exchange shows neither."""
    for position in client.rest.running_trades():
        if position.id == execution.position_id:
            return _Shown(runs=True, margin=position.margin, funding_fees=position.funding_fees)
    for trade in client.closed_trades(Span(since=execution.decided_at - _BACK)):
        if trade.id == execution.position_id:
            return _Shown(runs=False, margin=trade.margin, funding_fees=trade.funding_fees)
    return None
