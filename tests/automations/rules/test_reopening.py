"""What is opened anew after a trade was closed to make it smaller: valid, and affordable."""

from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from automations.rules.actions import OpenPosition, ReducePosition
from automations.rules.reopening import pays_for_itself, rest_of
from exchange import formulas
from exchange.formulas import Side
from exchange.money import Usd, UsdPerBtc, nearest_tick
from exchange.position import Position, PositionId
from exchange.trade import NewTrade
from tests.automations.positions import positions, running


def rest(position: Position, closed: int, price: Decimal | int | str) -> tuple[NewTrade, str]:
    action = ReducePosition(position_id=PositionId("p1"), quantity=Usd(closed), why="test")
    made = rest_of(position, action, UsdPerBtc(Decimal(price)), client_id="hub-1")
    assert isinstance(made.order, NewTrade)
    return made.order, made.why


@pytest.mark.parametrize(
    ("position", "price", "leverage"),
    [
        pytest.param(running(), 100_000, "10", id="at the entry: its own"),
        pytest.param(running(), 105_000, "10", id="in profit: its own"),
        pytest.param(running(leverage=Decimal("7.6919")), 100_000, "7.69", id="in hundredths"),
        pytest.param(running(leverage=2), 95_000, "2", id="margin enough for its own"),
        # 47,416 come back, 1,290 of them are put aside for fees: 63,158 over the rest is 13.692x.
        pytest.param(running(), 95_000, "13.70", id="in loss: what came back must do"),
        pytest.param(running(leverage=100), 99_100, "100", id="never more than 100x"),
        pytest.param(running(), 90_910, "100", id="in ruin: nothing came back"),
    ],
)
def test_the_rest_keeps_its_leverage_where_the_close_gives_enough_back(
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
    fee = formulas.fee(position.quantity, price, formulas.FIRST_TIER_FEE_RATE)
    profit = formulas.profit_sats(position.side, position.quantity, position.entry, price)
    back = position.margin + position.maintenance_margin + profit - fee
    affordable = pays_for_itself(position, OpenPosition(order=order, why=""), price)
    assert affordable is (order.cost_at(price) <= back)
    assert affordable or order.leverage == 100


def test_a_short_is_reopened_as_a_short() -> None:
    order, _ = rest(running(Side.SELL, stoploss=UsdPerBtc(Decimal(107_000))), 400, 105_000)

    assert (order.side, order.stoploss) == (Side.SELL, Decimal(107_000))


def test_a_rest_that_too_little_came_back_for_is_told() -> None:
    """A short at 9x with 98 % of its margin lost gives 15,815 sats back; 99 of 100 USD cost more."""
    position = running(Side.SELL, quantity=100, entry=1000, leverage=9)
    order, why = rest(position, 1, 1123)

    assert order.leverage == 100
    assert not pays_for_itself(position, OpenPosition(order=order, why=why), UsdPerBtc(Decimal(1123)))
