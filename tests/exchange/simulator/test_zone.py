"""Skipping the accounts that a price step does not touch must never change what happens."""

from collections.abc import Iterator
from decimal import Decimal
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from exchange.money import UsdPerBtc
from exchange.simulator.engine.zone import QuietZone


def price(number: int) -> UsdPerBtc:
    return UsdPerBtc(Decimal(number))


class Levels:
    """Levels that can be changed, and how often they were asked for."""

    def __init__(self, *numbers: int) -> None:
        self.numbers = numbers
        self.asked = 0

    def __call__(self) -> Iterator[UsdPerBtc]:
        self.asked += 1
        return map(price, self.numbers)


@pytest.mark.parametrize(
    ("before", "now", "quiet"),
    [
        pytest.param(100, 101, True, id="within"),
        pytest.param(100, 110, False, id="touches the level above"),
        pytest.param(100, 90, False, id="touches the level below"),
        pytest.param(100, 200, False, id="leaves"),
        pytest.param(90, 100, False, id="begins at a level"),
        pytest.param(90, 95, False, id="begins at a level and leaves it"),
    ],
)
def test_a_step_is_quiet_strictly_between_the_nearest_levels(
    before: int, now: int, *, quiet: bool
) -> None:
    assert QuietZone(Levels(10, 90, 110, 500)).holds(price(before), price(now)) is quiet


def test_without_levels_every_step_is_quiet() -> None:
    assert QuietZone(Levels()).holds(price(1), price(1000))


def test_the_levels_are_asked_for_only_when_the_price_leaves_or_they_change() -> None:
    levels = Levels(90, 110)
    zone = QuietZone(levels)
    for before, now in ((100, 101), (101, 99), (99, 105)):
        assert zone.holds(price(before), price(now))
    assert levels.asked == 1
    levels.numbers = (90, 104)
    zone.forget()
    assert not zone.holds(price(105), price(103))
    assert levels.asked == 2


@given(
    st.lists(st.integers(1, 60), max_size=4),
    st.lists(st.integers(1, 60), min_size=2, max_size=30),
)
@settings(deadline=None)
def test_no_level_is_ever_touched_in_a_quiet_step(numbers: list[int], path: list[int]) -> None:
    zone = QuietZone(Levels(*numbers))
    for before, now in pairwise(path):
        if zone.holds(price(before), price(now)):
            low, high = min(before, now), max(before, now)
            assert not any(low <= number <= high for number in numbers)
