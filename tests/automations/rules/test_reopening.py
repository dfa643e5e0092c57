"""What is opened anew after a trade was closed to make it smaller: valid, and affordable."""

from datetime import UTC, datetime
from decimal import Decimal
from fractions import Fraction
from typing import Any

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from automations.rules.actions import OpenPosition, ReducePosition
from automations.rules.reopening import gave_back, gives_back, pays_for_itself, rest_of
from exchange import formulas
from exchange.formulas import Side
from exchange.money import Sats, Usd, UsdPerBtc, nearest_tick
from exchange.position import Position, PositionId
from exchange.trade import ClosedTrade, NewTrade
from tests.automations.positions import positions, running

NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)


def back(position: Position, price: UsdPerBtc) -> Sats:
    return gives_back(position, price, formulas.FIRST_TIER_FEE_RATE)


def rest(position: Position, closed: int, price: Decimal | int | str) -> tuple[NewTrade, str]:
    action = ReducePosition(position_id=PositionId("p1"), quantity=Usd(closed), why="test")
    at = UsdPerBtc(Decimal(price))
    made = rest_of(position, action, at, came_back=back(position, at), client_id="hub-1")
    assert isinstance(made.order, NewTrade)
    return made.order, made.why


@pytest.mark.parametrize(
    ("position", "price", "leverage"),
    [
        # 100,100 come back, 1,300 of them are put aside for fees: 600,601 over the rest is 6.079x.
        pytest.param(running(), 100_000, "6.08", id="at the entry"),
        pytest.param(running(), 105_000, "3.91", id="in profit"),
        # 47,416 come back, 1,311 of them are put aside for fees: 632,212 over the rest is 13.713x.
        pytest.param(running(), 95_000, "13.72", id="in loss"),
        pytest.param(running(leverage=1), 95_000, "1", id="never less than 1x"),
        pytest.param(running(leverage=100), 99_100, "100", id="never more than 100x"),
        pytest.param(running(), 90_910, "100", id="in ruin: nothing came back"),
    ],
)
def test_the_rest_keeps_the_margin_that_came_back(
    position: Position, price: int, leverage: str
) -> None:
    order, why = rest(position, 400, price)

    assert order.leverage == Decimal(leverage)
    assert (order.side, order.quantity, order.client_id) == (position.side, 600, "hub-1")
    assert why == "the rest after reducing p1"


@pytest.mark.parametrize(
    ("exits", "kept", "said"),
    [
        pytest.param(
            {"stoploss": 92_000, "takeprofit": 110_000}, (92_000, None, 110_000), "", id="both fit"
        ),
        pytest.param({"stoploss": 95_000}, (None, None, None), "stop at 95000", id="stop at market"),
        pytest.param({"takeprofit": 94_000}, (None, None, None), "profit at 94000", id="profit behind"),
        pytest.param(
            {"stoploss": 70_000}, (None, None, None), "stop at 70000", id="stop beyond liquidation"
        ),
        pytest.param(
            {"stoploss": 93_000, "trailing": Decimal("0.02")}, (None, Decimal("0.02"), None), "",
            id="trails on",
        ),
    ],
)  # fmt: skip
def test_exits_are_passed_again_where_they_fit(
    exits: dict[str, Any], kept: tuple[object, ...], said: str
) -> None:
    prices: dict[str, Any] = {
        name: value if name == "trailing" else UsdPerBtc(Decimal(value))
        for name, value in exits.items()
    }

    order, why = rest(running(Side.BUY, **prices), 400, 95_000)

    assert (order.stoploss, order.trailing, order.takeprofit) == kept
    assert said in why
    assert ("no longer fits" in why) is bool(said)


@given(positions(), st.data())
def test_the_rest_is_valid_and_costs_no_more_than_comes_back(
    position: Position, data: st.DataObject
) -> None:
    """Below 100x; beyond that the exchange lends no more, and nothing is opened."""
    closed = data.draw(st.integers(1, position.quantity - 1))
    gone = data.draw(st.fractions(0, 1).filter(lambda share: share < 1))
    at = position.price_at_margin_used(gone)
    assert at is not None
    price = nearest_tick(at)

    order, _ = rest(position, closed, price)

    assert 1 <= order.leverage <= 100
    affordable = pays_for_itself(OpenPosition(order=order, why=""), price, back(position, price))
    assert affordable is (order.cost_at(price) <= back(position, price))
    assert affordable or order.leverage == 100


@given(positions(), st.data())
def test_the_rest_is_paid_for_by_what_came_back_where_the_market_falls_a_little_meanwhile(
    position: Position, data: st.DataObject
) -> None:
    closed = data.draw(st.integers(1, position.quantity - 1))
    order, _ = rest(position, closed, position.entry)
    assume(order.leverage < 100)

    fallen = nearest_tick(Fraction(position.entry) * Fraction(9991, 10_000))

    assert order.cost_at(fallen) <= back(position, position.entry)


@given(positions(), st.data())
def test_what_came_back_is_in_the_rest_but_for_what_the_market_may_take_meanwhile(
    position: Position, data: st.DataObject
) -> None:
    """A hundredth of leverage is less than 1 % of the margin, from 1x on."""
    closed = data.draw(st.integers(1, position.quantity - 1))
    order, _ = rest(position, closed, position.entry)
    assume(1 < order.leverage < 100)

    assert order.cost_at(position.entry) >= Fraction(98, 100) * back(position, position.entry) - 2


def test_what_came_back_is_what_the_exchange_says() -> None:
    """The trade of 6.5, Ex 2, closed at half a dollar less, and at a lower fee."""
    position = running()
    ended = ClosedTrade(
        id=position.id,
        side=position.side,
        quantity=position.quantity,
        margin=position.margin,
        entry=position.entry,
        exit=UsdPerBtc(Decimal("94999.5")),
        profit=Sats(-52_637),
        opening_fee=Sats(1000),
        closing_fee=Sats(842),
        funding_fees=Sats(0),
        created_at=NOON,
        closed_at=NOON,
        client_id=None,
    )

    assert gave_back(position, ended) == 100_000 + 1_100 - 52_637 - 842


def test_a_short_is_reopened_as_a_short() -> None:
    order, _ = rest(running(Side.SELL, stoploss=UsdPerBtc(Decimal(107_000))), 400, 105_000)

    assert (order.side, order.stoploss) == (Side.SELL, Decimal(107_000))


def test_a_rest_that_too_little_came_back_for_is_told() -> None:
    """A short at 9x with 98 % of its margin lost gives 15,815 sats back; 99 of 100 USD cost more."""
    position = running(Side.SELL, quantity=100, entry=1000, leverage=9)
    order, why = rest(position, 1, 1123)

    assert order.leverage == 100
    at = UsdPerBtc(Decimal(1123))
    assert not pays_for_itself(OpenPosition(order=order, why=why), at, back(position, at))
