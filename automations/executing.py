"""The one path on which anything is written to the exchange: intend, send once, settle, read back."""

import logging
import secrets
from dataclasses import dataclass, replace
from datetime import datetime
from fractions import Fraction
from typing import Any, Final

from django.db import connection, transaction
from django.utils import timezone

from accounts.gateway import redis_client
from accounts.models import Account
from automations import changes, gates, journal
from automations.gates import Balance, Refusal, Request
from automations.models import Automation, Execution
from automations.models.execution import in_places
from automations.performing import Done, perform
from automations.reading import Seen, described, plain, read
from automations.remembering import follow, remember_step
from automations.rules.actions import Action, AddMargin, Notify, OpenPosition, ReducePosition
from automations.rules.reopening import pays_for_itself, rest_of
from exchange.client import Client
from exchange.errors import (
    ExchangeError,
    KeyRefusedError,
    OperatorNeededError,
    RejectedError,
    TransientError,
    UnknownOutcomeError,
)
from exchange.market import Quote
from exchange.position import Position, PositionId, Regime

logger = logging.getLogger(__name__)

_LABEL: Final = "hub-"
"""Begins the label of every order of ours."""
_SETTLED_FIELDS: Final = [
    "state", "error", "report", "settled_at", "after", "position_id", "quantity",
]  # fmt: skip
_LEFT_FLAT: Final = frozenset({Execution.State.REJECTED, Execution.State.NOT_SENT})


@dataclass(frozen=True, slots=True, kw_only=True)
class Cause:
    """What made us look: a crossed trigger with its tick, or the sweep."""

    origin: Execution.Origin
    tick: Quote | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Facts:
    """What a decision was made on; stored with the execution."""

    seen: Seen
    cause: Cause
    position: Position | None = None
    """None for an entry: there is none yet."""

    def as_data(self) -> dict[str, Any]:
        """Return the journal's view of the facts."""
        quote = self.seen.quote
        known = described(self.position, quote) if self.position else {}
        return {
            **known,
            "price": plain(quote.price),
            "priceSource": quote.source.value,
            "origin": self.cause.origin.value,
        }


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
    action: Action
    facts: Facts


def carry_out(automation: Automation, action: Action, facts: Facts, client: Client) -> Outcome:
    """Pass the gates, commit the intent, send one request, settle by its answer, read back.

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
    if outcome.word == Execution.State.CONFIRMED:
        _read_back(intent, client)
        if isinstance(action, ReducePosition) and _is_isolated(facts):
            return _reopen(intent, action, client)
    return outcome


def hold(automation: Automation, refusal: Refusal, facts: Facts, position_id: str) -> None:
    """Write into the journal that the rule wanted to act and a gate refused."""
    with transaction.atomic():
        journal.record_held(
            automation,
            reason=refusal.reason,
            message=refusal.message,
            data=facts.as_data(),
            now=timezone.now(),
            position_id=position_id,
        )


def _is_isolated(facts: Facts) -> bool:
    return facts.position is not None and facts.position.regime is Regime.ISOLATED


def _balance_if_reserved(account: Account, action: Action, client: Client) -> Balance | None:
    """Ask for the free balance where a reserve depends on it; else spare the call."""
    if account.reserve_sats and isinstance(action, AddMargin | OpenPosition):
        asked_at = timezone.now()
        return Balance(free=client.account().balance, at=asked_at)
    return None


def _intend(
    automation: Automation, action: Action, facts: Facts, balance: Balance | None
) -> _Intent | Refusal:
    """Pass the gates and write the execution down, in the caller's transaction."""
    request = _request(automation, action, facts, balance)
    refused = gates.refusal(request)
    if refused is not None:
        hold(automation, refused, facts, request.position_id)
        return refused
    action = gates.limited(request)
    execution = _execution(automation, action, facts, request)
    execution.save(force_insert=True)
    intent = _Intent(automation=automation, execution=execution, action=action, facts=facts)
    _journal(intent, journal.INTENDED, message=action.why, now=request.now)
    return intent


