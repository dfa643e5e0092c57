"""What fired comes back by time: after a rest, or when a cooldown ends, and never with every tick."""

from math import inf

import pytest

from automations.crossing import LONGEST_REST_S, RESTS_S, Crossing, Range
from exchange.position import PositionId
from tests.automations.test_crossing import Fired, between, by_index, fired, tick
from tests.automations.test_triggers import trigger

__all__ = ["fired"]


@pytest.fixture
def moment() -> list[float]:
    """Seconds on the clock of `timed`, to be moved."""
    return [7.0]


@pytest.fixture
def timed(fired: Fired, moment: list[float]) -> Crossing:
    """With one trigger at 95, which has just fired at 90."""
    crossing = Crossing(lambda trigger, tick: fired.append((trigger, tick)), clock=lambda: moment[0])
    crossing.arm(1, [trigger(95)])
    assert crossing.look(between(90, 90)) == 1
    fired.clear()
    return crossing


def test_what_fired_rests_whatever_is_read_or_ticks_meanwhile(
    timed: Crossing, moment: list[float]
) -> None:
    timed.arm(1, [trigger(95)])
    assert timed.look(between(89, 89)) == 0
    moment[0] += RESTS_S - 0.1

    assert timed.look_again(tick(88)) == 0
    timed.arm(1, [trigger(95)])
    assert timed.look(between(88, 88)) == 0


def test_what_fired_fires_again_by_time_if_the_price_is_still_beyond(
    timed: Crossing, fired: Fired, moment: list[float]
) -> None:
    assert timed.due_in_s() == pytest.approx(RESTS_S)
    moment[0] += RESTS_S

    assert timed.look_again(tick(90, 5)) == 1

    assert fired == [(trigger(95), tick(90, 5))]


def test_what_fired_is_armed_by_time_if_the_price_has_come_back(
    timed: Crossing, fired: Fired, moment: list[float]
) -> None:
    moment[0] += RESTS_S

    assert timed.look_again(tick(96)) == 0
    assert len(timed) == 1
    assert timed.due_in_s() == inf

    assert timed.look(between(94, 94)) == 1
    assert fired == [(trigger(95), tick(94))]


def test_without_a_fresh_price_what_fired_waits_for_a_tick(
    timed: Crossing, moment: list[float]
) -> None:
    moment[0] += RESTS_S

    assert timed.look_again(None) == 0

    assert timed.look(between(90, 90)) == 1


def test_what_is_no_longer_armed_does_not_come_back(timed: Crossing, moment: list[float]) -> None:
    timed.arm(1, [trigger(80)])
    moment[0] += RESTS_S

    assert timed.look_again(tick(90)) == 0
    assert len(timed) == 1


def test_looks_that_lead_to_nothing_come_more_rarely_until_the_price_gets_worse(
    timed: Crossing, moment: list[float]
) -> None:
    waited: list[float] = []
    for price in (90, 90, 90, 89, 89):
        waited.append(timed.due_in_s())
        moment[0] += timed.due_in_s()
        assert timed.look_again(tick(price)) == 1

    assert waited == pytest.approx([1, 2, LONGEST_REST_S, LONGEST_REST_S, 1])


def test_when_a_cooldown_ends_somebody_looks_at_once_and_not_before(
    timed: Crossing, moment: list[float]
) -> None:
    timed.cool_down(7, PositionId("p"), 2.5)
    ends_s = moment[0] + 2.5
    while moment[0] + timed.due_in_s() < ends_s:
        moment[0] += timed.due_in_s()
        assert timed.look_again(tick(90)) == 0

    moment[0] += timed.due_in_s()

    assert moment[0] == pytest.approx(ends_s)
    assert timed.look_again(tick(90)) == 1
    assert timed.due_in_s() == pytest.approx(RESTS_S)


def test_a_cooldown_shorter_than_the_usual_rest_ends_it(timed: Crossing, moment: list[float]) -> None:
    timed.cool_down(7, PositionId("p"), 0.25)

    assert timed.due_in_s() == pytest.approx(0.25)
    moment[0] += 0.25
    assert timed.look_again(tick(90)) == 1


@pytest.mark.parametrize(("price", "fires"), [(90, 0), (91, 0), (89, 1)])
def test_danger_that_is_worse_than_at_the_last_look_is_looked_at_during_a_cooldown(
    timed: Crossing, moment: list[float], price: int, fires: int
) -> None:
    timed.cool_down(7, PositionId("p"), 30)
    moment[0] += RESTS_S

    assert timed.look_again(tick(price)) == fires


@pytest.mark.parametrize(
    ("for_s", "due_s"),
    [
        pytest.param(-3, 0.05, id="over already: at once, but not in a circle"),
        pytest.param(10**6, 60, id="never longer than a minute"),
    ],
)
def test_no_word_of_a_cooldown_takes_a_look_away_for_ever(
    timed: Crossing, moment: list[float], for_s: float, due_s: float
) -> None:
    begun_s = moment[0]
    timed.cool_down(7, PositionId("p"), for_s)
    fired = 0
    while not fired:
        moment[0] += timed.due_in_s()
        fired = timed.look_again(tick(90))

    assert moment[0] - begun_s == pytest.approx(due_s)


@pytest.mark.parametrize(("automation", "position"), [(8, "p"), (7, "q")])
def test_a_cooldown_holds_back_nothing_else(
    timed: Crossing, moment: list[float], automation: int, position: str
) -> None:
    timed.cool_down(automation, PositionId(position), 30)
    moment[0] += RESTS_S

    assert timed.look_again(tick(90)) == 1


def test_who_waits_for_ticks_is_woken_by_word_of_a_worker(fired: Fired) -> None:
    woken: list[bool] = []
    crossing = Crossing(lambda *it: fired.append(it), wake=lambda: woken.append(True))

    crossing.cool_down(7, None, 1)
    assert woken == [True]

    crossing.arm(1, [trigger(95)])
    assert woken == [True], "a reading wakes nobody"
    crossing.arm(1, [trigger(95)], wakes=True)
    assert woken == [True, True]


def test_while_the_index_stays_beyond_a_level_its_guard_is_not_fired_by_every_tick(
    fired: Fired, moment: list[float]
) -> None:
    crossing = Crossing(lambda trigger, tick: fired.append((trigger, tick)), clock=lambda: moment[0])
    crossing.arm(1, [by_index(95)])
    for number in range(100):
        crossing.look(Range.of(tick(100, number, index=94)))
        crossing.look_again(tick(100, number, index=94))
        moment[0] += 0.125

    assert [each.time_ms for _, each in fired] == [0, 8, 24, 56, 88]
