"""The one path on which anything is written to the exchange: intend, send once, settle."""

import logging
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Any, Final

from django.conf import settings
from django.db import connection, transaction
from django.utils import timezone

from accounts.gateway import live_view, redis_client
from automations import changes, gates, journal, resting, turns
from automations.gate_request import Refusal, Request
from automations.gates import Choice
from automations.intending import (
    Cause,
    Facts,
    entry_about,
    intended,
    intent_after,
    intent_of,
    left_flat,
    limited,
    new_label,
    report_flat,
    report_of,
)
from automations.models import Automation, Execution
from automations.models.compiled import insert, update
from automations.performing import Done, perform
from automations.reading import Seen, described
from automations.remembering import follow, remember_step
from automations.rules.actions import (
    AddMargin,
    CancelOrder,
    Command,
    Decision,
    Hold,
    Notify,
    OpenPosition,
    ReducePosition,
)
from automations.rules.reopening import gave_back, pays_for_itself, rest_of
from automations.suspending import note_refusal
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
from exchange.money import UsdPerBtc
from exchange.position import Position, PositionId
from exchange.ratelimit import NOT_URGENT
from exchange.trade import ClosedTrade

__all__ = ["Cause", "Facts", "Outcome", "carry_out", "hold", "new_label"]

logger = logging.getLogger(__name__)

_SETTLED_FIELDS: Final = [
    "state", "error", "report", "settled_at", "after", "position_id", "quantity",
    "read_back_due", "rests",
]  # fmt: skip
_SENT: Final = """
SET LOCAL synchronous_commit = off;
UPDATE automations_execution SET state = %s WHERE id = %s
"""
"""One round trip: PostgreSQL takes statements that come together for one transaction."""
_LEFT_FLAT: Final = frozenset({Execution.State.REJECTED, Execution.State.NOT_SENT})


TURN_TO_COME: Final = "its turn at the exchange has not come"


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What came of carrying an action out: the execution's state, or the refusing gate's word."""

    word: str
    execution: Execution | None = None
    action: Command | None = None
    """What was sent; None where nothing was."""
    position: Position | None = None
    """As the exchange answered."""
    refusals: tuple[Refusal, ...] = ()
    """Why nothing was done."""
    ended: ClosedTrade | None = None
    """The isolated trade as it was closed."""

    def answer(self) -> dict[str, Any]:
        """Return the word, and the executions to be read back now: a reopening follows a close."""
        last = self.execution
        acted = [each for each in (last and last.follows, last) if each and each.read_back_due]
        return {"status": self.word, "acted": [each.pk for each in acted]}


@dataclass(frozen=True, slots=True, kw_only=True)
class _Intent:
    """A committed execution and the action it stands for, limited by budgets and balance."""

    automation: Automation
    execution: Execution
    action: Command
    facts: Facts


def carry_out(
    automation: Automation,
    wishes: Sequence[Decision | Command],
    facts: Facts,
    client: Client,
    *,
    not_seen: frozenset[int] = frozenset(),
    retries: bool = False,
    follows: bool = False,
    turn_first: bool = False,
) -> Outcome:
    """Of the wishes, in their order, carry out the first that may act, and all that only tell.

    Passes the gates, commits the intent, sends one request, settles by its answer. The wishes are of
    one automation, on one position or on none, and there is at least one. `not_seen` and `retries` are
    as in `gates.Request`; `follows` says that the same look has acted already, so that its cooldown is
    no news. With `turn_first` nothing is intended while others are before us at the exchange's limit:
    the word is `TURN_TO_COME` then.

    Raises:
        TransientError: nothing happened at the exchange; the caller may decide and try again.
    """
    balance = _balance(automation, wishes, facts.seen, client)
    if balance is not None:
        facts = replace(facts, seen=replace(facts.seen, balance=balance))
    with transaction.atomic():
        choice = _choose(automation, wishes, facts, balance, not_seen=not_seen, retries=retries)
        told = [_tell(automation, tell, facts) for tell in choice.tells]
        for refused in choice.refusals:
            if not (follows and refused.reason == gates.COOLDOWN):
                hold(automation, refused, facts, _position_id(wishes))
        if choice.action is None:
            return _without_action(automation, choice, told, _position_id(wishes))
        if turn_first and not automation.shadow and not turns.take(facts, client):
            return Outcome(word=TURN_TO_COME)
        intent = _intend(automation, choice.action, facts)
        # Where nothing is sent nothing can be left open: both are committed at once.
        if automation.shadow:
            return _settle(intent, Execution.State.SHADOW)
    sent = _send(intent, client)
    if not isinstance(intent.action, ReducePosition) or sent.ended is None:
        return sent
    return _reopen(intent, intent.action, sent.ended, client)


def _choose(
    automation: Automation,
    wishes: Sequence[Decision | Command],
    facts: Facts,
    balance: Balance | None,
    *,
    not_seen: frozenset[int],
    retries: bool,
) -> Choice:
    """Ask the gates; whoever comes after the account's lock is given back sees what was intended."""
    first = next((wish for wish in wishes if not isinstance(wish, Hold)), None)
    if first is None:
        return Choice(refusals=tuple(gates.declined(wishes)))
    request = Request.read(automation, first, facts.seen, balance, locking=True, not_seen=not_seen)
    automation.shadow = request.condition.shadow  # it may have become one since it was found
    return gates.choose(replace(request, retries=retries), wishes)


