"""The way of a tick: nothing lost between two looks, and each trigger fired with what reached it."""

import threading
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime
from decimal import Decimal
from math import inf

import pytest

from automations.crossing import (
    LONGEST_REST_S,
    RESTS_S,
    Crossing,
    Departures,
    Range,
    TickCell,
)
from automations.triggers import Direction, Trigger
from exchange.market import Quote, Source
from exchange.money import UsdPerBtc
from exchange.position import PositionId
from tests.automations.test_triggers import trigger
from tests.waiting import wait_until


def tick(price: int, time_ms: int = 0, *, index: int | None = None) -> Quote:
    return Quote(
        price=UsdPerBtc(Decimal(price)),
        at=datetime(2026, 8, 1, tzinfo=UTC),
        time_ms=time_ms,
        source=Source.STREAM,
        index=None if index is None else UsdPerBtc(Decimal(index)),
    )


def between(lowest: int, highest: int) -> Range:
    return Range.of(tick(lowest)).with_tick(tick(highest))


def test_a_slow_reader_gets_everything_since_its_last_look_as_one_range() -> None:
    cell = TickCell()
    for number, price in enumerate((100, 90, 120, 110)):
        cell.put(tick(price, number))

    taken = cell.take(timeout_s=0)
    assert taken is not None
    assert (taken.lowest, taken.highest, taken.newest) == (tick(90, 1), tick(120, 2), tick(110, 3))
    assert cell.take(timeout_s=0) is None


def test_a_range_reaches_as_far_as_the_index_of_each_tick() -> None:
    cell = TickCell()
    ticks = [tick(100, 0, index=95), tick(98, 1, index=99), tick(101, 2, index=104)]
    for each in ticks:
        cell.put(each)

    taken = cell.take(timeout_s=0)

    assert taken is not None
    assert (taken.lowest, taken.highest) == (ticks[1], ticks[2])
    assert (taken.lowest_of_both, taken.highest_of_both) == (ticks[0], ticks[2])


def test_a_reader_can_be_woken_without_a_tick() -> None:
    cell = TickCell()
    taken: list[Range | None] = []
    reader = threading.Thread(target=lambda: taken.append(cell.take(timeout_s=10)), daemon=True)
    reader.start()

    cell.wake()

    reader.join(2)
    assert taken == [None]
    assert cell.take(timeout_s=0) is None, "once"


def test_a_range_begins_anew_after_each_look() -> None:
    cell = TickCell()
    cell.put(tick(90))
    cell.take(timeout_s=0)

    cell.put(tick(100))

    assert cell.take(timeout_s=0) == Range.of(tick(100))


def test_of_equal_prices_the_first_one_is_the_one_that_reached() -> None:
    cell = TickCell()
    for number in range(3):
        cell.put(tick(100, number))

    taken = cell.take(timeout_s=0)

    assert taken is not None
    assert (taken.lowest, taken.highest, taken.newest) == (tick(100, 0), tick(100, 0), tick(100, 2))


def test_a_tick_wakes_the_reader_who_waits_for_it() -> None:
    cell = TickCell()
    taken: list[Range | None] = []
    reader = threading.Thread(target=lambda: taken.append(cell.take(timeout_s=10)), daemon=True)
    reader.start()

    cell.put(tick(100))

    reader.join(2)
    assert taken == [between(100, 100)]


def test_no_tick_is_lost_between_a_writer_and_a_reader() -> None:
    cell = TickCell()
    ticks = [tick(1000 + number * 7919 % 997, number) for number in range(3000)]

    def write() -> None:
        for each in ticks:
            cell.put(each)

    threading.Thread(target=write, daemon=True).start()
    seen = 0
    while seen < len(ticks):
        taken = cell.take(timeout_s=5)
        assert taken is not None
        covered = [each.price for each in ticks[seen : taken.newest.time_ms + 1]]
        assert (taken.lowest.price, taken.highest.price) == (min(covered), max(covered))
        seen = taken.newest.time_ms + 1


def test_what_is_urgent_leaves_first_and_the_rest_in_its_order() -> None:
    departures = Departures()
    for account in (1, 2):
        departures.put(trigger(95, account=account), tick(90))
    departures.put(replace(trigger(95, account=3), urgent=True), tick(90))

    left = [departures.take(timeout_s=0) for _ in range(4)]

    assert [each and each[0].account_id for each in left] == [3, 1, 2, None]


def test_a_trigger_that_fires_again_before_it_left_leaves_once() -> None:
    departures = Departures()
    for price in (90, 89):
        departures.put(trigger(95), tick(price))

    assert departures.take(timeout_s=0) == (trigger(95), tick(89))
    assert departures.take(timeout_s=0) is None


