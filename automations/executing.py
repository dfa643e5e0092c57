"""The one path on which anything is written to the exchange: intend, send once, settle."""

import logging
from dataclasses import dataclass, replace
from typing import Any, Final

from django.db import connection, transaction
from django.utils import timezone

from accounts.gateway import redis_client
from accounts.models import Account
from automations import changes, gates, journal, resting
from automations.gates import Refusal, Request
from automations.intending import (
    Cause,
    Facts,
    entry_about,
    intended,
    intent_after,
    intent_of,
    left_flat,
    new_label,
    report_flat,
    report_of,
)
from automations.models import Automation, Execution
from automations.models.compiled import insert, update
from automations.performing import Done, perform
from automations.reading import described
from automations.remembering import follow, remember_step
from automations.rules.actions import (
    AddMargin,
    CancelOrder,
    Command,
    Notify,
    OpenPosition,
    ReducePosition,
)
from automations.rules.reopening import pays_for_itself, rest_of
from automations.suspending import suspend
from exchange.account import Balance
from exchange.client import Client
from exchange.errors import (
    ExchangeError,
    KeyRefusedError,
    OperatorNeededError,
    RejectedError,
    TransientError,
    UnknownOutcomeError,
)
from exchange.position import PositionId, Regime

__all__ = ["Cause", "Facts", "Outcome", "carry_out", "hold", "new_label"]

logger = logging.getLogger(__name__)

_SETTLED_FIELDS: Final = [
    "state", "error", "report", "settled_at", "after", "position_id", "quantity",
    "read_back_due",
]  # fmt: skip
_SENT: Final = """
SET LOCAL synchronous_commit = off;
UPDATE automations_execution SET state = %s WHERE id = %s
"""
"""One round trip: PostgreSQL takes statements that come together for one transaction."""
_LEFT_FLAT: Final = frozenset({Execution.State.REJECTED, Execution.State.NOT_SENT})


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What came of carrying an action out: the execution's state, or the refusing gate's word."""

    word: str
    execution: Execution | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class _Intent:
    """A committed execution and the action it stands for, limited by budgets and reserve."""

    automation: Automation
    execution: Execution
    action: Command
    facts: Facts


def carry_out(automation: Automation, action: Command, facts: Facts, client: Client) -> Outcome:
    """Pass the gates, commit the intent, send one request, settle by its answer.

    Raises:
        TransientError: nothing happened at the exchange; the caller may decide and try again.
    """
    balance = _balance_if_reserved(automation.account, action, client)
    with transaction.atomic():
        intent = _intend(automation, action, facts, balance)
        if isinstance(intent, Refusal):
            return Outcome(word=intent.reason)
        # Where nothing is sent nothing can be left open: both are committed at once.
        if intent.automation.shadow:
            return _settle(intent, Execution.State.SHADOW)
        if isinstance(action, Notify):
            return _settle(intent, Execution.State.CONFIRMED)
    outcome = _send(intent, client)
    if not isinstance(action, ReducePosition) or outcome.word != Execution.State.CONFIRMED:
        return outcome
    return _reopen(intent, action, client) if _is_isolated(facts) else outcome


def hold(
    automation: Automation, refusal: Refusal, facts: Facts, position_id: str, *, flat: bool = False
) -> None:
    """Write into the journal that a gate refused what the rule wanted, and if that leaves it flat."""
    with transaction.atomic():
        journal.record_held(
            automation,
            reason=refusal.reason,
            message=refusal.message,
            data=facts.as_data() | ({"flat": True} if flat else {}),
            now=timezone.now(),
            position_id=position_id,
        )


def _is_isolated(facts: Facts) -> bool:
    return facts.position is not None and facts.position.regime is Regime.ISOLATED


def _balance_if_reserved(account: Account, action: Command, client: Client) -> Balance | None:
    """Ask for the free balance where a reserve depends on it; else spare the call."""
    if account.reserve_sats and isinstance(action, AddMargin | OpenPosition):
        return client.balance()
    return None


def _intend(
    automation: Automation, action: Command, facts: Facts, balance: Balance | None
) -> _Intent | Refusal:
    """Pass the gates and write the execution down, in the caller's transaction."""
    request = Request.read(automation, action, facts.seen, balance, locking=True)
    automation.shadow = request.condition.shadow  # it may have become one since it was found
    refused = gates.refusal(request)
    if refused is not None:
        hold(automation, refused, facts, request.position_id)
        return refused
    action = gates.limited(request)
    execution = intent_of(request, action, facts)
    insert([execution])
    return _Intent(automation=automation, execution=execution, action=action, facts=facts)


