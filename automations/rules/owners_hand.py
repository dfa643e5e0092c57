"""The owner's hand: whether somebody else changed an exit that an automation of ours set."""

from automations.rules.memory import Memory
from exchange.position import Position


def changed_by_hand(position: Position, memory: Memory) -> str | None:
    """Return what was found, in a sentence, where an exit is not as we set it last; None: it is.

    A stop that is missing after a cash-in was not removed by anybody: the exchange drops one that lies
    beyond the new liquidation (API notes, 6.9).
    """
    if _is_missing(position) and _was_cashed_in(position, memory):
        return _changed_takeprofit(position, memory)
    return _changed_stop(position, memory) or _changed_takeprofit(position, memory)


def _is_missing(position: Position) -> bool:
    return position.stoploss is None and position.trailing is None


def _was_cashed_in(position: Position, memory: Memory) -> bool:
    """Whether it was, or may have been: where the total cannot be read, nobody's hand is proven."""
    if position.cashed_in is None or memory.cashed_in is None:
        return position.cashed_in is None
    return position.cashed_in > memory.cashed_in


def _changed_stop(position: Position, memory: Memory) -> str | None:
    if memory.stoploss is not None and position.stoploss != memory.stoploss:
        return f"the stop was set to {memory.stoploss} and {_now(position.stoploss)}, changed by hand"
    if memory.trailing is not None and position.trailing != memory.trailing:
        trails = f"by {position.trailing} now" if position.trailing is not None else "no more"
        return f"the stop was set to trail by {memory.trailing} and trails {trails}, changed by hand"
    return None


def _changed_takeprofit(position: Position, memory: Memory) -> str | None:
    if memory.takeprofit is None or position.takeprofit == memory.takeprofit:
        return None
    now = _now(position.takeprofit)
    return f"the take profit was set to {memory.takeprofit} and {now}, changed by hand"


def _now(price: object) -> str:
    return "is gone" if price is None else f"is {price} now"
