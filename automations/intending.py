"""Intents as rows: an execution as it is first written, with what it was decided on."""

import secrets
from dataclasses import dataclass
from datetime import datetime
from fractions import Fraction
from typing import Any, Final

from django.utils import timezone

from automations import gates, journal
from automations.models import AutoEntry, Automation, Execution, GuardStep, JournalEntry, MarginGuard
from automations.models.execution import in_places
from automations.reading import Seen, described, plain, told
from automations.rules.actions import AddMargin, CancelOrder, Command, OpenPosition, ReducePosition
from exchange.market import Quote
from exchange.position import Position, Regime

_LABEL: Final = "hub-"
"""Begins the label of every order of ours."""
_OPENS: Final = Execution.Does.OPEN_POSITION
_OF_BALANCE: Final = tuple(told(None))


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

    @property
    def before(self) -> dict[str, Any]:
        """What the action meets: the position, if any, and the balance."""
        known = described(self.position, self.seen.quote) if self.position else {}
        return known | told(self.seen.balance)

    def as_data(self) -> dict[str, Any]:
        """Return the journal's view of the facts."""
        quote = self.seen.quote
        return {
            **self.before,
            "price": plain(quote.price),
            "priceSource": quote.source.value,
            "origin": self.cause.origin.value,
        }


def intent_of(automation: Automation, action: Command, facts: Facts) -> Execution:
    """Return the execution that stands for an action which passed the gates; the caller saves it."""
    tick, seen = facts.cause.tick, facts.seen
    regime = _regime(automation, action, facts)
    return Execution(
        account_id=automation.account_id,
        automation_id=automation.pk,
        regime=regime,
        reopening_due=isinstance(action, ReducePosition) and regime is Regime.ISOLATED,
        position_id=getattr(action, "position_id", ""),
        origin=facts.cause.origin,
        tick_time_ms=tick.time_ms if tick else None,
        tick_price=tick.price if tick else None,
        price=seen.quote.price,
        price_at=seen.quote.at,
        price_source=seen.quote.source,
        positions_at=seen.positions.at if seen.positions else None,
        positions_source=seen.positions.source if seen.positions else "",
        before=facts.before | _ordered(automation, action),
        decided_at=timezone.now(),
        **_of_action(action)
        | {
            "amount_sats": gates.spending(action, seen.quote.price),
            "step": _step(automation, action),
        },
    )


def _ordered(automation: Automation, action: Command) -> dict[str, Any]:
    """Return what an entry orders, beside its quantity, as it stood when it was decided."""
    if not isinstance(action, OpenPosition) or not isinstance(automation, AutoEntry):
        return {}
    return {
        "side": action.order.side.value,
        "leverage": plain(automation.leverage),
        "market": automation.market,
    }


def intent_after(closed: Execution, rest: OpenPosition) -> Execution:
    """Return the reopening's; under the closed trade's id, and so its lock, until it has its own."""
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
        before={name: closed.after[name] for name in _OF_BALANCE if name in closed.after},
        decided_at=now,
        **_of_action(rest),
        step_id=closed.step_id,
    )


def intended(automation: Automation, execution: Execution) -> JournalEntry:
    """Return the entry about the intent, as the row tells it."""
    return entry_about(
        automation,
        execution,
        journal.INTENDED,
        message=execution.why,
        now=execution.decided_at,
        after={},
    )


def entry_about(
    automation: Automation,
    execution: Execution,
    outcome: str,
    *,
    message: str,
    now: datetime,
    after: dict[str, Any] | None = None,
) -> JournalEntry:
    """Return the entry about what became of an execution, with what was seen before and after."""
    return journal.entry_of(
        automation,
        outcome,
        message=message,
        data={
            **execution.before,
            "price": plain(execution.price),
            "priceSource": execution.price_source,
            "origin": execution.origin,
            "action": execution.does,
            "amount": execution.amount_sats,
            "quantity": execution.quantity,
            "level": None if execution.level is None else plain(execution.level),
            "executionId": execution.pk,
            **({"tradeId": execution.position_id or None} if execution.does == _OPENS else {}),
            "after": execution.after if after is None else after,
        },
        now=now,
        position_id=execution.position_id,
        execution=execution,
    )


def limited(
    automation: Automation,
    execution: Execution,
    action: AddMargin,
    position: Position | None,
    *,
    now: datetime,
) -> list[JournalEntry]:
    """Return the entry about a top-up that was made in part, for its owner has to know; else none.

    `position` is as the exchange answered.
    """
    if not action.missing:
        return []
    entry = entry_about(automation, execution, journal.LIMITED, message="", now=now)
    entry.data |= {
        "wanted": action.wanted,
        "added": action.amount,
        "missing": action.missing,
        "liquidation": None if position is None else plain(position.liquidation),
    }
    dies = "" if position is None else f"; the position is liquidated at {plain(position.liquidation)}"
    entry.message = f"{action.why}; {action.missing:,} sats are missing{dies}"[:500]
    return [entry]


def left_flat(closed: str) -> str:
    """Return the sentence for a trade that was closed to be smaller, and is gone."""
    return f"{closed} is closed and its rest was not opened again, so it is flat"


def report_flat(closed: Execution, why: str) -> str:
    """Report a close that is not followed by its reopening: the market moved on, and flat is safe."""
    closed.error = f"{left_flat(closed.position_id)}: {why}"[:500]
    closed.report = report_of(closed.automation, closed.error, timezone.now())
    closed.save(update_fields=["error", "report"])
    return closed.error


def report_of(automation: Automation, error: str, now: datetime) -> dict[str, Any]:
    """Return a failure in the shape that other programs read."""
    account = automation.account
    return {
        "status": "error",
        "error": error,
        "timestamp": now.isoformat(),
        "automationId": automation.pk,
        "userId": account.owner_id,
        "accountId": account.pk,
        "accountName": account.name,
    }


def new_label() -> str:
    """Return a fresh ASCII label for an order, at most 64 characters (API notes, section 8)."""
    return f"{_LABEL}{secrets.token_hex(12)}"


def _regime(automation: Automation, action: Command, facts: Facts) -> Regime:
    if facts.position is not None:
        return facts.position.regime
    if isinstance(action, CancelOrder):
        return action.regime
    return Regime(getattr(automation, "regime", Regime.ISOLATED))


def _step(automation: Automation, action: Command) -> GuardStep | None:
    """Return the guard's step that asked for the action; no other kind has steps."""
    number = getattr(action, "step", None)
    if not isinstance(automation, MarginGuard) or number is None:
        return None
    return next((step for step in automation.ladder if step.pk == number), None)


def _of_action(action: Command) -> dict[str, Any]:
    """Return the columns that say what the action is."""
    distance: Fraction | None = getattr(action, "distance", None)
    order = getattr(action, "order", None)
    return {
        "does": action.does,
        "why": action.why[:300],
        "quantity": order.quantity if order else getattr(action, "quantity", None),
        "level": getattr(action, "price", None),
        "distance": None if distance is None else in_places(distance),
        "rests": order is not None and order.limit is not None,
        "client_id": (order.client_id if order else None) or new_label(),
    }
