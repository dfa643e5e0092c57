"""The use cases: act on a position, open an entry, and find everything on which to act."""

import logging
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from django.db import InterfaceError, OperationalError, connection, transaction
from django.utils import timezone

from accounts.crypto import SealBrokenError
from accounts.gateway import client_for, live_view
from accounts.models import Account
from automations import (
    ending,
    executing,
    journal,
    planning,
    protection,
    quarantine,
    reconciling,
    resting,
)
from automations.executing import Cause, Facts, Outcome
from automations.locking import lock_name, position_lock
from automations.models import AutoEntry, Automation, Execution, MarginGuard
from automations.models.compiled import Compiled
from automations.models.kinds import Kind, OnPosition, find_acting
from automations.planning import Plan
from automations.reading import Seen, plain, read, read_price
from automations.reconciling import Standing
from automations.remembering import forget_returned, memory_of, told_already
from automations.rules.actions import CancelOrder, Hold
from automations.suspending import suspend
from exchange.client import Client
from exchange.errors import ExchangeError, KeyRefusedError
from exchange.live import View
from exchange.position import PositionId, Regime

logger = logging.getLogger(__name__)

_LATEST_OF_ENTRY: Final = Compiled[Execution](
    lambda entry: Execution.objects.filter(automation=entry)[:1], int
)
_LATEST_ON_POSITION: Final = Compiled[Execution](
    lambda account, position: Execution.objects.filter(account=account, position_id=position)[:1],
    int,
    str,
)
_ACCOUNTS_AT_ONCE: Final = 100
"""Whose automations are in memory together while all are weighed."""


def act(automation_id: int, position_id: PositionId | None, cause: Cause) -> dict[str, Any]:
    """Decide anew and carry the decision out; return what came of it.

    Whoever calls says only "look now"; it may be called any number of times, at once or late.

    Raises:
        ExchangeError: the exchange could not be read, or a write was surely not sent.
    """
    automation = _find(automation_id, position_id)
    if automation is None and position_id is not None:
        automation = resting.entry_of(automation_id, position_id, timezone.now())
    if automation is None:
        return _word("disabled, quarantined, or its account may not act")
    name = lock_name(automation.account_id, automation.pk, position_id)
    with position_lock(name) as mine:
        if not mine:
            return _word("another worker has it")
        try:
            with quarantine.counted(automation, position_id) as may_look:
                if not may_look:
                    return _word("quarantined")
                return _look(automation, position_id, cause)
        except KeyRefusedError as error:
            suspend(automation.account, str(error))
            raise


def _find(automation_id: int, position_id: PositionId | None) -> Kind | None:
    """Find it on a connection that works: the one that was kept may be gone since its last use."""
    try:
        return find_acting(automation_id, position_id)
    except (OperationalError, InterfaceError):
        if connection.in_atomic_block:
            raise
        connection.close()
    return find_acting(automation_id, position_id)


def _look(automation: Kind, position_id: PositionId | None, cause: Cause) -> dict[str, Any]:
    client = client_for(automation.account)
    latest = latest_on(automation, position_id)
    if latest and not _is_settled(latest, client):
        return _word("an earlier action is not settled yet")
    if isinstance(automation, AutoEntry):
        if position_id is not None:
            return _word(_take_back(automation, position_id, cause, client))
        return _enter(automation, cause, client)
    assert position_id is not None
    return _answer(_act_on(automation, position_id, cause, client, latest))


def latest_on(automation: Automation, position_id: PositionId | None) -> Execution | None:
    """Return the newest execution on the position, whoever asked for it."""
    if position_id is None:
        return _LATEST_OF_ENTRY.first(automation.pk)
    return _LATEST_ON_POSITION.first(automation.account_id, position_id)


def _is_settled(execution: Execution, client: Client) -> bool:
    if execution.state in Execution.UNSETTLED:
        reconciling.settle(execution, client, timezone.now())
    return execution.state not in Execution.UNSETTLED


def _act_on(
    automation: OnPosition,
    position_id: PositionId,
    cause: Cause,
    client: Client,
    latest: Execution | None,
) -> Outcome:
    # Nothing is decided on positions from before our own last action on them.
    not_before = latest.settled_at if latest else None
    seen = read(client, Regime(automation.regime), not_before=not_before)
    position = seen.position(position_id)
    if position is None:
        return Outcome(word="the position is gone")
    rule = automation.rule(position_id)
    if not rule.covers(position):
        return Outcome(word="the position is none of its")
    memory = memory_of(automation, position_id)
    if isinstance(automation, MarginGuard) and memory.spent:
        still = automation.rule(position_id).still_spent(position, seen.quote.price, memory)
        forget_returned(automation, position, still)
    decision = rule.decide(position, seen.quote.price, memory)
    if isinstance(decision, Hold):
        return Outcome(word=decision.reason)
    if told_already(automation, decision):
        return Outcome(word="its shadow wrote that down already")
    facts = Facts(seen=seen, cause=cause, position=position)
    return executing.carry_out(automation, decision, facts, client)


def _enter(entry: AutoEntry, cause: Cause, client: Client) -> dict[str, Any]:
    """Open the entry's trade if its price came; the answer is `pending`, `completed`, or a word."""
    over = ending.end([entry])
    if over:
        return _word(over[entry.pk])
    seen = read_price(client)
    facts = Facts(seen=seen, cause=cause)
    decision = entry.rule().decide(seen.quote.price, client_id=executing.new_label())
    if isinstance(decision, Hold):
        return pending(entry, seen, decision)
    outcome = executing.carry_out(entry, decision, facts, client)
    if outcome.word in {Execution.State.CONFIRMED, Execution.State.REJECTED}:
        ending.end([entry])  # disarms it where this was the last time
    if outcome.execution is None or outcome.word != Execution.State.CONFIRMED:
        return _word(outcome.word)
    return _answer(outcome) | {
        "status": "completed",
        "tradeId": outcome.execution.position_id,
        "side": entry.side,
        "quantity": outcome.execution.quantity,
        "leverage": plain(entry.leverage),
        "market": entry.market,
    }


