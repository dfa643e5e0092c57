"""What a soak came to: our executions beside what truly happened at the exchange."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from decimal import Decimal
from typing import TYPE_CHECKING, Any, Final

from benchmarks.soak.people import BY_HAND, Person
from benchmarks.soak.prices import History

if TYPE_CHECKING:
    from automations.models import Execution

Effect = tuple[int, str, str, int | None]
"""Account, what was done, on what, and how many sats."""

_PATHS: Final = {
    "trade": "open", "order": "open", "add-margin": "add", "close": "close", "stoploss": "stop",
    "takeprofit": "take", "cancel": "cancel", "deposit": "add",
}  # fmt: skip
_DOES: Final = {
    "open_position": "open", "add_margin": "add", "close_position": "close", "reduce_position": "close",
    "set_stoploss": "stop", "set_trailing": "stop", "set_takeprofit": "take", "cancel_order": "cancel",
}  # fmt: skip
_OURS: Final = "hub-"
_NAMED: Final = 10
_SKEW_S: Final = 2.0
SAVABLE_S: Final = 10.0
"""From half of the margin to liquidation, without any fault: so long is enough for anybody."""


def compared(
    executions: Iterable["Execution"], writes: Iterable[Mapping[str, Any]], people: Sequence[Person]
) -> dict[str, Any]:
    """Count executions, effects, and where the two disagree, and name what is lost."""
    by_key = {person.key: person for person in people}
    applied = Counter(
        effect
        for write in writes
        if write["applied"] and (effect := _effect(write, by_key)) is not None
    )
    for person in people:
        for position, times in person.closed.items():
            applied[person.account.pk, "close", position, None] -= times
    made = [each for each in executions if each.state != "shadow" and each.does in _DOES]
    all_of = Counter(_intended(each) for each in made)
    confirmed = Counter(_intended(each) for each in made if each.state == "confirmed")
    open_ones = Counter(
        _intended(each) for each in made if each.state in {"intended", "sent", "unknown"}
    )
    unsure = Counter(_intended(each) for each in made if each.state == "quarantined")
    by_hand: Counter[Effect] = Counter(
        {
            (person.account.pk, "close", position, None): times
            for person in people
            for position, times in person.tried.items()
        }
    )
    # Our close that got no answer is proven by the trade being gone: whose hand it was, nothing tells.
    missing = confirmed - applied
    either = missing & by_hand
    lost = missing - either
    return {
        "executions": len(made),
        "confirmed": confirmed.total(),
        "unsettled": open_ones.total(),
        "unprovable": unsure.total(),
        "effects": (+applied).total(),
        "duplicates": (applied - all_of).total(),
        "closed_by_either_hand": either.total(),
        "lost_effects": lost.total(),
        "lost": [" ".join(map(str, effect)) for effect in sorted(lost, key=str)][:_NAMED],
        "denied_effects": ((applied & all_of) - confirmed - open_ones - unsure).total(),
    }


def _effect(write: Mapping[str, Any], by_key: Mapping[str, Person]) -> Effect | None:
    """Return what it was; None for what its owner did by hand."""
    does = _PATHS.get(write["path"].rpartition("/")[2])
    person, params = by_key.get(write["account"]), write["params"]
    if does is None or person is None:
        return None
    if does == "open":
        label = str(params.get("clientId") or "")
        return (person.account.pk, does, label, None) if label.startswith(_OURS) else None
    amount = params.get("amount")
    if amount == BY_HAND:
        return None
    return (
        person.account.pk,
        does,
        str(params.get("id", "cross")),
        None if amount is None else int(amount),
    )


def _intended(execution: "Execution") -> Effect:
    does = _DOES[execution.does]
    on = execution.client_id if does == "open" else execution.position_id
    amount = execution.amount_sats if does == "add" else None
    return execution.account_id, does, str(on), amount


def liquidated(
    people: Sequence[Person], history: History, faults: Sequence[tuple[float, float]]
) -> dict[str, int]:
    """Count guarded positions that were liquidated, and those of them that could have been saved."""
    lost = savable = 0
    for person in people:
        if person.is_pulse:
            continue
        for trade in person.client.closed_trades():
            if trade.profit > -trade.margin:
                continue
            lost += 1
            savable += _time_to_save_s(trade, history, faults) > SAVABLE_S
    return {"guarded_liquidated": lost, "lost_though_savable": savable}


def _time_to_save_s(trade: Any, history: History, faults: Sequence[tuple[float, float]]) -> float:
    """Return the seconds without a fault from the last crossing of half the way to its end."""
    entry, end = trade.entry, trade.exit
    half = entry + (end - entry) / 2
    falls = end < entry

    def beyond(price: Decimal, level: Decimal) -> bool:
        return price <= level if falls else price >= level

    begun, over = trade.created_at.timestamp(), trade.closed_at.timestamp() + _SKEW_S
    crossed = None
    for at, price in history.steps:
        if not begun <= at <= over:
            continue
        if crossed is not None and beyond(price, end):
            return (at - crossed) - _within(faults, crossed, at)
        if not beyond(price, half):
            crossed = None
        elif crossed is None:
            crossed = at
    return 0.0


def _within(faults: Iterable[tuple[float, float]], begun: float, ended: float) -> float:
    """Return how many seconds between the two something was broken."""
    return sum(max(0.0, min(ended, last) - max(begun, first)) for first, last in faults)
