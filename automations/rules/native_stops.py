"""Native stops that come first: the exchange closes the position before a guard would act."""

from collections.abc import Iterable

from automations.rules.memory import NOTHING, Memory
from automations.triggers import Direction, Level
from exchange.formulas import Side
from exchange.money import MAX_PRICE, UsdPerBtc
from exchange.position import Position


def closes_first(
    position: Position, levels: Iterable[Level], memory: Memory = NOTHING
) -> UsdPerBtc | None:
    """Return the position's stop where it lies nearer to the market than the guard's next step.

    `levels` are those at which the guard begins to act. None: there is no such step, or no such stop
    but the guard's own.
    """
    if memory.stop_is_own and position.stoploss == memory.stoploss:
        return None
    losing = Direction.FALLING if position.side is Side.BUY else Direction.RISING
    steps = [level.price for level in levels if level.direction is losing and level.price != MAX_PRICE]
    if position.stoploss is None or not steps:
        return None
    sign = position.side.sign
    nearest = max(sign * price for price in steps)
    return position.stoploss if sign * position.stoploss > nearest else None
