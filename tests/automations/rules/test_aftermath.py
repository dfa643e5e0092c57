"""What actions leave, by the numbers of the API notes."""

from dataclasses import replace
from datetime import UTC, datetime
from decimal import Decimal
from fractions import Fraction
from typing import Any

import pytest

from automations.rules.actions import (
    Action,
    AddMargin,
    ClosePosition,
    Notify,
    OpenPosition,
    ReducePosition,
    SetStopLoss,
    SetTakeProfit,
    SetTrailingStop,
)
from automations.rules.aftermath import Aftermath, Circumstances, foresee
from exchange.cross import CrossPosition, NewCrossOrder
from exchange.formulas import Side
from exchange.money import Sats, Usd, UsdPerBtc
from exchange.position import Position, PositionId
from exchange.trade import NewTrade
from tests.automations.positions import running

RATE = Decimal("0.001")
P1 = PositionId("p1")


def left(
    action: Action, position: Position | None, price: int, cross: CrossPosition | None = None
) -> Aftermath:
    at = Circumstances(price=UsdPerBtc(Decimal(price)), fee_rate=RATE, position=position, cross=cross)
    return foresee(action, at)


def position_after(action: Action, price: int = 95_000) -> Position:
    after = left(action, running(), price).position
    assert after is not None
    return after


def test_a_word_to_the_owner_leaves_everything() -> None:
    assert left(Notify(position_id=P1, why=""), running(), 95_000) == Aftermath(position=running())


def test_added_margin_leaves_the_balance_and_moves_liquidation_away() -> None:
    after = left(AddMargin(position_id=P1, why="", amount=Sats(50_000)), running(), 95_000)

    assert after.position is not None
    assert (after.position.liquidation, after.balance_change) == (Decimal("86956.5"), -50_000), "6.9"


def test_exits_are_what_was_set() -> None:
    stop = SetStopLoss(position_id=P1, why="", price=UsdPerBtc(Decimal(92_000)))
    profit = SetTakeProfit(position_id=P1, why="", price=UsdPerBtc(Decimal(99_000)))
    trailing = SetTrailingStop(position_id=P1, why="", distance=Fraction(2, 100))

    assert position_after(stop).stoploss == 92_000
    assert position_after(profit).takeprofit == 99_000
    trailed = position_after(trailing, price=100_000)
    assert (trailed.stoploss, trailed.trailing) == (Decimal(98_000), Decimal("0.02")), "6.10"


@pytest.mark.parametrize(
    ("price", "profit", "fee", "returned"),
    [
        pytest.param(105_000, 47_619, 952, 147_767, id="6.5, closed in profit"),
        pytest.param(95_000, -52_632, 1052, 47_416, id="6.5, closed at a loss"),
        pytest.param(90_909, -100_001, 1100, 0, id="6.5, at liquidation nothing comes back"),
    ],
)
def test_a_closed_trade_gives_back_what_is_left(
    price: int, profit: int, fee: int, returned: int
) -> None:
    after = left(ClosePosition(position_id=P1, why=""), running(), price)

    assert after == Aftermath(
        position=None, profit=Sats(profit), fees=Sats(fee), balance_change=Sats(returned)
    )


def test_reducing_an_isolated_trade_costs_both_fees_and_realises_all() -> None:
    """The example of 7.1 A: 40 % of 1,000 USD, bought at 100,000, at 95,000."""
    after = left(ReducePosition(position_id=P1, why="", quantity=Usd(400)), running(), 95_000)

    assert (after.fees, after.profit) == (1052 + 631, -52_632)
    assert after.position is not None
    assert (after.position.quantity, after.position.entry) == (600, Decimal(95_000))


def trade(**changes: Any) -> OpenPosition:
    fields: dict[str, Any] = {"side": Side.BUY, "leverage": Decimal(10), "quantity": Usd(1000)}
    return OpenPosition(order=NewTrade(**(fields | changes)), why="")


def test_an_opened_trade_takes_margin_and_both_reserves() -> None:
    after = left(trade(), None, 100_000)

    assert after.position is not None
    assert (after.position.margin, after.position.liquidation) == (100_000, Decimal(90_909))
    assert (after.position.maintenance_margin, after.balance_change) == (1_100, -102_100), "6.4"
    assert after.refused is None


def test_a_trade_for_a_margin_buys_whole_contracts_at_its_limit() -> None:
    limited = trade(quantity=None, margin=Sats(10_000), limit=UsdPerBtc(Decimal(50_000)))
    after = left(limited, None, 100_000)

    assert after.position is not None
    assert (after.position.quantity, after.position.entry) == (50, Decimal(50_000))


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        pytest.param({"quantity": None, "margin": Sats(1)}, "too small", id="buys no contract"),
        pytest.param({"stoploss": UsdPerBtc(Decimal(90_000))}, "a stop at 90000", id="stop too far"),
        pytest.param({"takeprofit": UsdPerBtc(Decimal(99_000))}, "a take profit", id="profit behind"),
    ],
)
def test_a_trade_that_would_be_refused_says_why(changes: dict[str, Any], says: str) -> None:
    refused = left(trade(**changes), None, 100_000).refused

    assert refused is not None
    assert says in refused