def _take_back(entry: AutoEntry, order_id: PositionId, cause: Cause, client: Client) -> str:
    """Cancel an order of the entry's whose time is over; one that no longer rests is written off."""
    placed = resting.expired(timezone.now()).filter(automation=entry, position_id=order_id).first()
    if placed is None:
        return "no order whose time is over"
    standing = reconciling.standing_of(placed, client)
    facts = Facts(seen=read_price(client), cause=cause)
    if standing is not Standing.RESTS:
        return _write_off(entry, placed, standing, facts)
    why = f"expired at {entry.expires_at:%Y-%m-%d %H:%M:%S} UTC while it rested"
    cancel = CancelOrder(position_id=order_id, regime=Regime(placed.regime), why=why)
    outcome = executing.carry_out(entry, cancel, facts, client)
    if outcome.execution is None or _is_settled(outcome.execution, client):
        return outcome.execution.state if outcome.execution else outcome.word
    return outcome.word


def _write_off(entry: AutoEntry, placed: Execution, standing: Standing, facts: Facts) -> str:
    with transaction.atomic():
        resting.no_longer_rests(entry.pk, placed.position_id)
        journal.record(
            entry,
            f"{standing}_first",
            message=f"expired, but its order was {standing} first",
            data={**facts.as_data(), "executionId": placed.pk},
            now=timezone.now(),
            position_id=placed.position_id,
            execution=placed,
        )
    return f"{standing} first"


def pending(entry: AutoEntry, seen: Seen, held: Hold) -> dict[str, Any]:
    """Return the answer of an entry whose price has not come."""
    return {
        "status": "pending",
        "reason": held.reason,
        "currentPrice": plain(seen.quote.price),
        "triggerPrice": None if entry.trigger_price is None else plain(entry.trigger_price),
    }


def _word(word: str) -> dict[str, Any]:
    return {"status": word}


def _answer(outcome: Outcome) -> dict[str, Any]:
    """Return the word, and which executions are to be read back now: a reopening follows a close."""
    last = outcome.execution
    acted = [each for each in (last and last.follows, last) if each and each.read_back_due]
    return _word(outcome.word) | {"acted": [each.pk for each in acted]}


@dataclass(frozen=True, slots=True, kw_only=True)
class Due:
    """An automation whose rule would act now, on a position or, for an entry, on none."""

    automation_id: int
    position_id: PositionId | None
    """For an entry: an order of its that rests beyond its time, else None."""


def accounts_to_sweep(kind: type[Kind]) -> list[int]:
    """Return the accounts where something of the kind may be due."""
    found = set(kind.acting().order_by().values_list("account_id", flat=True).distinct())
    if kind is AutoEntry:
        found.update(resting.expired(timezone.now()).values_list("account_id", flat=True))
    return sorted(found)


def due(
    kind: type[Kind],
    account_ids: Sequence[int] | None = None,
    *,
    accounts_at_once: int = _ACCOUNTS_AT_ONCE,
) -> Iterator[Due]:
    """Weigh every automation of a kind; yield what must be looked at, expired orders among it.

    One reading per account and regime; of these accounts, or of all. An account that cannot be read is
    logged and left to the next sweep; it holds up no other.
    """
    wanted = accounts_to_sweep(kind) if account_ids is None else account_ids
    for first in range(0, len(wanted), accounts_at_once):
        at_once = wanted[first : first + accounts_at_once]
        if kind is AutoEntry:
            yield from _orders_due(at_once)
        yield from _due_among(planning.acting(at_once, [kind]))


def _orders_due(account_ids: Sequence[int]) -> Iterator[Due]:
    for order in resting.expired(timezone.now()).filter(account__in=account_ids):
        yield Due(automation_id=order.automation_id, position_id=PositionId(order.position_id))


def _due_among(acting: Mapping[Account, Collection[Kind]]) -> Iterator[Due]:
    all_plans = planning.plans_of_all(list(acting.values()))
    over = ending.end(
        each for every in acting.values() for each in every if isinstance(each, AutoEntry)
    )
    views = live_view().read_all([(account.network, account.pk) for account in acting])
    for account, plans, view in zip(acting, all_plans, views, strict=True):
        may_act = [plan for plan in plans if plan.automation_id not in over]
        for regime in dict.fromkeys(plan.regime for plan in may_act):
            seen = _seen(account, regime, ahead=view)
            if seen is not None:
                yield from _due_of([plan for plan in may_act if plan.regime is regime], seen)


def _due_of(plans: Iterable[Plan], seen: Seen) -> Iterator[Due]:
    positions = seen.positions.positions if seen.positions else ()
    for plan in plans:
        for position_id in plan.due(seen.quote.price, positions):
            yield Due(automation_id=plan.automation_id, position_id=position_id)


def _seen(account: Account, regime: Regime | None, *, ahead: View) -> Seen | None:
    """Return what there is to see, without a regime only the price; None where it cannot be read."""
    try:
        client = client_for(account)
        if regime is None:
            return read_price(client, ahead=ahead)
        return read(client, regime, ahead=ahead)
    except (ExchangeError, SealBrokenError) as error:
        extra = {"account": account.pk, "account_name": account.name, "error": str(error)}
        logger.warning("account not swept", extra=extra)
        if isinstance(error, KeyRefusedError):
            suspend(account, str(error))
        elif regime is not None:
            protection.not_swept(account, timezone.now())
        return None
