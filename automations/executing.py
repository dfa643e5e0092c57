"""The one path on which anything is written to the exchange: intend, send once, settle."""

import logging
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import Any, assert_never

from django.db import transaction
from django.utils import timezone

from accounts.gateway import redis_client
from accounts.models import Account
from automations import changes, journal
from automations.models import BUDGET_DAY, Execution, MarginGuard
from automations.rules.actions import Action, AddMargin, ClosePosition
from exchange.client import Client, Snapshot
from exchange.errors import (
    KeyRefusedError,
    OperatorNeededError,
    RejectedError,
    TransientError,
    UnknownOutcomeError,
)
from exchange.market import Quote
from exchange.money import Sats, UsdPerBtc
from exchange.position import Position, PositionId

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Seen:
    """What made us look: a crossed trigger with its tick, or the sweep."""

    origin: Execution.Origin
    tick: Quote | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Facts:
    """What a decision was made on; stored with the execution."""

    position: Position
    snapshot: Snapshot
    seen: Seen

    @property
    def price(self) -> UsdPerBtc:
        return self.snapshot.quote.price

    def as_data(self) -> dict[str, Any]:
        """Return the journal's view of the facts."""
        return {
            "marginRatio": str(self.margin_ratio),
            "price": str(self.price),
            "priceSource": self.snapshot.quote.source,
            "margin": self.position.margin,
            "liquidation": str(self.position.liquidation),
            "origin": self.seen.origin.value,
        }

    @property
    def margin_ratio(self) -> Decimal:
        """The exchange's margin ratio at the decision, to six places."""
        ratio = self.position.margin_ratio_at(self.price)
        return (Decimal(ratio.numerator) / Decimal(ratio.denominator)).quantize(Decimal("0.000001"))


@dataclass(frozen=True, slots=True, kw_only=True)
class Refusal:
    """A gate said no."""

    reason: str
    """One word for programs; the same word twice in a row is journalled once."""
    message: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Intent:
    """A committed execution and the action it stands for, limited by the budgets."""

    execution: Execution
    action: Action
    facts: Facts


def carry_out(guard: MarginGuard, action: Action, facts: Facts, client: Client, now: datetime) -> str:
    """Commit the intent, send one request, settle by its answer; return the execution's state.

    Raises:
        TransientError: nothing happened at the exchange; the caller may decide and try again.
    """
    intent = _intend(guard, action, facts, now)
    if isinstance(intent, Refusal):
        hold(guard, intent, facts, now)
        return intent.reason
    return _send(guard, intent, client)


def hold(guard: MarginGuard, refusal: Refusal, facts: Facts, now: datetime) -> None:
    """Write into the journal that the rule wanted to act and a gate refused."""
    journal.record_held(
        guard,
        reason=refusal.reason,
        message=refusal.message,
        data=facts.as_data(),
        now=now,
        position_id=facts.position.id,
    )


def budget_left(guard: MarginGuard, position_id: PositionId, now: datetime) -> Sats:
    """Return the sats the guard may still add to a position; unsettled top-ups count as spent."""
    spent = Execution.objects.filter(automation=guard).spending()
    on_position = guard.budget_per_position_sats - spent.filter(position_id=position_id).sats()
    today = guard.budget_per_day_sats - spent.filter(decided_at__gt=now - BUDGET_DAY).sats()
    return Sats(max(0, min(on_position, today)))


def _intend(guard: MarginGuard, action: Action, facts: Facts, now: datetime) -> Intent | Refusal:
    """Pass the last gates and commit the execution, in one transaction.

    The account's row is locked, so that two positions acting at once cannot both spend the last sats of
    one budget, and it is read anew, so that an account switched off a moment ago is left alone.
    """
    with transaction.atomic():
        account = Account.objects.select_for_update().get(pk=guard.account_id)
        if not account.may_act:
            return Refusal(reason="account_inactive", message=f"{account} is not active and verified")
        if isinstance(action, AddMargin):
            left = budget_left(guard, action.position_id, now)
            if left == 0:
                return Refusal(
                    reason="budget_used_up", message=f"{action.why}, but the budget is used up"
                )
            action = action.limited_to(left)
        execution = _execution(guard, action, facts, now)
        execution.save(force_insert=True)
        intent = Intent(execution=execution, action=action, facts=facts)
        _journal(guard, intent, journal.INTENDED, message=action.why, now=now)
    return intent