def test_a_trade_may_begin_with_a_trailing_stop() -> None:
    after = left(trade(trailing=Decimal("0.02")), None, 100_000)

    assert after.position is not None
    assert after.position.stoploss == 98_000


def crossed(
    side: Side | None = Side.BUY, *, quantity: int = 1000, margin: int = 500_000, leverage: int = 10
) -> CrossPosition:
    """Return a cross position from 100,000, or a flat one."""
    return CrossPosition(
        side=side,
        quantity=Usd(quantity if side else 0),
        leverage=leverage,
        margin=Sats(margin),
        entry=UsdPerBtc(Decimal(100_000)) if side else None,
        liquidation=UsdPerBtc(Decimal("66733.5")) if side else None,
        running_margin=Sats(100_000),
        maintenance_margin=Sats(1_500 if side else 0),
        initial_margin=Sats(0),
        trading_fees=Sats(0),
        funding_fees=Sats(0),
        total_profit=Sats(0),
        delta_profit=Sats(0),
        updated_at=datetime(2026, 1, 1, tzinfo=UTC),
    )


def order(side: Side, quantity: int, **changes: Any) -> OpenPosition:
    return OpenPosition(order=NewCrossOrder(side=side, quantity=Usd(quantity), **changes), why="")


def test_an_order_on_a_flat_cross_position_opens_it() -> None:
    after = left(order(Side.BUY, 1000), None, 100_000, crossed(None, margin=501_000))

    assert after.position is not None
    assert (after.position.liquidation, after.position.maintenance_margin) == (Decimal("66733.5"), 1500)
    assert (after.fees, after.balance_change, after.refused) == (1000, 0, None), "6.12, 1"


def test_a_cross_order_averages_the_entry_at_its_limit() -> None:
    limited = order(Side.BUY, 2000, limit=UsdPerBtc(Decimal(50_000)))
    after = left(limited, None, 100_000, crossed(margin=5_000_000))

    assert after.position is not None
    assert after.position.entry == 60_000, "6.12, 4"


@pytest.mark.parametrize(
    ("price", "entry", "profit", "fee"),
    [
        pytest.param(105_000, 100_000, 19_048, 380, id="6.12, 5: a gain goes to the margin"),
        pytest.param(90_000, 108_000, 0, 444, id="6.12, 6: the rest carries a loss"),
    ],
)
def test_reducing_the_cross_position(price: int, entry: int, profit: int, fee: int) -> None:
    held = crossed().running()
    reduce = ReducePosition(position_id=P1, why="", quantity=Usd(400))
    ordered = order(Side.SELL, 400)

    after = left(reduce, held, price)

    assert after.position is not None
    assert (after.position.quantity, after.position.entry) == (600, Decimal(entry))
    assert (after.profit, after.fees, after.balance_change) == (profit, fee, 0)
    assert left(ordered, None, price, crossed()) == after, "an opposite order does the same"


def test_a_loss_that_no_entry_can_carry_leaves_the_cross_margin() -> None:
    """10 USD are 11,111 sats at 90,000, which the whole loss of 111,111 is more than."""
    held = crossed().running()

    after = left(ReducePosition(position_id=P1, why="", quantity=Usd(990)), held, 90_000)

    assert after.position is not None
    assert (after.position.quantity, after.position.entry) == (10, Decimal(100_000))
    assert (after.profit, after.fees) == (-110_000, 1_100)
    assert after.position.margin + after.position.maintenance_margin == 500_000 - 110_000 - 1_100


def test_closing_the_cross_position_leaves_none() -> None:
    after = left(ClosePosition(position_id=P1, why=""), crossed().running(), 105_000)

    assert (after.position, after.profit, after.balance_change) == (None, Sats(47_619), Sats(0))
    assert left(order(Side.SELL, 1000), None, 105_000, crossed()) == after


def test_a_larger_opposite_order_turns_the_cross_position() -> None:
    after = left(order(Side.SELL, 1500), None, 105_000, crossed())

    assert after.position is not None
    assert (after.position.side, after.position.quantity) == (Side.SELL, 500)
    assert (after.position.entry, after.profit) == (Decimal(105_000), 47_619)


def test_a_cross_order_beyond_the_margin_would_be_refused() -> None:
    after = left(order(Side.BUY, 10_000), None, 100_000, crossed(None, margin=50_000))

    assert after.refused is not None
    assert "1,000,000 sats" in after.refused


def test_a_reduction_on_a_thin_cross_margin_is_no_matter_of_margin() -> None:
    thin = replace(crossed(), margin=Sats(20_000))

    assert left(order(Side.SELL, 400), None, 100_000, thin).refused is None
