"""Which native stops close a position before its guard acts."""

from decimal import Decimal
from typing import Any

import pytest

from automations.rules.memory import NOTHING, Memory
from automations.rules.native_stops import closes_first
from automations.triggers import Direction, Level
from exchange.formulas import Side
from exchange.money import MAX_PRICE, UsdPerBtc
from exchange.position import Position
from tests.automations.positions import running

param = pytest.param


def price(value: int) -> UsdPerBtc:
    return UsdPerBtc(Decimal(value))


def steps(*prices: int, direction: Direction = Direction.FALLING) -> tuple[Level, ...]:
    return tuple(Level(price=price(each), direction=direction) for each in prices)


@pytest.mark.parametrize(
    ("position", "levels", "memory", "first"),
    [
        param(running(), steps(95_238), NOTHING, False, id="no stop"),
        param(running(stoploss=price(96_000)), steps(95_238), NOTHING, True, id="above the step"),
        param(running(stoploss=price(94_000)), steps(95_238), NOTHING, False, id="below the step"),
        param(running(stoploss=price(95_000)), steps(95_000), NOTHING, False, id="at the step"),
        param(
            running(stoploss=price(94_000)), steps(93_000, 95_000), NOTHING, False,
            id="between two steps: the next one comes first",
        ),
        param(
            running(Side.SELL, stoploss=price(104_000)),
            steps(105_263, direction=Direction.RISING), NOTHING, True, id="a short's, below the step",
        ),
        param(
            running(Side.SELL, stoploss=price(106_000)),
            steps(105_263, direction=Direction.RISING), NOTHING, False, id="a short's, above it",
        ),
        param(
            running(stoploss=price(96_000)), steps(97_000, direction=Direction.RISING), NOTHING, False,
            id="a level to which the price returns is no step",
        ),
        param(
            running(stoploss=price(96_000)), steps(int(MAX_PRICE)), NOTHING, False,
            id="nor is 'at any price'",
        ),
        param(
            running(stoploss=price(96_000)), steps(95_238),
            Memory(stoploss=price(96_000), stop_is_own=True), False, id="the guard's own backstop",
        ),
        param(
            running(stoploss=price(96_000)), steps(95_238),
            Memory(stoploss=price(96_000)), True, id="that of another automation",
        ),
    ],
)  # fmt: skip
def test_a_stop_comes_first_where_it_lies_before_the_next_step(
    position: Position, levels: tuple[Level, ...], memory: Memory, first: Any
) -> None:
    assert closes_first(position, levels, memory) == (position.stoploss if first else None)
