"""The owner and the automations on one position."""

from collections.abc import Mapping
from decimal import Decimal
from typing import Any

from automations.models import Execution
from tests.stateful.committed import ISOLATED
from tests.stateful.stage import Look, Stage
from tests.stateful.witness import Passage

_EXITS = frozenset({f"{ISOLATED}/stoploss", f"{ISOLATED}/takeprofit"})


def the_users_own_hand_wins(stage: Stage) -> None:
    """A position changed or closed by hand is noticed: the automation follows or disarms."""
    for look in stage.looks:
        for passage in look.passages:
            execution = Execution.objects.get(pk=passage.intent.id)
            if not _knew(look, execution):
                continue
            if passage.path.startswith(f"{ISOLATED}/"):
                _check_it_followed(passage, execution)
            if passage.path in _EXITS:
                _check_nobody_changed_it(stage, passage)


def _knew(look: Look, execution: Execution) -> bool:
    """Whether the decision saw the position as it was when the write came."""
    seen_at = execution.positions_at
    return not look.ambushed and look.alone and seen_at is not None and seen_at >= look.changed_at


def _check_it_followed(passage: Passage, execution: Execution) -> None:
    trade = passage.before.trades.get(passage.params["id"])
    assert trade is not None, f"{execution} is about a trade that is over"
    before = execution.before
    seen = (
        before["margin"],
        before["quantity"],
        _level(before["stoploss"]),
        _level(before["takeprofit"]),
    )
    found = (trade["margin"], trade["quantity"], _level(trade["stoploss"]), _level(trade["takeprofit"]))
    assert seen == found, f"{execution} saw {seen}, and there was {found}"


def _check_nobody_changed_it(stage: Stage, passage: Passage) -> None:
    """See that the exit is the one that we left there last, if this automation ever left one.

    The exchange itself takes a stop away that a cash-in put beyond liquidation.
    """
    earlier = [
        each
        for each in stage.witness.passages[: stage.witness.passages.index(passage)]
        if each.applied and each.path == passage.path and each.params["id"] == passage.params["id"]
    ]
    if passage.intent.automation_id in {each.intent.automation_id for each in earlier}:
        trade = passage.before.trades[passage.params["id"]]
        if _was_dropped(passage, trade, earlier[-1]):
            return
        left, found = _level(earlier[-1].params["value"]), _level(_exit_of(trade, earlier[-1]))
        assert left == found, f"{passage.path} was {left}, then {found} by hand, and is set again"


def _was_dropped(passage: Passage, trade: Mapping[str, Any], last: Passage) -> bool:
    then = last.before.trades[passage.params["id"]]
    gone = passage.path.endswith("stoploss") and not trade["stoploss"]
    return gone and _cashed_in(trade) > _cashed_in(then)


def _cashed_in(trade: Mapping[str, Any]) -> int:
    return int(trade["sumCashInPl"]) + int(trade["sumCashInMargin"])


def _exit_of(trade: Mapping[str, Any], passage: Passage) -> Any:
    if passage.params.get("mode") == "trailing":
        return trade["stoplossTrailingDistance"]
    if passage.path.endswith("stoploss") and trade["stoplossTrailingDistance"]:
        return 0
    return trade[passage.path.rpartition("/")[2]]


def _level(value: Any) -> Decimal:
    return Decimal(str(value or 0)).normalize()