def _send(intent: _Intent, client: Client) -> Outcome:
    _move_to_sent(intent.execution)
    try:
        done = perform(intent.action, intent.facts.position, client, label=intent.execution.client_id)
    except TransientError as error:
        _settle(intent, Execution.State.NOT_SENT, error=error)
        raise
    except KeyRefusedError as error:
        suspend(intent.automation.account, str(error))
        return _settle(intent, Execution.State.REJECTED, error=error)
    except RejectedError as error:
        # An order that cannot be taken back may be filled by now: what the exchange shows decides.
        taken_back = isinstance(intent.action, CancelOrder)
        state = Execution.State.UNKNOWN if taken_back else Execution.State.REJECTED
        return _settle(intent, state, error=error)
    except (UnknownOutcomeError, OperatorNeededError) as error:
        return _settle(intent, Execution.State.UNKNOWN, error=error)
    return _settle(intent, Execution.State.CONFIRMED, done=done)


def _move_to_sent(execution: Execution) -> None:
    """Write that the request is on its way, without waiting for the disk: it changes no promise."""
    execution.become(Execution.State.SENT, timezone.now())
    with connection.cursor() as cursor:
        cursor.execute(_SENT, [execution.state, execution.pk])


def _settle(
    intent: _Intent,
    state: Execution.State,
    *,
    done: Done | None = None,
    error: ExchangeError | None = None,
) -> Outcome:
    execution, now = intent.execution, timezone.now()
    meant = intended(intent.automation, execution)
    execution.become(state, now)
    if error is not None:
        execution.error = str(error)[:500]
        execution.report = report_of(intent.automation, str(error), now)
    if done is not None:
        execution.position_id = done.opened or execution.position_id
        execution.quantity = done.quantity or execution.quantity
        if done.position is not None:
            execution.after = described(done.position, intent.facts.seen.quote)
    with transaction.atomic():
        update(execution, *_SETTLED_FIELDS)
        remember_step(execution)
        if done is not None and isinstance(intent.action, CancelOrder):
            resting.no_longer_rests(execution.automation_id, execution.position_id)
        outcome = journal.EXECUTED if state == Execution.State.CONFIRMED else state.value
        # The intent stood in the record before the request left; its entry need not delay that.
        journal.append(
            meant,
            entry_about(intent.automation, execution, outcome, message=_told(intent), now=now),
        )
    changes.announce(redis_client(), intent.automation.account)
    logger.info("execution settled", extra=_fields(intent) | {"state": state.value})
    return Outcome(word=state.value, execution=execution)


def _told(intent: _Intent) -> str:
    """Return in a sentence what came of it, the error first where there is one."""
    execution = intent.execution
    if execution.follows is not None and execution.state in _LEFT_FLAT:
        return f"{left_flat(execution.follows.position_id)}: {execution.error}"
    return execution.error or intent.action.why


def _reopen(closed: _Intent, action: ReducePosition, client: Client) -> Outcome:
    """Open the rest of a closed trade anew (API notes, 7.1 A); where that fails, stay flat."""
    position = closed.facts.position
    assert position is not None
    price = closed.facts.seen.quote.price
    rest = rest_of(position, action, price, client_id=new_label())
    facts = replace(closed.facts, position=None)
    execution = intent_after(closed.execution, rest)
    intent = _Intent(automation=closed.automation, execution=execution, action=rest, facts=facts)
    with transaction.atomic():
        if not closed.execution.claim_reopening():
            return Outcome(word="given up meanwhile")
        request = Request.read(closed.automation, action, facts.seen, None, locking=True)
        refused = gates.thrown(request)
        if refused is None and not pays_for_itself(position, rest, price):
            refused = request.refuse("too_little_left", "too little came back for the rest")
        if refused is not None:
            left = replace(refused, message=report_flat(closed.execution, refused.message))
            hold(closed.automation, left, closed.facts, position.id, flat=True)
            return Outcome(word=refused.reason, execution=closed.execution)
        insert([execution])
    try:
        outcome = _send(intent, client)
    except TransientError:
        # Not sent, and not tried again: the market moved on, and flat is the safe side.
        outcome = Outcome(word=Execution.State.NOT_SENT, execution=execution)
    if outcome.word == Execution.State.CONFIRMED:
        follow(closed.execution, PositionId(execution.position_id))
    return outcome


def _fields(intent: _Intent) -> dict[str, Any]:
    account = intent.automation.account
    return {
        "account": account.pk,
        "account_name": account.name,
        "automation": intent.automation.pk,
        "execution": intent.execution.pk,
    }