def _execution(guard: MarginGuard, action: Action, facts: Facts, now: datetime) -> Execution:
    tick = facts.seen.tick
    return Execution(
        account_id=guard.account_id,
        automation=guard,
        position_id=action.position_id,
        does=_named(action),
        amount_sats=action.amount if isinstance(action, AddMargin) else None,
        why=action.why,
        origin=facts.seen.origin,
        tick_time_ms=tick.time_ms if tick else None,
        tick_price=tick.price if tick else None,
        price=facts.price,
        price_at=facts.snapshot.quote.at,
        price_source=facts.snapshot.quote.source,
        positions_at=facts.snapshot.positions.at,
        positions_source=facts.snapshot.positions.source,
        margin_before=facts.position.margin,
        funding_before=facts.position.funding_fees,
        liquidation_before=facts.position.liquidation,
        ratio_before=facts.margin_ratio,
        decided_at=now,
    )


def _send(guard: MarginGuard, intent: Intent, client: Client) -> str:
    try:
        after = _perform(intent.action, client)
    except TransientError as error:
        _settle(guard, intent, Execution.State.NOT_SENT, error=str(error))
        raise
    except RejectedError as error:
        return _settle(guard, intent, Execution.State.REJECTED, error=str(error))
    except KeyRefusedError as error:
        guard.account.suspend(str(error))
        return _settle(guard, intent, Execution.State.REJECTED, error=str(error))
    except (UnknownOutcomeError, OperatorNeededError) as error:
        return _settle(guard, intent, Execution.State.UNKNOWN, error=str(error))
    return _settle(guard, intent, Execution.State.CONFIRMED, after=after)


def _perform(action: Action, client: Client) -> Position | None:
    """Send the one request; return the position as the exchange shows it afterwards."""
    match action:
        case AddMargin(position_id=position_id, amount=amount):
            return client.add_margin(position_id, amount)
        case ClosePosition(position_id=position_id):
            client.close(position_id)
            return None
        case never:
            assert_never(never)


def _settle(
    guard: MarginGuard,
    intent: Intent,
    state: Execution.State,
    *,
    after: Position | None = None,
    error: str = "",
) -> str:
    now = timezone.now()
    execution = intent.execution
    execution.state, execution.error = state, error[:500]
    execution.settled_at = None if state in Execution.UNSETTLED else now
    if after is not None:
        execution.margin_after, execution.liquidation_after = after.margin, after.liquidation
    with transaction.atomic():
        execution.save(
            update_fields=["state", "error", "settled_at", "margin_after", "liquidation_after"]
        )
        confirmed = state == Execution.State.CONFIRMED
        outcome = journal.EXECUTED if confirmed else state.value
        _journal(guard, intent, outcome, message=error or intent.action.why, now=now)
    changes.announce(redis_client(), guard.account_id)
    logger.info(
        "execution settled",
        extra={
            "account": guard.account_id,
            "account_name": guard.account.name,
            "automation": guard.pk,
            "execution": execution.pk,
            "state": state.value,
        },
    )
    return state.value


def _journal(guard: MarginGuard, intent: Intent, outcome: str, *, message: str, now: datetime) -> None:
    execution = intent.execution
    journal.record(
        guard,
        outcome,
        message=message,
        data={
            **intent.facts.as_data(),
            "action": execution.does,
            "amount": execution.amount_sats,
            "executionId": execution.pk,
            "marginAfter": execution.margin_after,
            "liquidationAfter": str(execution.liquidation_after)
            if execution.liquidation_after
            else None,
        },
        now=now,
        position_id=execution.position_id,
        execution=execution,
    )


def _named(action: Action) -> Execution.Does:
    match action:
        case AddMargin():
            return Execution.Does.ADD_MARGIN
        case ClosePosition():
            return Execution.Does.CLOSE_POSITION
        case never:
            assert_never(never)