def _position_id(wishes: Sequence[Decision | Command]) -> str:
    return next((wish.position_id for wish in wishes if hasattr(wish, "position_id")), "")


def _without_action(
    automation: Automation, choice: Choice, told: Sequence[Outcome], position_id: str
) -> Outcome:
    """Return what came of wishes none of which acts; say when looking again is worth while."""
    ends = [refused.until for refused in choice.refusals if refused.until is not None]
    if ends:
        changes.announce_cooldown(
            redis_client(), automation.account, automation.pk, position_id or None, min(ends)
        )
    if told:
        return replace(told[-1], refusals=choice.refusals)
    return Outcome(word=choice.refusals[0].reason, refusals=choice.refusals)


def hold(
    automation: Automation, refusal: Refusal, facts: Facts, position_id: str, *, flat: bool = False
) -> None:
    """Write into the journal that a gate refused what the rule wanted, and if that leaves it flat."""
    with transaction.atomic():
        journal.record_held(
            automation,
            reason=refusal.reason,
            message=refusal.message,
            data=facts.as_data() | _of_refusal(refusal) | ({"flat": True} if flat else {}),
            now=timezone.now(),
            position_id=position_id,
        )


def _of_refusal(refusal: Refusal) -> dict[str, Any]:
    return {} if refusal.missing is None else {"missing": refusal.missing}


def _balance(
    automation: Automation, wishes: Iterable[Decision | Command], seen: Seen, client: Client
) -> Balance | None:
    """Return the free balance that bounds a top-up or keeps a reserve: as last read, or asked for anew.

    Unknown is not none: without an answer a top-up is tried as wanted, for the exchange refuses what
    is not there; a reserve's gate refuses it.
    """
    bounded = AddMargin | OpenPosition if automation.account.reserve_sats else AddMargin
    if not any(isinstance(wish, bounded) for wish in wishes):
        return None
    oldest = timezone.now() - timedelta(seconds=settings.BALANCE_MAX_AGE_S)
    if seen.balance is not None and seen.balance.at >= oldest:
        return seen.balance
    try:
        return client.balance(urgency=NOT_URGENT)
    except KeyRefusedError:
        raise
    except ExchangeError as error:
        account = automation.account
        extra = {"account": account.pk, "account_name": account.name, "error": str(error)}
        logger.warning("balance not read", extra=extra)
        return None


def _tell(automation: Automation, tell: Notify, facts: Facts) -> Outcome:
    """Write down that a step told its owner; nothing is sent to the exchange."""
    intent = _intend(automation, tell, facts)
    state = Execution.State.SHADOW if automation.shadow else Execution.State.CONFIRMED
    return _settle(intent, state)


def _intend(automation: Automation, action: Command, facts: Facts) -> _Intent:
    """Write the execution down, in the caller's transaction."""
    execution = intent_of(automation, action, facts)
    insert([execution])
    return _Intent(automation=automation, execution=execution, action=action, facts=facts)


