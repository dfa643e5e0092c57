"""Settling what was left open: executions whose answer never came, or was never recorded."""

import logging
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal
from enum import StrEnum
from typing import Any, Final

from django.db import transaction
from django.utils import timezone

from accounts.crypto import SealBrokenError
from accounts.gateway import client_for
from automations import answering, ends, journal, proof, resting
from automations.intending import intended, report_flat
from automations.locking import closing_lock_name, lock_name, position_lock
from automations.models import Execution
from automations.models.kinds import typed
from automations.proof import Verdict
from automations.reading import plain
from automations.remembering import follow, remember_step
from automations.topups import TopUps
from exchange.client import Client
from exchange.cross import CrossOrder
from exchange.errors import ExchangeError, OperatorNeededError
from exchange.money import Sats, UsdPerBtc
from exchange.paging import Span
from exchange.position import Position, PositionId, Regime
from exchange.rows import Rows
from exchange.trade import CanceledTrade, ClosedTrade, OpenOrder
from exchange.unreadable import Unreadable

logger = logging.getLogger(__name__)

ARRIVES_WITHIN: Final = timedelta(seconds=45)
"""After this a request can no longer take effect: its turn at the limit (3 s), then the exchange's
clock window of 30 s and 10 s of margin (API notes, section 8)."""
_BACK: Final = timedelta(minutes=1)

_STATE_BY: Final = {
    Verdict.HAPPENED: Execution.State.CONFIRMED,
    Verdict.DID_NOT: Execution.State.NOT_APPLIED,
    Verdict.TOO_LATE: Execution.State.NOT_APPLIED,
    Verdict.CANNOT_BE_TOLD: Execution.State.QUARANTINED,
}
_DOES: Final = Execution.Does
_SETTLED_FIELDS: Final = [
    "state", "settled_at", "position_id", "error", "report", "read_back_due",
]  # fmt: skip
_SILENT: Final = "the close itself got no answer"
_DIED: Final = "what was to open it ended in between"


def settle(execution: Execution, client: Client, now: datetime) -> Verdict:
    """Look at the exchange and settle the execution, unless it is too early to tell.

    Only to be called under the position's lock and the one for closing: nobody else settles it then.

    Returns:
        what the exchange shows; the execution is settled unless that is `OPEN` or `NOT_SEEN`.

    Raises:
        ExchangeError: the exchange could not be read; the execution stays as it is.
    """
    may_arrive = now < execution.decided_at + ARRIVES_WITHIN
    automation = typed(execution.automation)
    # Whoever was to settle it died before it could write down even the intent.
    untold = execution.state != Execution.State.UNKNOWN
    meant = intended(automation, execution)
    proven = execution.does != _DOES.CLOSE_POSITION or execution.regime != Regime.CROSS
    verdict = proof.twice(lambda: _judge(execution, client, may_arrive=may_arrive), proven=proven)
    state = _STATE_BY.get(verdict)
    if state is None:
        return verdict
    settled_at = timezone.now()
    execution.become(state, settled_at)
    if verdict is Verdict.TOO_LATE:
        execution.error, execution.report = "", None  # the refusal was no error
    with transaction.atomic():
        execution.save(update_fields=_SETTLED_FIELDS)
        left = (
            f"; {report_flat(execution, _SILENT)}" if execution.claim_reopening() else _flat(execution)
        )
        remember_step(execution)
        if execution.does == _DOES.CANCEL_ORDER and verdict is not Verdict.DID_NOT:
            resting.no_longer_rests(execution.automation_id, execution.position_id)
        if execution.follows is not None and state == Execution.State.CONFIRMED:
            follow(execution.follows, PositionId(execution.position_id))
        if untold:
            journal.append(meant)
        journal.record(
            automation,
            journal.RECONCILED,
            message=f"{execution.get_does_display()} without an answer: it {verdict}{left}",
            data={"action": execution.does, "executionId": execution.pk, "state": state.value},
            now=settled_at,
            position_id=execution.position_id,
            execution=execution,
        )
    logger.info("execution settled by proof", extra=_fields(execution) | {"state": state.value})
    return verdict


