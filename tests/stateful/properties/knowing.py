"""What a decision knows: nothing that was not read, and nothing old."""

from datetime import datetime, timedelta
from typing import Any

from accounts.gateway import live_view
from automations.models import AutoEntry, Automation, Execution, MarginGuard
from exchange.errors import ExchangeError
from exchange.position import CROSS
from tests.stateful.stage import DATA_MAX_AGE_S, Look, Person, Stage

_LIMIT = timedelta(seconds=DATA_MAX_AGE_S)
_POSITIONS_S = {"add_margin": 30, "notify": 30, "close_position": 10, "reduce_position": 10}
"""How old positions may be on which an action is decided; all others: as the price."""

_UNKNOWN = {"balance_unknown": MarginGuard, "guards_need_unknown": AutoEntry}
"""Refusals for want of what only a gate asks for, and whose they are."""


def unknown_is_never_empty(stage: Stage) -> None:
    """A failed read stops the decision; it never reads as "no positions" or price 0."""
    for look in stage.looks:
        if look.alone and _a_read_failed(look):
            stopped = isinstance(look.error, ExchangeError) or _is_refused_for_it(look)
            assert stopped, f"a read failed, and the word was {look.word}"
            assert not look.executions, f"a read failed, and there is {look.executions}"
        if look.word == "the position is gone" and not look.ambushed:
            assert not _surely_runs(stage, look), f"{look.position_id} runs"
        for execution in look.executions:
            assert execution.price > 0
    on_positions = Automation.objects.filter(autoentry__isnull=True)
    for ill, due in stage.swept:
        of_the_ill = set(on_positions.filter(account_id=ill or 0).values_list("pk", flat=True))
        found = {automation_id for automation_id, _ in due} & of_the_ill
        assert not found, f"due although their account could not be read: {found}"


def nothing_is_decided_on_old_data(stage: Stage) -> None:
    """Nothing is decided on data older than its limit; the age and source used are stored."""
    for look in stage.looks:
        for execution in look.executions:
            if execution.follows_id is None:
                _check_ages(execution)
                assert execution.price in _prices(stage, execution.price_at - _LIMIT)


def _a_read_failed(look: Look) -> bool:
    """Whether the last attempt at something failed that was read before anything was written."""
    if not look.readings:
        return False
    first = look.readings[0].writes_before
    last = {each.path: each.status for each in look.readings if each.writes_before == first}
    return any(status != 200 for status in last.values())


def _is_refused_for_it(look: Look) -> bool:
    kind = _UNKNOWN.get(look.word or "")
    return kind is not None and kind.objects.filter(pk=look.automation_id).exists()


def _surely_runs(stage: Stage, look: Look) -> bool:
    person = stage.person_with(look.account_id)
    on_cross = look.position_id == CROSS
    if not _seen_since_it_changed(person, on_cross=on_cross):
        return False
    return (
        bool(person.standing().cross["quantity"])
        if on_cross
        else look.position_id in person.standing().trades
    )


def _seen_since_it_changed(person: Person, *, on_cross: bool) -> bool:
    view = live_view().read(None, person.account.pk)
    held = view.cross if on_cross else view.positions
    return held is not None and held.at >= person.changed_at


def _check_ages(execution: Execution) -> None:
    oldest = execution.decided_at - execution.price_at
    assert oldest <= _LIMIT, f"{execution} was decided on a price that was {oldest} old"
    assert execution.price_source in {"rest", "stream"}
    if execution.does != "open_position":
        assert execution.positions_at is not None
        assert execution.positions_source in {"rest", "stream"}
        _check_follows_the_one_before(execution, execution.positions_at)
        oldest = execution.decided_at - execution.positions_at
        limit = timedelta(seconds=_POSITIONS_S.get(execution.does, DATA_MAX_AGE_S))
        assert oldest <= limit, f"{execution} was decided on positions that were {oldest} old"


def _check_follows_the_one_before(execution: Execution, seen_at: datetime) -> None:
    """What only tells changes nothing, so that what follows it in one look was seen before."""
    before = (
        Execution.objects.exclude(does="notify")
        .filter(
            account_id=execution.account_id,
            position_id=execution.position_id,
            pk__lt=execution.pk,
            settled_at__isnull=False,
        )
        .first()
    )
    if before is not None and before.settled_at is not None:
        assert seen_at >= before.settled_at, f"{execution} was decided on what was before {before}"


def _prices(stage: Stage, since: datetime) -> set[Any]:
    """Return every price that the exchange had since then."""
    ticks = stage.venue.ticks()
    first_us = since.timestamp() * 1_000_000
    recent = [index for index, tick in enumerate(ticks) if tick.sent_at_us >= first_us]
    begin = max(0, recent[0] - 1) if recent else len(ticks) - 1
    begun = {stage.first_price} if not ticks or (recent and recent[0] == 0) else set()
    return begun | {tick.price for tick in ticks[max(0, begin) :]}