def _request(automation: Automation, action: Action, facts: Facts, balance: Balance | None) -> Request:
    """Lock the account, and read it and the switches anew: one thrown a moment ago counts."""
    account = Account.objects.select_for_update(no_key=True).get(pk=automation.account_id)
    automation.refresh_from_db(fields=["switch", "enabled", "shadow"])
    return Request(
        automation=automation,
        account=account,
        action=action,
        seen=facts.seen,
        now=timezone.now(),
        balance=balance,
    )


def _execution(automation: Automation, action: Action, facts: Facts, request: Request) -> Execution:
    tick, seen, position = facts.cause.tick, facts.seen, facts.position
    return Execution(
        account_id=automation.account_id,
        automation_id=automation.pk,
        regime=position.regime if position else getattr(automation, "regime", Regime.ISOLATED),
        position_id=request.position_id,
        origin=facts.cause.origin,
        tick_time_ms=tick.time_ms if tick else None,
        tick_price=tick.price if tick else None,
        price=seen.quote.price,
        price_at=seen.quote.at,
        price_source=seen.quote.source,
        positions_at=seen.positions.at if seen.positions else None,
        positions_source=seen.positions.source if seen.positions else "",
        before=described(position, seen.quote) if position else {},
        decided_at=request.now,
        **_of_action(action) | {"amount_sats": gates.spending(request, action)},
    )


def _of_action(action: Action) -> dict[str, Any]:
    """Return the columns that say what the action is."""
    distance: Fraction | None = getattr(action, "distance", None)
    order = getattr(action, "order", None)
    return {
        "does": action.does,
        "why": action.why[:300],
        "step_id": getattr(action, "step", None),
        "quantity": order.quantity if order else getattr(action, "quantity", None),
        "level": getattr(action, "price", None),
        "distance": None if distance is None else in_places(distance),
        "client_id": (order.client_id if order else None) or new_label(),
    }


def new_label() -> str:
    """Return a fresh ASCII label for an order, at most 64 characters (API notes, section 8)."""
    return f"{_LABEL}{secrets.token_hex(12)}"


def _send(intent: _Intent, client: Client) -> Outcome:
    _move_to_sent(intent.execution)
    try:
        done = perform(intent.action, intent.facts.position, client, label=intent.execution.client_id)
    except TransientError as error:
        _settle(intent, Execution.State.NOT_SENT, error=error)
        raise
    except KeyRefusedError as error:
        intent.automation.account.suspend(str(error))
        return _settle(intent, Execution.State.REJECTED, error=error)
    except RejectedError as error:
        return _settle(intent, Execution.State.REJECTED, error=error)
    except (UnknownOutcomeError, OperatorNeededError) as error:
        return _settle(intent, Execution.State.UNKNOWN, error=error)
    return _settle(intent, Execution.State.CONFIRMED, done=done)


def _move_to_sent(execution: Execution) -> None:
    """Write that the request is on its way, without waiting for the disk: it changes no promise."""
    execution.become(Execution.State.SENT, timezone.now())
    with transaction.atomic(), connection.cursor() as cursor:
        cursor.execute("SET LOCAL synchronous_commit = off")
        execution.save(update_fields=["state"])


def _settle(
    intent: _Intent,
    state: Execution.State,
    *,
    done: Done | None = None,
    error: ExchangeError | None = None,
) -> Outcome:
    execution, now = intent.execution, timezone.now()
    execution.become(state, now)
    if error is not None:
        execution.error = str(error)[:500]
        execution.report = _report(intent, str(error), now)
    if done is not None:
        execution.position_id = done.opened or execution.position_id
        execution.quantity = done.quantity or execution.quantity
        if done.position is not None:
            execution.after = described(done.position, intent.facts.seen.quote)
    with transaction.atomic():
        execution.save(update_fields=_SETTLED_FIELDS)
        remember_step(execution)
        outcome = journal.EXECUTED if state == Execution.State.CONFIRMED else state.value
        _journal(intent, outcome, message=_told(intent), now=now)
    changes.announce(redis_client(), execution.account_id)
    logger.info("execution settled", extra=_fields(intent) | {"state": state.value})
    return Outcome(word=state.value, execution=execution)


def _told(intent: _Intent) -> str:
    """Return in a sentence what came of it, the error first where there is one."""
    execution = intent.execution
    if execution.follows is not None and execution.state in _LEFT_FLAT:
        old = execution.follows.position_id
        return f"{old} is closed and its rest was not opened again, so it is flat: {execution.error}"
    return execution.error or intent.action.why