Fired = list[tuple[Trigger, Quote]]


@pytest.fixture
def fired() -> Fired:
    return []


@pytest.fixture
def crossing(fired: Fired) -> Crossing:
    return Crossing(lambda trigger, tick: fired.append((trigger, tick)))


def test_a_trigger_fires_with_the_tick_that_reached_it(crossing: Crossing, fired: Fired) -> None:
    low, high, spared = trigger(95), trigger(105, Direction.RISING), trigger(80)
    crossing.arm(1, [low, high, spared])

    assert crossing.look(between(90, 110)) == 2

    assert fired == [(low, tick(90)), (high, tick(110))]
    assert len(crossing) == 1


def test_what_fell_and_came_back_between_two_looks_was_crossed(
    crossing: Crossing, fired: Fired
) -> None:
    crossing.arm(1, [trigger(95)])

    crossing.look(between(90, 100))

    assert fired == [(trigger(95), tick(90))]


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


def test_who_waits_for_ticks_is_woken_by_the_word_of_a_cooldown(fired: Fired) -> None:
    woken: list[bool] = []
    crossing = Crossing(lambda *it: fired.append(it), wake=lambda: woken.append(True))

    crossing.cool_down(7, None, 1)

    assert woken == [True]


def by_index(at: int, direction: Direction = Direction.FALLING) -> Trigger:
    return replace(trigger(at, direction), by_index=True)


def test_the_index_alone_reaches_a_guard_and_nothing_else(crossing: Crossing, fired: Fired) -> None:
    guards = [by_index(95), by_index(105, Direction.RISING)]
    crossing.arm(1, [*guards, trigger(95), trigger(105, Direction.RISING)])

    assert crossing.look(Range.of(tick(100, 1, index=94))) == 1
    assert crossing.look(Range.of(tick(100, 2, index=106))) == 1

    assert fired == [(guards[0], tick(100, 1, index=94)), (guards[1], tick(100, 2, index=106))]
    assert len(crossing) == 2


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


def test_a_level_that_moved_is_armed_at_once(crossing: Crossing, fired: Fired) -> None:
    crossing.arm(1, [trigger(95)])
    crossing.look(between(90, 90))

    crossing.arm(1, [trigger(91)])
    crossing.look(between(90, 90))

    assert [each.level.price for each, _ in fired] == [95, 91]


def test_a_disarmed_account_fires_nothing_and_another_still_does(
    crossing: Crossing, fired: Fired
) -> None:
    crossing.arm(1, [trigger(95, account=1)])
    crossing.arm(2, [trigger(95, account=2)])
    crossing.disarm(1)

    crossing.look(between(90, 90))

    assert [trigger.account_id for trigger, _ in fired] == [2]


def test_arming_need_not_wait_for_a_slow_queue() -> None:
    firing, go_on = threading.Event(), threading.Event()

    def slowly(_trigger: Trigger, _tick: Quote) -> None:
        firing.set()
        go_on.wait(10)

    crossing = Crossing(slowly)
    crossing.arm(1, [trigger(95)])
    looking = threading.Thread(target=lambda: crossing.look(between(90, 90)), daemon=True)
    looking.start()
    assert firing.wait(5)

    armed = threading.Thread(target=lambda: crossing.arm(1, [trigger(80)]), daemon=True)
    armed.start()
    armed.join(2)

    assert not armed.is_alive()
    assert len(crossing) == 1
    go_on.set()
    wait_until(lambda: not looking.is_alive(), what="the look ends")


def test_one_may_arm_while_another_looks(crossing: Crossing, fired: Fired) -> None:
    """Each armed trigger fires exactly once, whoever comes first."""
    accounts = range(200)
    stop = threading.Event()

    def look() -> None:
        while not stop.is_set():
            crossing.look(between(90, 110))

    looking = [threading.Thread(target=look, daemon=True) for _ in range(2)]
    for thread in looking:
        thread.start()
    for account in accounts:
        crossing.arm(account, [trigger(95, account=account)])
    wait_until(lambda: len(crossing) == 0, what="everything fired")
    stop.set()
    for thread in looking:
        thread.join(5)

    assert sorted(trigger.account_id for trigger, _ in fired) == list(accounts)


def test_a_slow_reckoning_of_levels_holds_back_no_tick(crossing: Crossing, fired: Fired) -> None:
    crossing.arm(1, [trigger(95)])

    def slowly() -> Iterator[Trigger]:
        assert crossing.look(between(90, 90)) == 1
        yield trigger(95, account=2)

    crossing.arm(2, slowly())

    assert [trigger.account_id for trigger, _ in fired] == [1]
    assert len(crossing) == 1
