"""What the database remembers of an automation on a position, as the rules want it."""

from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import replace
from decimal import Decimal
from typing import Any, Final, NamedTuple

from django.db import connection
from django.db.models import Exists, OuterRef, Q
from django.utils import timezone

from automations import cross_epoch
from automations.models import (
    Automation,
    Execution,
    ExitDisarmed,
    MarginGuard,
    PositionThreshold,
    SpentStep,
    TakeProfitStopLoss,
)
from automations.models.execution import in_places
from automations.models.kinds import POSITION_KINDS, OnPosition
from automations.models.prepared import execute, expect
from automations.rules.actions import Action, SetStopLoss, SetTakeProfit, SetTrailingStop
from automations.rules.memory import NOTHING, Memory
from exchange.money import Sats, UsdPerBtc
from exchange.position import Position, PositionId

Memories = dict[PositionId, Memory]

_ACTED: Final = frozenset(
    {Execution.State.CONFIRMED, Execution.State.QUARANTINED, Execution.State.SHADOW}
)
_SET: Final = frozenset({Execution.State.CONFIRMED, Execution.State.QUARANTINED})
_SETS_AN_EXIT: Final = [
    Execution.Does.SET_STOPLOSS, Execution.Does.SET_TRAILING, Execution.Does.SET_TAKEPROFIT,
]  # fmt: skip

_OF_GUARD: Final = """
SELECT ARRAY(SELECT spent.step_id FROM automations_spentstep AS spent
               JOIN automations_guardstep AS step ON step.id = spent.step_id
              WHERE step.guard_id = %(guard)s AND spent.position_id = %(position)s
                AND spent.shadow = %(shadow)s) AS spent,
       stop.level, stop.distance, stop.own, stop.cashed_in
  FROM (SELECT 1) AS always
  LEFT JOIN LATERAL (
    SELECT level, distance, automation_id = %(guard)s AS own,
           (before ->> 'cashedIn')::bigint AS cashed_in
      FROM automations_execution
     WHERE account_id = %(account)s AND position_id = %(position)s
       AND does IN ('set_stoploss', 'set_trailing') AND state IN ('confirmed', 'quarantined')
     ORDER BY id DESC LIMIT 1
  ) AS stop ON true
"""
"""In one round trip: it stands between a tick and its order."""

expect(lambda: _OF_GUARD)


class _Set(NamedTuple):
    """An exit that an automation set: its newest of the kind on the position."""

    execution: int
    automation: int
    account: int
    position: str
    does: str
    level: Decimal | None
    distance: Decimal | None
    cashed_in: int | None

    @property
    def is_stop(self) -> bool:
        return self.does != Execution.Does.SET_TAKEPROFIT


_Place = tuple[int, str]
"""An account and a position's id."""


def memory_of(automation: OnPosition, position_id: PositionId) -> Memory:
    """Return what a decision about the position depends on beside the position itself."""
    if not isinstance(automation, MarginGuard):
        return (
            memories_of_all([automation], position_id).get(automation.pk, {}).get(position_id, NOTHING)
        )
    params: dict[str, Any] = {
        "guard": automation.pk,
        "position": position_id,
        "shadow": automation.shadow,
        "account": automation.account_id,
    }
    with connection.cursor() as cursor:
        execute(cursor, _OF_GUARD, params)
        spent, level, distance, own, cashed_in = cursor.fetchone()
    return Memory(
        spent=frozenset(spent),
        stoploss=None if level is None else UsdPerBtc(level),
        trailing=distance,
        stop_is_own=bool(own),
        cashed_in=None if cashed_in is None else Sats(cashed_in),
    )


def memories_of(automation: Automation) -> Memories:
    """Return the same for every position of which something is remembered."""
    return memories_of_all([automation]).get(automation.pk, {})