def _send(intent: _Intent, client: Client) -> Outcome:
    _move_to_sent(intent.execution)
    try:
        done = perform(
            intent.action,
            intent.facts.position,
            client,
            label=intent.execution.client_id,
            urgency=turns.urgency_of(intent.facts),
        )
    except TransientError as error:
        _settle(intent, Execution.State.NOT_SENT, error=error)
        raise
    except KeyRefusedError as error:
        note_refusal(intent.automation.account, str(error))
        _settle(intent, Execution.State.NOT_SENT, error=error)
        raise TransientError(str(error)) from error
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
        execution.rests = execution.rests and done.rests
        if done.position is not None:
            execution.after = described(done.position, intent.facts.seen.quote)
    with transaction.atomic():
        update(execution, *_SETTLED_FIELDS)
        remember_step(execution)
        if execution.follows is not None and state == Execution.State.CONFIRMED:
            follow(execution.follows, PositionId(execution.position_id))
        if done is not None and isinstance(intent.action, CancelOrder):
            resting.no_longer_rests(execution.automation_id, execution.position_id)
        outcome = journal.EXECUTED if state == Execution.State.CONFIRMED else state.value
        position = done.position if done else None
        # The intent stood in the record before the request left; its entry need not delay that.
        entries = [
            meant,
            entry_about(intent.automation, execution, outcome, message=_told(intent), now=now),
        ]
        if state == Execution.State.CONFIRMED and isinstance(intent.action, AddMargin):
            entries += limited(intent.automation, execution, intent.action, position, now=now)
        journal.append(*entries)
    if position is not None:
        # Read anew it would be only an answering time from now, and the next look may not wait.
        live_view().put_answer(execution.account_id, position, at=now)
    changes.announce(redis_client(), intent.automation.account, position=position)
    logger.info("execution settled", extra=_fields(intent) | {"state": state.value})
    return Outcome(
        word=state.value,
        execution=execution,
        action=intent.action,
        position=position,
        ended=done.ended if done else None,
    )


def _told(intent: _Intent) -> str:
    """Return in a sentence what came of it, the error first where there is one."""
    execution = intent.execution
    if execution.follows is not None and execution.state in _LEFT_FLAT:
        return f"{left_flat(execution.follows.position_id)}: {execution.error}"
    return execution.error or intent.action.why


def _reopen(closed: _Intent, action: ReducePosition, ended: ClosedTrade, client: Client) -> Outcome:
    """Open the rest of a closed trade anew (API notes, 7.1 A); where that fails, stay flat.

    It costs no more than what truly came back.
    """
    position = closed.facts.position
    assert position is not None
    came_back, price = gave_back(position, ended), _lowest_price(ended, client)
    rest = rest_of(position, action, price, came_back=came_back, client_id=new_label())
    facts = replace(closed.facts, position=None)
    execution = intent_after(closed.execution, rest)
    intent = _Intent(automation=closed.automation, execution=execution, action=rest, facts=facts)
    with transaction.atomic():
        if not closed.execution.claim_reopening():
            return Outcome(word="given up meanwhile")
        request = Request.read(closed.automation, action, facts.seen, None, locking=True)
        refused = gates.thrown(request)
        if refused is None and not pays_for_itself(rest, price, came_back):
            refused = request.refuse("too_little_left", "too little came back for the rest")
        if refused is not None:
            left = replace(refused, message=report_flat(closed.execution, refused.message))
            hold(closed.automation, left, closed.facts, position.id, flat=True)
            return Outcome(word=refused.reason, execution=closed.execution)
        insert([execution])
    try:
        return _send(intent, client)
    except TransientError:
        # Not sent, and not tried again: the market moved on, and flat is the safe side.
        return Outcome(word=Execution.State.NOT_SENT, execution=execution)


def _lowest_price(ended: ClosedTrade, client: Client) -> UsdPerBtc:
    """Return the lower of the price of the close and the newest: there the rest costs the most sats."""
    try:
        return min(ended.exit, client.price(settings.DATA_MAX_AGE_S).price)
    except ExchangeError:
        return ended.exit


def _fields(intent: _Intent) -> dict[str, Any]:
    account = intent.automation.account
    return {
        "account": account.pk,
        "account_name": account.name,
        "automation": intent.automation.pk,
        "execution": intent.execution.pk,
    }
