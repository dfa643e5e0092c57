"""What the trigger book fires, compared with looking at every trigger."""

from decimal import Decimal

from hypothesis import given
from hypothesis import strategies as st

from automations.triggers import Direction, Level, Trigger, TriggerBook
from exchange.money import UsdPerBtc
from exchange.position import PositionId


def trigger(
    at: int, direction: Direction = Direction.FALLING, *, account: int = 1, position: str = "p"
) -> Trigger:
    return Trigger(
        account_id=account,
        automation_id=7,
        position_id=PositionId(position),
        level=Level(price=UsdPerBtc(Decimal(at)), direction=direction),
    )


def price(value: int) -> UsdPerBtc:
    return UsdPerBtc(Decimal(value))


def test_a_fall_fires_what_it_passed_nearest_first() -> None:
    book = TriggerBook()
    near, far, spared = trigger(95), trigger(90), trigger(80)
    book.arm(1, [far, spared, near])

    assert book.cross(price(85)) == [near, far]


def test_a_rise_fires_what_it_passed_nearest_first() -> None:
    book = TriggerBook()
    near, far = trigger(105, Direction.RISING), trigger(110, Direction.RISING)
    book.arm(1, [far, near])

    assert book.cross(price(110)) == [near, far]


def test_a_level_is_reached_by_touching_it() -> None:
    book = TriggerBook()
    book.arm(1, [trigger(95)])

    assert book.cross(price(96)) == []
    assert book.cross(price(95)) == [trigger(95)]


def test_a_trigger_fires_once_until_it_is_armed_again() -> None:
    book = TriggerBook()
    book.arm(1, [trigger(95)])
    book.cross(price(90))

    assert book.cross(price(90)) == []
    book.arm(1, [trigger(95)])
    assert book.cross(price(90)) == [trigger(95)]


def test_arming_replaces_what_the_account_had_and_leaves_others_alone() -> None:
    book = TriggerBook()
    other = trigger(95, account=2)
    book.arm(1, [trigger(95), trigger(94)])
    book.arm(2, [other])

    book.arm(1, [trigger(93)])

    assert len(book) == 2
    assert book.cross(price(90)) == [other, trigger(93)]


def test_a_disarmed_account_fires_nothing() -> None:
    book = TriggerBook()
    book.arm(1, [trigger(95)])

    book.disarm(1)

    assert book.cross(price(1)) == []
    assert len(book) == 0


levels = st.integers(min_value=1, max_value=20)
armed = st.builds(
    trigger,
    levels,
    st.sampled_from(Direction),
    account=st.integers(min_value=1, max_value=3),
    position=st.sampled_from("abc"),
)


def reached(one: Trigger, at: int) -> bool:
    falling = one.level.direction is Direction.FALLING
    return at <= one.level.price if falling else at >= one.level.price


@given(
    st.lists(
        st.one_of(levels, st.tuples(st.integers(min_value=1, max_value=3), st.lists(armed, max_size=8)))
    )
)
def test_fires_exactly_what_a_look_at_every_trigger_would(
    steps: list[int | tuple[int, list[Trigger]]],
) -> None:
    book, plain = TriggerBook(), set[Trigger]()
    for step in steps:
        if isinstance(step, int):
            due = {one for one in plain if reached(one, step)}
            fired = book.cross(price(step))
            assert set(fired) == due
            assert len(fired) == len(due)
            plain -= due
        else:
            account, drawn = step
            mine = {one for one in drawn if one.account_id == account}
            book.arm(account, mine)
            plain = {one for one in plain if one.account_id != account} | mine
        assert len(book) == len(plain)
