"""What the trigger book fires, compared with looking at every trigger."""

import threading
from collections import Counter
from collections.abc import Iterator
from datetime import UTC, datetime
from decimal import Decimal
from random import Random

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from automations.crossing import Crossing, TickCell
from automations.triggers import Direction, Level, Trigger, TriggerBook
from exchange.market import Quote, Source
from exchange.money import UsdPerBtc
from exchange.position import PositionId
from tests.waiting import wait_until


def trigger(
    at: Decimal | int,
    direction: Direction = Direction.FALLING,
    *,
    account: int = 1,
    position: str = "p",
    by_index: bool = False,
) -> Trigger:
    return Trigger(
        account_id=account,
        automation_id=7,
        position_id=PositionId(position),
        by_index=by_index,
        level=Level(price=UsdPerBtc(Decimal(at)), direction=direction),
    )


def price(value: int) -> UsdPerBtc:
    return UsdPerBtc(Decimal(value))


def at(book: TriggerBook, value: int) -> list[Trigger]:
    """Cross with one price alone."""
    return book.cross(price(value), price(value))


def test_a_fall_fires_what_it_passed_nearest_first() -> None:
    book = TriggerBook()
    near, far, spared = trigger(95), trigger(90), trigger(80)
    book.arm(1, [far, spared, near])

    assert at(book, 85) == [near, far]


def test_a_rise_fires_what_it_passed_nearest_first() -> None:
    book = TriggerBook()
    near, far = trigger(105, Direction.RISING), trigger(110, Direction.RISING)
    book.arm(1, [far, near])

    assert at(book, 110) == [near, far]


def test_a_level_is_reached_by_touching_it() -> None:
    book = TriggerBook()
    book.arm(1, [trigger(95)])

    assert at(book, 96) == []
    assert at(book, 95) == [trigger(95)]


def test_a_trigger_fires_once_until_it_is_armed_again() -> None:
    book = TriggerBook()
    book.arm(1, [trigger(95)])
    at(book, 90)

    assert at(book, 90) == []
    book.arm(1, [trigger(95)])
    assert at(book, 90) == [trigger(95)]


def test_arming_replaces_what_the_account_had_and_leaves_others_alone() -> None:
    book = TriggerBook()
    other = trigger(95, account=2)
    book.arm(1, [trigger(95), trigger(94)])
    book.arm(2, [other])

    book.arm(1, [trigger(93)])

    assert len(book) == 2
    assert at(book, 90) == [other, trigger(93)]


def test_a_move_both_ways_fires_each_level_between_its_ends_once() -> None:
    book = TriggerBook()
    low, high = trigger(95), trigger(105, Direction.RISING)
    book.arm(1, [low, high, trigger(80), trigger(120, Direction.RISING)])

    assert book.cross(price(90), price(110)) == [low, high]
    assert book.cross(price(90), price(110)) == []


def test_a_level_that_the_price_stands_beyond_when_armed_is_reached() -> None:
    book = TriggerBook()
    at(book, 90)

    book.arm(1, [trigger(95)])

    assert at(book, 90) == [trigger(95)]


def test_triggers_at_one_price_fire_in_the_order_they_were_armed() -> None:
    book = TriggerBook()
    first, second, third = (trigger(95, account=account) for account in (3, 1, 2))
    for each in (first, second, third):
        book.arm(each.account_id, [each])

    book.arm(3, [trigger(95, account=3)])

    assert at(book, 95) == [first, second, third]


def test_a_trigger_given_twice_fires_once() -> None:
    book = TriggerBook()
    book.arm(1, [trigger(95), trigger(95)])

    assert len(book) == 1
    assert at(book, 95) == [trigger(95)]


def test_arming_again_brings_back_what_fired_beside_what_did_not() -> None:
    book = TriggerBook()
    near, far = trigger(95), trigger(90)
    book.arm(1, [near, far])
    at(book, 92)

    book.arm(1, [near, far])

    assert len(book) == 2
    assert at(book, 90) == [near, far]


def test_triggers_that_cannot_be_told_to_the_end_change_nothing() -> None:
    book = TriggerBook()
    book.arm(1, [trigger(95)])

    def broken() -> Iterator[Trigger]:
        yield trigger(80)
        raise ValueError("no more")

    with pytest.raises(ValueError, match="no more"):
        book.arm(1, broken())

    assert at(book, 1) == [trigger(95)]


def test_a_disarmed_account_fires_nothing() -> None:
    book = TriggerBook()
    book.arm(1, [trigger(95)])

    book.disarm(1)

    assert at(book, 1) == []
    assert len(book) == 0


