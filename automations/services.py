"""The use cases: act on one position, and find every position on which to act."""

import logging
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import groupby
from operator import attrgetter

from django.conf import settings
from django.utils import timezone

from accounts.crypto import SealBrokenError
from accounts.gateway import client_for
from automations import executing, reconciling
from automations.executing import Facts, Refusal, Seen
from automations.locking import position_lock
from automations.models import Execution, MarginGuard
from automations.rules import margin_guard
from automations.rules.actions import Hold
from exchange.client import Client, Snapshot
from exchange.errors import ExchangeError
from exchange.position import PositionId

logger = logging.getLogger(__name__)


def act(guard_id: int, position_id: PositionId, seen: Seen) -> str:
    """Decide anew about one position and carry the decision out; return in a word what came of it.

    Whoever calls says only "look now"; it may be called any number of times, at once or late.

    Raises:
        ExchangeError: the exchange could not be read, or a write was surely not sent.
    """
    with position_lock(position_id) as mine:
        if not mine:
            return "another worker has this position"
        guard = MarginGuard.objects.acting().filter(pk=guard_id).first()
        if guard is None:
            return "disabled, or its account may not act"
        latest = Execution.objects.filter(position_id=position_id).first()
        client = client_for(guard.account)
        if latest and latest.state in Execution.UNSETTLED:
            reconciling.settle(latest, client, timezone.now())
            if latest.state in Execution.UNSETTLED:
                return "an earlier action is not settled yet"
        facts = _facts(client, position_id, seen, latest)
        return _decide_and_act(guard, facts, client) if facts else "the position is gone"


def _facts(
    client: Client, position_id: PositionId, seen: Seen, latest: Execution | None
) -> Facts | None:
    """Read price and position, neither older than its limit nor the position than our last action."""
    snapshot = client.snapshot(
        settings.DATA_MAX_AGE_S, not_before=latest.settled_at if latest else None
    )
    for position in snapshot.positions.positions:
        if position.id == position_id:
            return Facts(position=position, snapshot=snapshot, seen=seen)
    return None


def _decide_and_act(guard: MarginGuard, facts: Facts, client: Client) -> str:
    now = timezone.now()
    decision = margin_guard.decide(facts.position, facts.price, guard.config())
    if isinstance(decision, Hold):
        return decision.reason
    ready_at = _ready_at(guard, facts.position.id)
    if ready_at and now < ready_at:
        refusal = Refusal(
            reason="cooldown", message=f"{decision.why}, but the guard rests after its last action"
        )
        executing.hold(guard, refusal, facts, now)
        return refusal.reason
    return executing.carry_out(guard, decision, facts, client, now)


def _ready_at(guard: MarginGuard, position_id: PositionId) -> datetime | None:
    last = (
        Execution.objects.filter(automation=guard, position_id=position_id)
        .exclude(state__in=[Execution.State.NOT_SENT, Execution.State.NOT_APPLIED])
        .first()
    )
    if last is None or last.settled_at is None:
        return None
    return last.settled_at + timedelta(seconds=guard.cooldown_s)


@dataclass(frozen=True, slots=True, kw_only=True)
class Due:
    """A guard whose rule would act on a position now."""

    guard_id: int
    position_id: PositionId


def due() -> Iterator[Due]:
    """Weigh every guard of every acting account; yield what must be looked at.

    One snapshot per account. An account that cannot be read is logged and left to the next sweep; it
    holds up no other.
    """
    guards = MarginGuard.objects.acting().order_by("account_id")
    for account, of_account in groupby(guards, key=attrgetter("account")):
        try:
            snapshot = client_for(account).snapshot(settings.DATA_MAX_AGE_S)
            found = list(_due_of(of_account, snapshot))
        except (ExchangeError, SealBrokenError, ValueError) as error:
            logger.warning(
                "account not swept",
                extra={"account": account.pk, "account_name": account.name, "error": str(error)},
            )
            continue
        yield from found


def _due_of(guards: Iterable[MarginGuard], snapshot: Snapshot) -> Iterator[Due]:
    price = snapshot.quote.price
    for guard in guards:
        config = guard.config()
        for position in snapshot.positions.positions:
            if not isinstance(margin_guard.decide(position, price, config), Hold):
                yield Due(guard_id=guard.pk, position_id=position.id)