def memories_of_all(
    automations: Iterable[Automation], position_id: PositionId | None = None
) -> dict[int, Memories]:
    """Return the same for many automations, by their ids, in at most three queries.

    Of all positions, or of one. An automation of which nothing is remembered is left out.
    """
    asked = list(automations)
    guards = [each for each in asked if isinstance(each, MarginGuard)]
    exits = [each for each in asked if isinstance(each, TakeProfitStopLoss)]
    found: dict[int, Memories] = defaultdict(dict)
    if guards:
        found.update(_spent_steps({guard.pk: guard.shadow for guard in guards}))
    if guards or exits:
        every = _exits_set({each.account_id for each in (*guards, *exits)}, position_id)
        for guard in guards:
            _add_stops(found[guard.pk], guard, every)
        hands = _hands(exits) if exits else {}
        for each in exits:
            found[each.pk].update(_of_exits(each, every, hands.get(each.pk, {})))
    return {automation: memories for automation, memories in found.items() if memories}


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
    ExitDisarmed.objects.filter(automation__account_id=closed.account_id, position_id=old).update(
        position_id=new, since=timezone.now()
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


def _exits_set(accounts: Collection[int], position_id: PositionId | None) -> dict[_Place, list[_Set]]:
    """Return the exits that the automations of these accounts set on each position, oldest first.

    Of each automation the newest of each kind. Also where it could not be told whether one was set:
    then what is found there was made so by another hand.
    """
    each_exit = ("automation_id", "position_id", "does")
    there = Execution.objects.filter(
        account__in=accounts, does__in=_SETS_AN_EXIT, state__in=_SET,
        **({} if position_id is None else {"position_id": position_id}),
    )  # fmt: skip
    rows = there.order_by(*each_exit, "-id").distinct(*each_exit).values_list(
        "id", "automation_id", "account_id", "position_id", "does",
        "level", "distance", "before__cashedIn",
    )  # fmt: skip
    found: dict[_Place, list[_Set]] = defaultdict(list)
    for row in sorted(_Set(*each) for each in rows):
        found[row.account, row.position].append(row)
    return found


def _add_stops(memories: Memories, guard: MarginGuard, every: Mapping[_Place, list[_Set]]) -> None:
    """Let the guard know every stop that any automation of its account set last."""
    for (account, place), exits in every.items():
        stops = [each for each in exits if each.is_stop]
        if account == guard.account_id and stops:
            position_id = PositionId(place)
            known = memories.get(position_id, NOTHING)
            memories[position_id] = _after(known, stops[-1], by=guard.pk)


def _hands(exits: Collection[TakeProfitStopLoss]) -> dict[int, dict[str, ExitDisarmed]]:
    """Return where owners changed exits by hand: by the automation, then by the position."""
    found: dict[int, dict[str, ExitDisarmed]] = defaultdict(dict)
    for row in ExitDisarmed.objects.filter(automation__in=[each.pk for each in exits]):
        found[row.automation_id][row.position_id] = row
    return found


def _of_exits(
    automation: TakeProfitStopLoss,
    every: Mapping[_Place, list[_Set]],
    hands: Mapping[str, ExitDisarmed],
) -> Iterator[tuple[PositionId, Memory]]:
    """Yield what the automation remembers of each position.

    Those kinds of exits that it set itself, as whoever of ours set them last: another automation that
    moved one is no hand. What it set before its owner re-armed it does not count.
    """
    for (account, place), exits in every.items():
        if account == automation.account_id:
            memory = _own(automation, exits, hands.get(place))
            if memory != NOTHING:
                yield PositionId(place), memory
    for place, hand in hands.items():
        if hand.rearmed_after is None:
            yield PositionId(place), Memory(disarmed=hand.why)


def _own(automation: TakeProfitStopLoss, exits: list[_Set], hand: ExitDisarmed | None) -> Memory:
    after = hand.rearmed_after or 0 if hand else 0
    own = [
        each.is_stop for each in exits if each.automation == automation.pk and each.execution > after
    ]
    memory = NOTHING
    for each in exits:  # the newest comes last
        if each.is_stop in own:
            memory = _after(memory, each, by=automation.pk)
    return memory


def _after(memory: Memory, exit_set: _Set, *, by: int) -> Memory:
    """Return the memory once the exit was set: a stop is fixed or trailing, never both."""
    level = None if exit_set.level is None else UsdPerBtc(exit_set.level)
    if not exit_set.is_stop:
        return replace(memory, takeprofit=level, takeprofit_is_own=exit_set.automation == by)
    return replace(
        memory,
        stoploss=level,
        trailing=exit_set.distance,
        stop_is_own=exit_set.automation == by,
        cashed_in=None if exit_set.cashed_in is None else Sats(exit_set.cashed_in),
    )