def _flat(execution: Execution) -> str:
    """Return what else is to be said of a rest that was to be opened and was not."""
    if execution.follows is not None and execution.state != Execution.State.CONFIRMED:
        return f"; {execution.follows.position_id} was closed before, so it may be flat"
    return ""


def _give_up(closed: Execution) -> bool:
    """Write down, once, that a worker died between a close and its reopening."""
    with transaction.atomic():
        if not closed.claim_reopening():
            return False
        journal.record(
            typed(closed.automation),
            journal.RECONCILED,
            message=report_flat(closed, _DIED),
            data={"action": closed.does, "executionId": closed.pk, "state": closed.state},
            now=timezone.now(),
            position_id=closed.position_id,
            execution=closed,
        )
    logger.error("left flat", extra=_fields(closed) | {"error": closed.error})
    return True


def is_settled(execution: Execution, client: Client) -> bool:
    """Settle what is open, if that can be told by now; return whether it is settled."""
    if execution.state in Execution.UNSETTLED:
        settle(execution, client, timezone.now())
    return execution.state not in Execution.UNSETTLED


def settle_all() -> list[Execution]:
    """Try to settle everything left open; return what is settled now.

    An execution whose position a worker holds is that worker's. An account that does not answer is
    logged and left to the next time.
    """
    left_open = list(Execution.objects.left_open())
    asking = [each.account for each in left_open if each.state in Execution.UNSETTLED]
    silent = {account.pk for account in asking} - answering.balances(asking).keys()
    return [each for each in left_open if each.account_id not in silent and _settled_in_its_turn(each)]


def _settled_in_its_turn(execution: Execution) -> bool:
    """Settle it unless a worker has its position: where none has, nobody is about to go on with it."""
    name = lock_name(
        execution.account_id, execution.automation_id, PositionId(execution.position_id) or None
    )
    with position_lock(name) as mine, position_lock(closing_lock_name(name)) as nobody_closes:
        if not (mine and nobody_closes):
            return False
        execution.refresh_from_db()  # its worker may have settled it since
        if execution.state in Execution.UNSETTLED:
            return _settled(execution)
        return _give_up(execution)


def _settled(execution: Execution) -> bool:
    try:
        settle(execution, client_for(execution.account), timezone.now())
    except (ExchangeError, SealBrokenError) as error:
        logger.warning("execution not settled", extra=_fields(execution) | {"error": str(error)})
    return execution.state not in Execution.UNSETTLED


def _fields(execution: Execution) -> dict[str, Any]:
    return {
        "account": execution.account_id,
        "account_name": execution.account.name,
        "automation": execution.automation_id,
        "execution": execution.pk,
    }


@dataclass(frozen=True, slots=True, kw_only=True)
class _Shown:
    """A trade as the exchange shows it now."""

    runs: bool
    margin: Sats
    funding_fees: Sats | None
    stoploss: UsdPerBtc | None = None
    takeprofit: UsdPerBtc | None = None
    trailing: Decimal | None = None


class Standing(StrEnum):
    """Where an order of ours stands at the exchange."""

    RESTS = "rests"
    FILLED = "filled"
    CANCELED = "canceled"


def standing_of(order: Execution, client: Client) -> Standing:
    """Return where the order stands that was placed by, or is to be taken back by, the execution.

    Raises:
        ExchangeError: the exchange could not be read.
    """
    placed = Execution.objects.filter(
        automation_id=order.automation_id, position_id=order.position_id, does=_DOES.OPEN_POSITION
    ).get()
    if order.regime == Regime.CROSS:
        return _standing_on_cross(placed, client)
    if client.open_trades().shows(placed.position_id):
        return Standing.RESTS
    found = client.canceled_trades(_since(placed)).shows(placed.position_id)
    return Standing.CANCELED if found else Standing.FILLED