def _report(intent: _Intent, error: str, now: datetime) -> dict[str, Any]:
    account = intent.automation.account
    return {
        "status": "error",
        "error": error,
        "timestamp": now.isoformat(),
        "automationId": intent.automation.pk,
        "userId": account.owner_id,
        "accountId": account.pk,
        "accountName": account.name,
    }


def _read_back(intent: _Intent, client: Client) -> None:
    """Store what the exchange shows after the action; a failure to read changes no outcome."""
    execution = intent.execution
    try:
        seen = read(client, Regime(execution.regime), not_before=execution.settled_at)
        balance = client.account().balance
    except ExchangeError as error:
        logger.warning("not read back", extra=_fields(intent) | {"error": str(error)})
        if isinstance(error, KeyRefusedError):
            intent.automation.account.suspend(str(error))
        return
    position = seen.position(PositionId(execution.position_id))
    shown = described(position, seen.quote) if position else {}
    execution.after = {**execution.after, **shown, "balance": balance}
    with transaction.atomic():
        execution.save(update_fields=["after"])
        _journal(intent, journal.READ_BACK, message=intent.action.why, now=timezone.now())


def _reopen(closed: _Intent, action: ReducePosition, client: Client) -> Outcome:
    """Open the rest of a closed trade anew (API notes, 7.1 A); where that fails, stay flat."""
    position = closed.facts.position
    assert position is not None
    price = closed.facts.seen.quote.price
    rest = rest_of(position, action, price, client_id=new_label())
    facts = replace(closed.facts, position=None)
    execution = _execution_after(closed.execution, rest)
    intent = _Intent(automation=closed.automation, execution=execution, action=rest, facts=facts)
    with transaction.atomic():
        request = _request(closed.automation, action, closed.facts, None)
        refused = gates.thrown(request)
        if refused is None and not pays_for_itself(position, rest, price):
            refused = request.refuse("too_little_left", "too little came back for the rest")
        if refused is not None:
            told = f"{position.id} is closed and its rest is not opened again, so it is flat"
            left = replace(refused, message=f"{told}: {refused.message}")
            hold(closed.automation, left, closed.facts, position.id)
            return Outcome(word=refused.reason)
        execution.save(force_insert=True)
        _journal(intent, journal.INTENDED, message=rest.why, now=execution.decided_at)
    try:
        outcome = _send(intent, client)
    except TransientError:
        # Not sent, and not tried again: the market moved on, and flat is the safe side.
        outcome = Outcome(word=Execution.State.NOT_SENT, execution=execution)
    if outcome.word == Execution.State.CONFIRMED:
        follow(closed.execution, PositionId(execution.position_id))
        _read_back(intent, client)
    return outcome


def _execution_after(closed: Execution, rest: OpenPosition) -> Execution:
    """Return its intent; under the closed trade's id, and so its lock, until it has one of its own."""
    now = timezone.now()
    return Execution(
        account_id=closed.account_id,
        automation_id=closed.automation_id,
        follows=closed,
        position_id=closed.position_id,
        regime=closed.regime,
        origin=closed.origin,
        price=closed.price,
        price_at=closed.price_at,
        price_source=closed.price_source,
        decided_at=now,
        **_of_action(rest) | {"step_id": closed.step_id},
    )


def _journal(intent: _Intent, outcome: str, *, message: str, now: datetime) -> None:
    execution = intent.execution
    journal.record(
        intent.automation,
        outcome,
        message=message,
        data={
            **intent.facts.as_data(),
            "action": execution.does,
            "amount": execution.amount_sats,
            "quantity": execution.quantity,
            "level": None if execution.level is None else plain(execution.level),
            "executionId": execution.pk,
            "after": execution.after,
        },
        now=now,
        position_id=execution.position_id,
        execution=execution,
    )


def _fields(intent: _Intent) -> dict[str, Any]:
    account = intent.automation.account
    return {
        "account": account.pk,
        "account_name": account.name,
        "automation": intent.automation.pk,
        "execution": intent.execution.pk,
    }