accounts = st.integers(min_value=1, max_value=3)
# Equal prices need not be written alike.
levels = st.builds(
    lambda half_dollars, places: (Decimal(half_dollars) / 2).quantize(Decimal(1).scaleb(-places)),
    st.integers(min_value=2, max_value=16),
    st.integers(min_value=1, max_value=3),
)
drawn = st.builds(
    trigger,
    levels,
    st.sampled_from(Direction),
    account=accounts,
    position=st.sampled_from("abc"),
    by_index=st.booleans(),
)


class AgainstBruteForce(RuleBasedStateMachine):
    """The book, beside a set of triggers of which every one is looked at each time."""

    def __init__(self) -> None:
        super().__init__()
        self.book = TriggerBook()
        self.plain: set[Trigger] = set()
        self.last: dict[int, set[Trigger]] = {}

    @rule(account=accounts, triggers=st.lists(drawn, max_size=8))
    def arm(self, account: int, triggers: list[Trigger]) -> None:
        mine = [one for one in triggers if one.account_id == account]
        self.book.arm(account, mine)
        self.plain = {one for one in self.plain if one.account_id != account} | set(mine)
        self.last[account] = set(mine)

    @rule(account=accounts, added=st.lists(drawn, max_size=2))
    def arm_what_was_armed_and_more(self, account: int, added: list[Trigger]) -> None:
        self.arm(account, [*self.last.get(account, ()), *added])

    @rule(account=accounts)
    def disarm(self, account: int) -> None:
        self.book.disarm(account)
        self.last[account] = set()
        self.plain = {one for one in self.plain if one.account_id != account}

    @rule(account=accounts, data=st.data())
    def put_back_what_fired(self, account: int, data: st.DataObject) -> None:
        spent = [one for one in self.last.get(account, ()) if one not in self.plain]
        if spent and all(self.book.wants(one) for one in spent):
            one = data.draw(st.sampled_from(sorted(spent, key=repr)))
            self.book.put_back(one)
            self.plain.add(one)

    @rule(account=accounts)
    def arm_the_same_while_what_fired_rests(self, account: int) -> None:
        mine = self.last.get(account, set())
        self.book.arm(account, mine, resting=mine - self.plain)
        assert all(self.book.wants(one) for one in mine)

    @rule(prices=st.lists(levels, min_size=1, max_size=4), indexes=st.lists(levels, max_size=2))
    def move(self, prices: list[Decimal], indexes: list[Decimal]) -> None:
        both = [*prices, *indexes]
        due = {
            one
            for one in self.plain
            if any(reached(one, each) for each in (both if one.by_index else prices))
        }
        fired = self.book.cross(
            UsdPerBtc(min(prices)),
            UsdPerBtc(max(prices)),
            lowest_of_both=UsdPerBtc(min(both)),
            highest_of_both=UsdPerBtc(max(both)),
        )
        assert Counter(fired) == Counter(due)
        assert fired == sorted(fired, key=nearness)
        self.plain -= due

    @invariant()
    def knows_how_many_are_armed(self) -> None:
        assert len(self.book) == len(self.plain)


def reached(one: Trigger, price: Decimal) -> bool:
    falling = one.level.direction is Direction.FALLING
    return price <= one.level.price if falling else price >= one.level.price


def nearness(one: Trigger) -> tuple[bool, bool, Decimal]:
    rising = one.level.direction is Direction.RISING
    return rising, one.by_index, one.level.price if rising else -one.level.price


TestAgainstBruteForce = AgainstBruteForce.TestCase
TestAgainstBruteForce.settings = settings(max_examples=100, stateful_step_count=30, deadline=None)


def test_nothing_is_lost_or_doubled_by_arming_while_ticks_flow() -> None:
    """What stayed armed fires once; what was replaced in between once at most."""
    fired: list[Trigger] = []
    crossing, cell, stop = Crossing(lambda one, _tick: fired.append(one)), TickCell(), threading.Event()

    def look() -> None:
        while not stop.is_set():
            if (ticks := cell.take(timeout_s=0.05)) is not None:
                crossing.look(ticks)

    def tick(value: int) -> None:
        at = datetime(2026, 8, 1, tzinfo=UTC)
        cell.put(Quote(price=price(value), at=at, time_ms=0, source=Source.STREAM))

    looking = threading.Thread(target=look, daemon=True)
    looking.start()
    random, replaced, standing = Random(5), set[Trigger](), dict[int, set[Trigger]]()  # noqa: S311 - no secret
    for generation in range(1500):
        account = random.randrange(20)
        mine = {
            trigger(random.randint(1, 200), way, account=account, position=f"{generation}")
            for way in Direction
        }
        replaced |= standing.get(account, set())
        standing[account] = mine
        crossing.arm(account, mine)
        tick(random.randint(80, 120))
    tick(1)
    tick(200)
    wait_until(lambda: len(crossing) == 0, what="everything fired")
    stop.set()
    looking.join(20)

    stayed = set().union(*standing.values())
    assert max(Counter(fired).values()) == 1
    assert stayed <= set(fired) <= stayed | replaced