def _standing_on_cross(placed: Execution, client: Client) -> Standing:
    if client.rest.cross.open_orders().shows(placed.position_id):
        return Standing.RESTS
    found = client.rest.cross.filled_orders(_since(placed)).shows(placed.position_id)
    return Standing.FILLED if found else Standing.CANCELED


def _judge(execution: Execution, client: Client, *, may_arrive: bool) -> Verdict:
    if execution.does == _DOES.CANCEL_ORDER:
        standing = standing_of(execution, client)
        if standing is Standing.FILLED:
            return Verdict.TOO_LATE
        return proof.of_presence(found=standing is Standing.CANCELED, may_arrive=may_arrive)
    judge = _judge_cross if execution.regime == Regime.CROSS else _judge_isolated
    return judge(execution, client, may_arrive=may_arrive)


def _judge_isolated(execution: Execution, client: Client, *, may_arrive: bool) -> Verdict:
    if execution.does == _DOES.OPEN_POSITION:
        opened = _labelled(execution, _isolated_lists(execution, client))
        return proof.of_presence(found=opened, may_arrive=may_arrive)
    if execution.does in {_DOES.CLOSE_POSITION, _DOES.REDUCE_POSITION}:
        return _judge_close(execution, client, may_arrive=may_arrive)
    shown = _shown(execution, client)
    if shown is None:
        return Verdict.OPEN if may_arrive else Verdict.CANNOT_BE_TOLD
    if execution.does == _DOES.ADD_MARGIN:
        tops_up = TopUps.beside(execution)
        return proof.of_added_margin(
            amount=Sats(execution.amount_sats or 0),
            before=Sats(tops_up.before["margin"]),
            now=shown.margin,
            funding_paid=proof.funding_paid(tops_up.before["fundingFees"], shown.funding_fees),
            may_arrive=may_arrive and shown.runs,
            added_since=tops_up.added,
            others=tops_up.open,
        )
    return _judge_exit(execution, shown, may_arrive=may_arrive)


def _judge_exit(execution: Execution, shown: _Shown, *, may_arrive: bool) -> Verdict:
    if not shown.runs:
        return Verdict.CANNOT_BE_TOLD
    match execution.does:
        case _DOES.SET_STOPLOSS:
            found, untouched = shown.stoploss == execution.level, _stop_is_as_before(execution, shown)
        case _DOES.SET_TAKEPROFIT:
            found = shown.takeprofit == execution.level
            untouched = _said(shown.takeprofit) == execution.before["takeprofit"]
        case _:
            found, untouched = (
                shown.trailing == execution.distance,
                _stop_is_as_before(execution, shown),
            )
    return proof.of_presence(found=found, may_arrive=may_arrive, untouched=untouched)


def _stop_is_as_before(execution: Execution, shown: _Shown) -> bool:
    """Whether nobody set a stop since; one that trails moves by itself."""
    trailed: str | None = execution.before.get("trailing")
    stop: str | None = execution.before["stoploss"]
    if trailed is not None or shown.trailing is not None:
        return _said(shown.trailing) == trailed
    return _said(shown.stoploss) == stop


def _said(number: Decimal | None) -> str | None:
    """Return a number as the record has it."""
    return None if number is None else plain(number)


