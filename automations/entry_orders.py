"""An entry's order: open it when the price comes, and take it back when its time is over."""

from dataclasses import replace
from typing import Any

from django.db import transaction
from django.utils import timezone

from accounts.times import written, zone_of
from automations import earmarking, ending, executing, journal, reconciling, resting
from automations.executing import Cause, Facts, Outcome
from automations.gate_request import Refusal
from automations.models import AutoEntry, Execution
from automations.reading import Seen, plain, read_price
from automations.reconciling import Standing
from automations.rules.actions import CancelOrder, Hold, OpenPosition
from automations.rules.auto_entry import Missed
from exchange.client import Client
from exchange.errors import ExchangeError, KeyRefusedError
from exchange.money import Sats
from exchange.position import PositionId, Regime


def enter(entry: AutoEntry, cause: Cause, client: Client) -> dict[str, Any]:
    """Open the entry's trade if its price came.

    The answer is `pending`, `missed`, `completed`, `placed` where the order only rests, or a word.
    """
    over = ending.end([entry])
    if over:
        if over[entry.pk] == ending.RESTING:
            _tell_rest(entry)
        return {"status": over[entry.pk]}
    facts, decision = _decided(entry, cause, client)
    if isinstance(decision, Missed):
        return _miss(entry, facts, decision)
    if isinstance(decision, Hold):
        return _unopened("pending", entry, facts.seen, decision)
    held = _held_for_guards(entry, decision, facts, client)
    if held is not None:
        executing.hold(entry, held, facts, position_id="")
        return {"status": held.reason}
    return _opened(entry, executing.carry_out(entry, [decision], facts, client))


def _tell_rest(entry: AutoEntry) -> None:
    with transaction.atomic():
        journal.record_held(
            entry,
            reason=ending.RESTING,
            message="the exchange refused it just now: it waits before it is tried again",
            data={},
            now=timezone.now(),
            position_id="",
        )


def _decided(entry: AutoEntry, cause: Cause, client: Client) -> tuple[Facts, OpenPosition | Hold]:
    """Decide; before a price is missed for good, the exchange is asked for it once more.

    Whatever told it first: of one price that is wrong nothing that lasts may follow.
    """
    seen, rule, label = read_price(client), entry.rule(), executing.new_label()
    decision = rule.decide(seen.quote.price, client_id=label)
    if isinstance(decision, Missed):
        seen = replace(seen, quote=client.rest.quote())
        decision = rule.decide(seen.quote.price, client_id=label)
    return Facts(seen=seen, cause=cause), decision


def _miss(entry: AutoEntry, facts: Facts, missed: Missed) -> dict[str, Any]:
    """Disarm the entry, and tell that its price came and went."""
    with transaction.atomic():
        if AutoEntry.objects.filter(pk=entry.pk, enabled=True).update(enabled=False):
            journal.record(
                entry,
                journal.MISSED,
                message=f"missed: {missed.reason}; nothing was opened, and it is disabled",
                data=facts.as_data(),
                now=timezone.now(),
                position_id="",
            )
    return _unopened("missed", entry, facts.seen, missed)


def _held_for_guards(
    entry: AutoEntry, opening: OpenPosition, facts: Facts, client: Client
) -> Refusal | None:
    """Refuse what would take the sats that a guard may need; unknown positions may need any."""
    try:
        need = earmarking.needed(entry.account, client, timezone.now())
        free = client.balance().free if need else Sats(0)
    except KeyRefusedError:
        raise
    except ExchangeError as error:
        because = f"what its guards may need cannot be told: {error}"
        return Refusal(
            reason="guards_need_unknown", because=because, message=f"{opening.why}, but {because}"
        )
    taken = earmarking.takes_from_guards(opening, facts.seen.quote.price, free=free, need=need)
    if taken is None:
        return None
    return Refusal(reason="guards_need", because=taken, message=f"{opening.why}, but {taken}")


def _opened(entry: AutoEntry, outcome: Outcome) -> dict[str, Any]:
    if outcome.word in {Execution.State.CONFIRMED, Execution.State.REJECTED}:
        ending.end([entry])  # disarms it where this was the last time
    if outcome.execution is None or outcome.word != Execution.State.CONFIRMED:
        return {"status": outcome.word}
    return outcome.answer() | {
        "status": "placed" if outcome.execution.rests else "completed",
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
        if reconciling.standing_of(placed, client) is not standing:
            return "where its order stands cannot be told yet"
        return _write_off(entry, placed, standing, facts)
    assert entry.expires_at is not None, "or it would not be over"
    why = f"expired at {written(entry.expires_at, zone_of(entry.account.owner_id))} while it rested"
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


def _unopened(status: str, entry: AutoEntry, seen: Seen, held: Hold) -> dict[str, Any]:
    """Return the answer of an entry whose price has not come, or came and went."""
    return {
        "status": status,
        "reason": held.reason,
        "currentPrice": plain(seen.quote.price),
        "triggerPrice": None if entry.trigger_price is None else plain(entry.trigger_price),
    }
