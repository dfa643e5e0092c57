"""Native stops that close a position before its guard acts: written down once for each stop."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from django.db import transaction
from django.utils import timezone

from automations import journal
from automations.models import JournalEntry, MarginGuard
from automations.planning import Plan, PositionPlan
from automations.reading import Seen, plain
from automations.rules.margin_guard import GuardConfig
from automations.rules.memory import NOTHING
from automations.rules.native_stops import closes_first
from exchange.money import UsdPerBtc
from exchange.position import Position, PositionId


@dataclass(frozen=True, slots=True, kw_only=True)
class StopAhead:
    """A stop that comes first."""

    guard: int
    position_id: PositionId
    stop: UsdPerBtc
    name: str
    """What stays the same while it is the same stop: one that trails, or is moved by us, goes on."""


def found(plans: Iterable[Plan], seen: Seen) -> Iterator[StopAhead]:
    """Yield the stops that come before the guards among these plans; a guard's own is none of them."""
    positions = seen.positions.positions if seen.positions else ()
    for plan in plans:
        if isinstance(plan, PositionPlan) and isinstance(plan.rule, GuardConfig):
            yield from _before(plan, positions)


def _before(guard: PositionPlan, positions: Iterable[Position]) -> Iterator[StopAhead]:
    for position in positions:
        memory = guard.memories.get(position.id, NOTHING)
        stop = closes_first(position, guard.levels(position), memory)
        if stop is None:
            continue
        ours = "another automation's" if stop == memory.stoploss else plain(stop)
        trails = None if position.trailing is None else f"trailing {plain(position.trailing)}"
        yield StopAhead(
            guard=guard.automation_id, position_id=position.id, stop=stop, name=trails or ours
        )


def write_down(stops: Iterable[StopAhead]) -> None:
    """Write each into the journal, unless it stands there already; in one query where none is new."""
    every = list(stops)
    if not every:
        return
    event = f"{MarginGuard.KIND}_{journal.STOP_AHEAD}"
    there = JournalEntry.objects.filter(
        event=event,
        automation__in={each.guard for each in every},
        position_id__in={each.position_id for each in every},
    )
    known = set(there.values_list("automation_id", "position_id", "data__stop"))
    for each in every:
        if (each.guard, each.position_id, each.name) not in known:
            _write(each)


def _write(ahead: StopAhead) -> None:
    with transaction.atomic():
        journal.record(
            MarginGuard.objects.select_related("account").get(pk=ahead.guard),
            journal.STOP_AHEAD,
            message=f"your stop at {_said(ahead.stop)} closes before the guard acts",
            data={"stop": ahead.name, "stoploss": plain(ahead.stop)},
            now=timezone.now(),
            position_id=ahead.position_id,
        )


def _said(price: UsdPerBtc) -> str:
    return f"{price.normalize():,f}"