def _judge_cross(execution: Execution, client: Client, *, may_arrive: bool) -> Verdict:
    position = client.rest.cross.position().running()
    since = _since(execution)
    if execution.does == _DOES.ADD_MARGIN:
        transfers, tops_up = client.rest.cross.transfers(since), TopUps.beside(execution)
        return proof.of_deposit(
            amount=Sats(execution.amount_sats or 0),
            before=Sats(tops_up.before["margin"]),
            now=position.margin if position and _is_as_before(position, execution) else None,
            funding_paid=(
                proof.funding_paid(tops_up.before["fundingFees"], position.funding_fees)
                if position
                else 0
            ),
            # One that cannot be read may be it.
            transferred=bool(transfers.unreadable)
            or any(transfer.amount == execution.amount_sats for transfer in transfers),
            may_arrive=may_arrive,
            added_since=tops_up.added,
            others=tops_up.open,
        )
    if execution.does == _DOES.CLOSE_POSITION:
        if position is None and not ends.may_be_by(client.rest.cross.filled_orders(since), execution):
            return Verdict.DID_NOT
        untouched = position is not None and _is_as_before(position, execution)
        return proof.of_presence(found=position is None, may_arrive=may_arrive, untouched=untouched)
    lists = (client.rest.cross.open_orders(), client.rest.cross.filled_orders(since))
    found = _labelled(execution, lists)
    return proof.of_presence(found=found, may_arrive=may_arrive)


def _is_as_before(position: Position, execution: Execution) -> bool:
    """Whether nobody traded on the cross position since: only then do its margins compare."""
    size = (execution.before["quantity"], execution.before["entry"])
    return (position.quantity, plain(position.entry)) == size


def _since(execution: Execution) -> Span:
    """Return the time since a while before the execution, by the exchange's own clock."""
    return Span(since=ends.decided_at(execution) - _BACK)


_Labelled = Position | OpenOrder | ClosedTrade | CanceledTrade | CrossOrder


def _labelled(execution: Execution, lists: Iterable[Rows[Any]]) -> bool:
    """Whether an order bears the execution's label; takes over the id of one that was opened.

    Raises:
        OperatorNeededError: none does, but one that cannot be read may.
    """
    doubts: list[Unreadable] = []
    for rows in lists:
        every: list[_Labelled] = list(rows)
        labels = [(row.client_id, str(row.id)) for row in every]
        labels += [(row.label, row.id) for row in rows.unreadable if row.id is not None]
        for label, order_id in labels:
            if label == execution.client_id:
                if execution.does == _DOES.OPEN_POSITION:
                    execution.position_id = order_id
                return True
        doubts += [row for row in rows.unreadable if row.id is None]
    if doubts:
        raise OperatorNeededError(doubts[0].fault)
    return False


def _isolated_lists(execution: Execution, client: Client) -> Iterator[Rows[Any]]:
    """Yield all trades that the execution may have opened, whatever became of them."""
    yield client.rest.running_trades()
    since = _since(execution)  # after the first answer: it told the exchange's time
    yield client.open_trades()
    yield client.closed_trades(since)
    yield client.canceled_trades(since)


def _judge_close(execution: Execution, client: Client, *, may_arrive: bool) -> Verdict:
    """Judge by whether the exchange shows the trade closed, readable or not, and how it ended."""
    if client.rest.running_trades().shows(execution.position_id):
        return proof.of_presence(found=False, may_arrive=may_arrive)
    closed = client.closed_trades(_since(execution))
    trade = next((each for each in closed if each.id == execution.position_id), None)
    if trade is not None and not ends.may_be_ours(trade, execution):
        return Verdict.DID_NOT
    return proof.of_presence(found=closed.shows(execution.position_id), may_arrive=may_arrive)


def _shown(execution: Execution, client: Client) -> _Shown | None:
    """Return the trade, running or closed; None where the exchange shows neither.

    Raises:
        OperatorNeededError: it cannot be read, or what may be it.
    """
    position = client.rest.running_trades().find(execution.position_id)
    if position is not None:
        return _Shown(
            runs=True,
            margin=position.margin,
            funding_fees=position.funding_fees,
            stoploss=position.stoploss,
            takeprofit=position.takeprofit,
            trailing=position.trailing,
        )
    trade = client.closed_trades(_since(execution)).find(execution.position_id)
    if trade is None:
        return None
    return _Shown(runs=False, margin=trade.margin, funding_fees=trade.funding_fees)
