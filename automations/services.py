"""The use cases: act on a position, open an entry, and find everything on which to act."""

import logging
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Final

from django.db import connection
from django.utils import timezone

from accounts.crypto import SealBrokenError
from accounts.gateway import client_for, live_view
from accounts.models import Account
from automations import (
    disarming,
    ending,
    entry_orders,
    planning,
    protection,
    quarantine,
    reconciling,
    resting,
    stops_ahead,
    unopened,
    unreadable,
)
from automations.executing import Cause
from automations.locking import closing_lock_name, lock_name, position_lock
from automations.models import AutoEntry, Automation, Execution
from automations.models.compiled import Compiled
from automations.models.kinds import Kind, OnPosition, find_acting
from automations.outages import DATABASE_ERRORS, database_is_away
from automations.planning import Plan
from automations.position_look import BUSY, PositionLook
from automations.reading import Seen, read, read_again, read_price
from automations.stops_ahead import StopAhead
from automations.suspending import note_refusal
from exchange.errors import ExchangeError, KeyRefusedError, TransientError
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
        if mine:
            return _look(automation, position_id, cause)
    if isinstance(automation, AutoEntry):
        return _word(BUSY)
    # Whoever has it may wait for the exchange's answer to a top-up: closing need not wait with it.
    with position_lock(closing_lock_name(name)) as mine:
        return _look(automation, position_id, cause, closing=True) if mine else _word(BUSY)


def _look(
    automation: Kind, position_id: PositionId | None, cause: Cause, *, closing: bool = False
) -> dict[str, Any]:
    try:
        with quarantine.counted(automation, position_id, closing=closing) as may_look:
            if not may_look:
                return _word("quarantined")
            if isinstance(automation, AutoEntry):
                return _look_at_entry(automation, position_id, cause)
            assert position_id is not None
            return _look_at_position(automation, position_id, cause, closing=closing)
    except KeyRefusedError as error:
        note_refusal(automation.account, str(error))
        raise TransientError(str(error)) from error  # nothing happened: look once more
    except SealBrokenError as broken:
        unopened.tell(automation.account, broken)
        return _word(f"not opened: {broken}")


def _find(automation_id: int, position_id: PositionId | None) -> Kind | None:
    """Find it on a connection that works: the one that was kept may be gone since its last use."""
    try:
        return find_acting(automation_id, position_id)
    except DATABASE_ERRORS as error:
        if connection.in_atomic_block or not database_is_away(error):
            raise
        connection.close()
    return find_acting(automation_id, position_id)


def _look_at_entry(entry: AutoEntry, order_id: PositionId | None, cause: Cause) -> dict[str, Any]:
    client = client_for(entry.account)
    latest = latest_on(entry, order_id)
    if latest and not reconciling.is_settled(latest, client):
        return _word("an earlier action is not settled yet")
    if order_id is not None:
        return _word(entry_orders.take_back(entry, order_id, cause, client))
    return entry_orders.enter(entry, cause, client)


def _look_at_position(
    automation: OnPosition, position_id: PositionId, cause: Cause, *, closing: bool
) -> dict[str, Any]:
    client, latest = client_for(automation.account), latest_on(automation, position_id)
    look = PositionLook(automation, position_id, cause, client, latest)
    outcomes = look.close_if_due() if closing else look.carry_out()
    acted = [each for outcome in outcomes for each in outcome.answer().get("acted", ())]
    return _word(outcomes[-1].word) | {"acted": list(dict.fromkeys(acted))}


def latest_on(automation: Automation, position_id: PositionId | None) -> Execution | None:
    """Return the newest execution on the position, whoever asked for it."""
    if position_id is None:
        return _LATEST_OF_ENTRY.first(automation.pk)
    return _LATEST_ON_POSITION.first(automation.account_id, position_id)


def _word(word: str) -> dict[str, Any]:
    return {"status": word}


@dataclass(frozen=True, slots=True, kw_only=True)
class Due:
    """An automation whose rule would act now, on a position or, for an entry, on none."""

    automation_id: int
    position_id: PositionId | None
    """For an entry: an order of its that rests beyond its time, else None."""
    urgent: bool = False


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
    ahead: list[StopAhead] = []
    views = live_view().read_all([(account.network, account.pk) for account in acting])
    for account, plans, view in zip(acting, all_plans, views, strict=True):
        may_act = [plan for plan in plans if plan.automation_id not in over]
        for regime in dict.fromkeys(plan.regime for plan in may_act):
            seen = _seen(account, regime, ahead=view)
            if seen is not None:
                of_regime = [plan for plan in may_act if plan.regime is regime]
                _forget_gone(account, of_regime, regime, seen)
                _note_unreadable(account, regime, seen)
                ahead.extend(stops_ahead.found(of_regime, seen))
                yield from _due_of(of_regime, seen)
    stops_ahead.write_down(ahead)


def _forget_gone(account: Account, plans: Sequence[Plan], regime: Regime | None, seen: Seen) -> None:
    """Forget where owners' hands won on positions that are gone; what cannot be read again is kept."""
    if regime is None:
        return
    with suppress(ExchangeError, SealBrokenError):
        disarming.forget_gone(plans, seen.positions, lambda: read_again(client_for(account), regime))


def _note_unreadable(account: Account, regime: Regime | None, seen: Seen) -> None:
    """Tell of positions that cannot be read, where no stream process did so before."""
    if regime is not None and seen.positions is not None and seen.positions.unreadable:
        unreadable.write_down(account, seen.positions, frozenset({regime}), timezone.now())


def _due_of(plans: Iterable[Plan], seen: Seen) -> Iterator[Due]:
    positions = seen.positions.positions if seen.positions else ()
    for plan in plans:
        for position_id in plan.due(seen.quote, positions):
            yield Due(automation_id=plan.automation_id, position_id=position_id, urgent=plan.urgent)


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
            note_refusal(account, str(error))
        elif regime is not None:
            protection.not_swept(account, timezone.now())
        return None
