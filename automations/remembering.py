"""What the database remembers of an automation on a position, as the rules want it."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from operator import attrgetter
from typing import Final

from django.db.models import Exists, OuterRef, Q

from automations import cross_epoch
from automations.models import (
    Automation,
    Execution,
    MarginGuard,
    PositionThreshold,
    SpentStep,
    TakeProfitStopLoss,
)
from automations.models.compiled import Compiled
from automations.models.execution import in_places
from automations.models.kinds import POSITION_KINDS
from automations.rules.actions import Action, SetStopLoss, SetTakeProfit, SetTrailingStop
from automations.rules.memory import NOTHING, Memory
from exchange.money import UsdPerBtc
from exchange.position import Position, PositionId

Memories = dict[PositionId, Memory]

_SPENT: Final = Compiled[SpentStep](
    lambda guard, position: SpentStep.objects.filter(step__guard=guard, position_id=position), int, str
)

_ACTED: Final = frozenset(
    {Execution.State.CONFIRMED, Execution.State.QUARANTINED, Execution.State.SHADOW}
)
_SET: Final = frozenset({Execution.State.CONFIRMED, Execution.State.QUARANTINED})
_SETS_AN_EXIT: Final = [
    Execution.Does.SET_STOPLOSS, Execution.Does.SET_TRAILING, Execution.Does.SET_TAKEPROFIT,
]  # fmt: skip


def memory_of(automation: Automation, position_id: PositionId) -> Memory:
    """Return what a decision about the position depends on beside the position itself."""
    if isinstance(automation, MarginGuard):
        spent = _SPENT(automation.pk, position_id)
        return Memory(spent=frozenset(row.step_id for row in spent if row.shadow == automation.shadow))
    return memories_of(automation).get(position_id, NOTHING)


def memories_of(automation: Automation) -> Memories:
    """Return the same for every position of which something is remembered."""
    return memories_of_all([automation]).get(automation.pk, {})


def memories_of_all(automations: Iterable[Automation]) -> dict[int, Memories]:
    """Return the same for many automations, by their ids, in at most one query for each kind.

    One of which nothing is remembered is left out.
    """
    asked = list(automations)
    guards = {each.pk: each.shadow for each in asked if isinstance(each, MarginGuard)}
    exits = [each.pk for each in asked if isinstance(each, TakeProfitStopLoss)]
    return (_spent_steps(guards) if guards else {}) | (_own_exits(exits) if exits else {})


def remember_step(execution: Execution) -> None:
    """Let a step that acts once wait until the danger drew back, from the moment it surely acted."""
    if cross_epoch.closed(execution):
        cross_epoch.begin_anew(execution.account_id, execution.decided_at)
        return
    if execution.state not in _ACTED or execution.step is None or not execution.step.acts_once:
        return
    SpentStep.objects.update_or_create(
        step=execution.step,
        position_id=execution.position_id,
        shadow=execution.state == Execution.State.SHADOW,
        defaults={"acted_at": execution.settled_at or execution.decided_at},
    )


def forget_returned(guard: MarginGuard, position: Position, still: frozenset[int]) -> None:
    """Let steps act again whose danger drew back."""
    SpentStep.objects.filter(step__guard=guard, position_id=position.id, shadow=guard.shadow).exclude(
        step_id__in=still
    ).delete()


def follow(closed: Execution, new: PositionId) -> None:
    """Let all that is known of a trade by its id go on with the one opened in its place."""
    old = closed.position_id
    past = Execution.objects.filter(account_id=closed.account_id)
    past.filter(Q(position_id=old) | Q(continues_as=old)).update(continues_as=new)
    for kind in POSITION_KINDS:
        naming = kind.objects.filter(account_id=closed.account_id, only_positions__contains=[old])
        for automation in naming:
            automation.only_positions = [new if it == old else it for it in automation.only_positions]
            automation.save(update_fields=["only_positions", "changed_at"])
    PositionThreshold.objects.filter(step__guard__account_id=closed.account_id, position_id=old).update(
        position_id=new
    )
    spent = SpentStep.objects.filter(step__guard__account_id=closed.account_id)
    there = spent.filter(position_id=new, step=OuterRef("step"), shadow=OuterRef("shadow"))
    spent.filter(~Exists(there), position_id=old).update(position_id=new)
    spent.filter(position_id=old).delete()


def told_already(automation: Automation, action: Action) -> bool:
    """Whether a shadow wrote down the very exit already that it would leave with the exchange.

    A live automation would find it on the position.
    """
    if not automation.shadow or not isinstance(action, SetStopLoss | SetTakeProfit | SetTrailingStop):
        return False
    newest = Execution.objects.filter(
        automation=automation, position_id=action.position_id, does=action.does
    ).first()
    if newest is None or newest.state != Execution.State.SHADOW:
        return False
    if isinstance(action, SetTrailingStop):
        return newest.distance == in_places(action.distance)
    return newest.level == action.price


def _spent_steps(guards: Mapping[int, bool]) -> dict[int, Memories]:
    """Return the spent steps of guards, given with whether each is a shadow."""
    spent: dict[int, dict[PositionId, set[int]]] = {}
    rows = SpentStep.objects.filter(step__guard__in=list(guards))
    for guard, position_id, step, shadow in rows.values_list(
        "step__guard_id", "position_id", "step_id", "shadow"
    ):
        if shadow == guards[guard]:
            spent.setdefault(guard, {}).setdefault(PositionId(position_id), set()).add(step)
    return {
        guard: {position_id: Memory(spent=frozenset(steps)) for position_id, steps in of_guard.items()}
        for guard, of_guard in spent.items()
    }


def _own_exits(automations: Sequence[int]) -> dict[int, Memories]:
    """Return the exits that the automations set last: another one found there was set by hand.

    Also where that could not be told: then it was another hand that made it so.
    """
    each_exit = ("automation_id", "position_id", "does")
    newest = (
        Execution.objects.filter(automation__in=automations, does__in=_SETS_AN_EXIT, state__in=_SET)
        .order_by(*each_exit, "-id")
        .distinct(*each_exit)
        .only(*each_exit, "level", "distance")
    )
    found: dict[int, Memories] = {}
    for row in sorted(newest, key=attrgetter("pk")):
        memories = found.setdefault(row.automation_id, {})
        position_id = PositionId(row.position_id)
        memories[position_id] = _after(memories.get(position_id, NOTHING), row)
    return found


def _after(memory: Memory, row: Execution) -> Memory:
    """Return the memory once the exit of the row was set: a stop is fixed or trailing, never both."""
    level = None if row.level is None else UsdPerBtc(row.level)
    if row.does == Execution.Does.SET_TAKEPROFIT:
        return replace(memory, takeprofit=level)
    return replace(memory, stoploss=level, trailing=row.distance)
