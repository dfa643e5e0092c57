"""A preview in words."""

from decimal import Decimal
from fractions import Fraction

import pytest

from automations import foretelling
from automations.models import MarginGuard
from automations.previewing import preview
from automations.rules.actions import (
    Action,
    ClosePosition,
    Notify,
    OpenPosition,
    ReducePosition,
    SetStopLoss,
    SetTakeProfit,
    SetTrailingStop,
)
from exchange.cross import NewCrossOrder
from exchange.formulas import Side
from exchange.money import Sats, Usd, UsdPerBtc
from exchange.position import Position, PositionId
from exchange.simulator.running import Simulator
from exchange.trade import NewTrade

P1 = PositionId("p1")
PRICE = UsdPerBtc(Decimal(90_000))
TEN = Decimal(10)


@pytest.mark.parametrize(
    ("action", "says"),
    [
        (Notify(position_id=P1, why=""), "tell the owner"),
        (ReducePosition(position_id=P1, why="", quantity=Usd(1400)), "close 1,400 USD of it"),
        (ClosePosition(position_id=P1, why=""), "close it"),
        (SetStopLoss(position_id=P1, why="", price=PRICE), "set the stop to 90,000"),
        (SetTakeProfit(position_id=P1, why="", price=PRICE), "set the take profit to 90,000"),
        (
            SetTrailingStop(position_id=P1, why="", distance=Fraction(1, 40)),
            "let a stop trail by 2.5 %",
        ),
        (
            OpenPosition(order=NewTrade(side=Side.BUY, leverage=TEN, margin=Sats(5000)), why=""),
            "buy for 5,000 sats of margin at 10x",
        ),
        (
            OpenPosition(order=NewCrossOrder(side=Side.SELL, quantity=Usd(5), limit=PRICE), why=""),
            "sell 5 USD on the cross position, resting at 90,000",
        ),
    ],
)
def test_each_action_is_one_sentence(action: Action, says: str) -> None:
    assert foretelling.sentence(action) == says


@pytest.mark.usefixtures("long")
def test_what_holds_for_all_of_it_is_said_first(guard: MarginGuard) -> None:
    guard.enabled, guard.shadow, guard.side = False, True, "sell"

    said = " ".join(foretelling.notes(preview(guard)))

    for part in ("disabled", "shadow", "1 other", "nothing to act on"):
        assert part in said


@pytest.mark.usefixtures("long")
def test_a_guard_of_the_cross_position_is_told_to_have_no_stop_at_the_exchange(
    guard: MarginGuard,
) -> None:
    assert "takes no stop" not in " ".join(foretelling.notes(preview(guard)))

    guard.regime = "cross"

    assert "takes no stop on the cross position" in " ".join(foretelling.notes(preview(guard)))


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"switch": "halted"}, "nothing, instead of: add 20,000 sats of margin: a switch says halted"),
        ({"budget_per_position_sats": 300}, "add 300 sats of margin (20,000 wanted: the limits allow"),
    ],
)
def test_what_limits_an_action_is_said_beside_it(
    venue: Simulator, long: Position, guard: MarginGuard, changes: dict[str, str], says: str
) -> None:
    MarginGuard.objects.update(**changes)
    guard.refresh_from_db()
    venue.set_price(95_000)

    told = "\n".join(foretelling.lines(preview(guard)))

    assert says in told
    assert "95,238 reached: +238 (+0.25 %)" in told
    assert long.id in told
