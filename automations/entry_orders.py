"""An entry's order: open it when the price comes, and take it back when its time is over."""

from typing import Any

from django.db import transaction
from django.utils import timezone

from automations import ending, executing, journal, reconciling, resting
from automations.executing import Cause, Facts
from automations.models import AutoEntry, Execution
from automations.reading import Seen, plain, read_price
from automations.reconciling import Standing
from automations.rules.actions import CancelOrder, Hold
from exchange.client import Client
from exchange.position import PositionId, Regime


def enter(entry: AutoEntry, cause: Cause, client: Client) -> dict[str, Any]:
    """Open the entry's trade if its price came; the answer is `pending`, `completed`, or a word."""
    over = ending.end([entry])
    if over:
        return {"status": over[entry.pk]}
    seen = read_price(client)
    facts = Facts(seen=seen, cause=cause)
    decision = entry.rule().decide(seen.quote.price, client_id=executing.new_label())
    if isinstance(decision, Hold):
        return _pending(entry, seen, decision)
    outcome = executing.carry_out(entry, [decision], facts, client)
    if outcome.word in {Execution.State.CONFIRMED, Execution.State.REJECTED}:
        ending.end([entry])  # disarms it where this was the last time
    if outcome.execution is None or outcome.word != Execution.State.CONFIRMED:
        return {"status": outcome.word}
    return outcome.answer() | {
        "status": "completed",
        "tradeId": outcome.execution.position_id,
        "side": entry.side,
        "quantity": outcome.execution.quantity,
        "leverage": plain(entry.leverage),
        "market": entry.market,
    }


def take_back(entry: AutoEntry, order_id: PositionId, cause: Cause, client: Client) -> str:
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
    outcome = executing.carry_out(entry, [cancel], facts, client)
    if outcome.execution is None or reconciling.is_settled(outcome.execution, client):
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


def _pending(entry: AutoEntry, seen: Seen, held: Hold) -> dict[str, Any]:
    """Return the answer of an entry whose price has not come."""
    return {
        "status": "pending",
        "reason": held.reason,
        "currentPrice": plain(seen.quote.price),
        "triggerPrice": None if entry.trigger_price is None else plain(entry.trigger_price),
    }
