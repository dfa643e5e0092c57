"""When a trade is opened, and what is asked of the exchange."""

from decimal import Decimal
from fractions import Fraction
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from automations.rules.actions import Hold, OpenPosition
from automations.rules.auto_entry import EntryConfig, Missed, Order
from automations.triggers import Direction
from exchange.cross import NewCrossOrder
from exchange.formulas import Side
from exchange.money import MAX_PRICE, TICK, Sats, Usd, UsdPerBtc
from exchange.position import Regime
from exchange.trade import NewTrade
from tests.automations.positions import prices


def price(value: str | int | Decimal) -> UsdPerBtc:
    return UsdPerBtc(Decimal(value))


def entry(**changes: Any) -> EntryConfig:
    fields: dict[str, Any] = {"side": Side.BUY, "leverage": Decimal(10), "quantity": Usd(100)}
    return EntryConfig(**(fields | changes))


@pytest.mark.parametrize(
    ("side", "breakout", "at", "opens"),
    [
        pytest.param(Side.BUY, False, 100_000, True, id="buys at the trigger"),
        pytest.param(Side.BUY, False, 99_000, True, id="buys below it"),
        pytest.param(Side.BUY, False, "100000.5", False, id="not one tick above"),
        pytest.param(Side.SELL, False, 100_000, True, id="sells at the trigger"),
        pytest.param(Side.SELL, False, "99999.5", False, id="not one tick below"),
        pytest.param(Side.BUY, True, 100_000, True, id="buys the breakout upwards"),
        pytest.param(Side.BUY, True, "99999.5", False, id="no breakout yet"),
        pytest.param(Side.SELL, True, 99_000, True, id="sells the breakout downwards"),
    ],
)
def test_opens_once_the_price_comes(side: Side, breakout: bool, at: str | int, opens: bool) -> None:
    config = entry(side=side, breakout=breakout, trigger=price(100_000))

    decision = config.decide(price(at))

    assert isinstance(decision, OpenPosition) is opens
    assert opens or decision == Hold(reason="price_not_triggered")


def test_without_a_trigger_it_opens_at_once() -> None:
    decision = entry().decide(price(100_000), client_id="entry-1")

    assert isinstance(decision, OpenPosition)
    assert decision.order == NewTrade(
        side=Side.BUY, leverage=Decimal(10), quantity=Usd(100), client_id="entry-1"
    )


def test_without_a_trigger_every_price_is_reached() -> None:
    assert entry().reached(price(1))


def test_a_limit_order_rests_at_the_exchange() -> None:
    config = entry(trigger=price(95_000), order=Order.LIMIT, takeprofit=price(99_000))

    decision = config.decide(price(100_000))

    assert isinstance(decision, OpenPosition)
    assert isinstance(decision.order, NewTrade)
    assert (decision.order.limit, decision.order.takeprofit) == (price(95_000), price(99_000))
    assert config.levels()[0].price == MAX_PRICE, "there is nothing to wait for"


def test_on_the_cross_position_it_orders() -> None:
    decision = entry(regime=Regime.CROSS).decide(price(100_000), client_id="entry-1")

    assert isinstance(decision, OpenPosition)
    assert decision.order == NewCrossOrder(side=Side.BUY, quantity=Usd(100), client_id="entry-1")


@pytest.mark.parametrize(
    "changes",
    [
        pytest.param({"quantity": None}, id="no size"),
        pytest.param({"margin": Sats(1000)}, id="two sizes"),
        pytest.param({"quantity": Usd(500_001)}, id="too large"),
        pytest.param({"leverage": Decimal(101)}, id="too much leverage"),
        pytest.param({"trigger": price("0.7")}, id="a trigger off the grid"),
        pytest.param({"order": Order.LIMIT}, id="a limit order without a price"),
        pytest.param({"trigger": price(100), "stoploss": price(101)}, id="a stop on the winning side"),
        pytest.param(
            {"trigger": price(100), "takeprofit": price(99)}, id="a profit on the losing side"
        ),
        pytest.param(
            {"trigger": price(100_000), "stoploss": price(90_900)}, id="a stop beyond liquidation"
        ),
        pytest.param(
            {
                "trigger": price(100_000),
                "stoploss": price(90_000),
                "quantity": None,
                "margin": Sats(5000),
            },
            id="the same, sized by margin",
        ),
        pytest.param({"regime": Regime.CROSS, "stoploss": price(1)}, id="cross has no stop"),
        pytest.param({"regime": Regime.CROSS, "takeprofit": price(1)}, id="cross has no take profit"),
        pytest.param(
            {"trigger": price(100), "quantity": None, "margin": Sats(1)}, id="a margin for no contract"
        ),
        pytest.param(
            {"trigger": MAX_PRICE, "quantity": Usd(1), "leverage": Decimal(100)}, id="no sat of margin"
        ),
        pytest.param(
            {"regime": Regime.CROSS, "quantity": None, "margin": Sats(1000)},
            id="cross is sized in dollars",
        ),
    ],
)
def test_refuses_what_could_never_be_opened(changes: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r"must|need|neither|buys 0"):
        entry(**changes)


@pytest.mark.parametrize(
    ("side", "breakout", "at", "misses"),
    [
        pytest.param(Side.BUY, False, 95_000, False, id="a buy at its trigger"),
        pytest.param(Side.BUY, False, 94_525, False, id="0.5 % below it"),
        pytest.param(Side.BUY, False, "94524.5", True, id="a tick further"),
        pytest.param(Side.BUY, False, 190_000, False, id="not reached, however far"),
        pytest.param(Side.SELL, False, 95_475, False, id="a sale 0.5 % above"),
        pytest.param(Side.SELL, False, "95475.5", True, id="a tick further up"),
        pytest.param(Side.BUY, True, "95475.5", True, id="a breakout that ran away upwards"),
        pytest.param(Side.SELL, True, "94524.5", True, id="a breakout that ran away downwards"),
    ],
)
def test_a_market_that_ran_away_beyond_the_trigger_is_missed(
    side: Side, breakout: bool, at: str | int, misses: bool
) -> None:
    config = entry(side=side, breakout=breakout, trigger=price(95_000), slippage=Fraction(1, 200))

    assert isinstance(config.decide(price(at)), Missed) is misses


def test_without_a_trigger_or_with_a_limit_nothing_is_missed() -> None:
    at_once = entry(slippage=Fraction(1, 200))
    resting = entry(slippage=Fraction(1, 200), trigger=price(95_000), order=Order.LIMIT)

    assert isinstance(at_once.decide(price(1000)), OpenPosition)
    assert isinstance(resting.decide(price(1000)), OpenPosition)


@given(at=prices, trigger=prices, side=st.sampled_from(Side), breakout=st.booleans())
def test_its_level_says_at_every_price_whether_it_opens(
    at: Decimal, trigger: Decimal, side: Side, breakout: bool
) -> None:
    config = entry(side=side, trigger=price(trigger), breakout=breakout)
    (level,) = config.levels()

    falling = level.direction is Direction.FALLING
    expected = at <= level.price if falling else at >= level.price

    assert isinstance(config.decide(price(at)), OpenPosition) is expected
    assert isinstance(config.decide(level.price), OpenPosition)
    before = price(level.price + (TICK if falling else -TICK))
    assert isinstance(config.decide(before), Hold)
