"""When exits are moved or positions closed, where exits go, and when the owner's hand wins."""

from decimal import Decimal
from fractions import Fraction
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from automations.rules.actions import (
    ClosePosition,
    Disarm,
    Hold,
    SetStopLoss,
    SetTakeProfit,
    SetTrailingStop,
    asks_for_a_look,
)
from automations.rules.memory import Memory
from automations.rules.owners_hand import changed_by_hand
from automations.rules.take_profit_stop_loss import (
    AtPrice,
    Base,
    BreakEven,
    Does,
    ExitConfig,
    FromEntry,
    FromMarket,
    Target,
    Trailing,
    When,
)
from automations.triggers import Direction, Level
from exchange.formulas import Side
from exchange.money import TICK, Sats, UsdPerBtc
from exchange.position import Position, PositionId, Regime
from tests.automations.positions import positions, prices, running

param = pytest.param


def price(value: str | int | Decimal) -> UsdPerBtc:
    return UsdPerBtc(Decimal(value))


def closing(does: Does, threshold: str, **changes: Any) -> ExitConfig:
    when = When.PROFIT if does is Does.CLOSE_TP else When.LOSS
    fields: dict[str, Any] = {"on_exchange": False}
    return ExitConfig(does=does, threshold=Fraction(threshold), when=when, **(fields | changes))


def update(does: Does, target: Target, *, when: When = When.PROFIT, **changes: Any) -> ExitConfig:
    """Return a rule that moves an exit at 20 % of the margin, reached by a long of 10x at 102,041."""
    return ExitConfig(does=does, threshold=Fraction(1, 5), when=when, target=target, **changes)


@pytest.mark.parametrize(
    ("position", "at", "config", "closes"),
    [
        param(
            running(), "102041.0", closing(Does.CLOSE_TP, "0.2"), True,
            id="a long past 20 % of its margin, at 102,040.82",
        ),
        param(running(), "102040.5", closing(Does.CLOSE_TP, "0.2"), False, id="one tick before"),
        param(running(), 95_238, closing(Does.CLOSE_TP, "0.2"), False, id="never on a loss"),
        param(
            running(Side.SELL), 98_039, closing(Does.CLOSE_TP, "0.2"), True, id="a short in profit"
        ),
        param(
            running(), 95_238, closing(Does.CLOSE_SL, "0.5"), True, id="past half its margin lost"
        ),
        param(
            running(), 120_000, closing(Does.CLOSE_SL, "0.5"), False, id="a stop never acts on profit"
        ),
        param(
            running(), 102_041, closing(Does.CLOSE_TP, "0.02", base=Base.NOTIONAL), True,
            id="2 % of the notional is 20 % of a margin at 10x",
        ),
        param(
            running(), 102_040, closing(Does.CLOSE_TP, "0.02", base=Base.NOTIONAL), False,
            id="just before 2 % of the notional",
        ),
    ],
)  # fmt: skip
def test_closes_on_its_own_side_only(
    position: Position, at: str | int, config: ExitConfig, closes: bool
) -> None:
    assert isinstance(config.decide(position, price(at)), ClosePosition) is closes


@pytest.mark.parametrize(
    ("position", "at", "config", "action"),
    [
        param(
            running(), 103_000, update(Does.UPDATE_SL, AtPrice(price=price(101_000))),
            SetStopLoss(position_id=PositionId("p1"), price=price(101_000), why=""), id="at a price",
        ),
        param(
            running(), 103_000, update(Does.UPDATE_SL, FromEntry(share=Fraction(1, 100))),
            SetStopLoss(position_id=PositionId("p1"), price=price(99_000), why=""),
            id="1 % below entry",
        ),
        param(
            running(), 103_001, update(Does.UPDATE_SL, FromMarket(share=Fraction(1, 100))),
            SetStopLoss(position_id=PositionId("p1"), price=price(101_971), why=""),
            id="1 % below the market, 101,970.99, rounded towards it",
        ),
        param(
            running(Side.SELL), 97_001, update(Does.UPDATE_SL, FromMarket(share=Fraction(1, 100))),
            SetStopLoss(position_id=PositionId("p1"), price=price("97971.0"), why=""),
            id="1 % above the market, 97,971.01, rounded towards it",
        ),
        param(
            running(), 103_000, update(Does.UPDATE_SL, BreakEven(fee_rate=Fraction(1, 1000))),
            SetStopLoss(position_id=PositionId("p1"), price=price("100200.5"), why=""),
            id="break-even of a long, 100,200.20, rounded into profit",
        ),
        param(
            running(Side.SELL), 97_000, update(Does.UPDATE_SL, BreakEven(fee_rate=Fraction(1, 1000))),
            SetStopLoss(position_id=PositionId("p1"), price=price(99_800), why=""),
            id="break-even of a short, 99,800.20, rounded into profit",
        ),
        param(
            running(), 103_000, update(Does.UPDATE_SL, Trailing(share=Fraction(1, 50))),
            SetTrailingStop(position_id=PositionId("p1"), distance=Fraction(1, 50), why=""),
            id="a stop that trails by 2 %",
        ),
        param(
            running(), 103_000, update(Does.UPDATE_TP, FromMarket(share=Fraction(1, 50))),
            SetTakeProfit(position_id=PositionId("p1"), price=price(105_060), why=""),
            id="a take profit 2 % above the market",
        ),
        param(
            running(), 97_000,
            update(Does.UPDATE_TP, FromEntry(share=Fraction(1, 100)), when=When.LOSS),
            SetTakeProfit(position_id=PositionId("p1"), price=price(101_000), why=""),
            id="a nearer take profit once in loss",
        ),
        param(
            running(), 97_000,
            update(Does.UPDATE_TP, BreakEven(fee_rate=Fraction(1, 1000)), when=When.EITHER),
            SetTakeProfit(position_id=PositionId("p1"), price=price("100200.5"), why=""),
            id="out at break-even, on either side",
        ),
    ],
)  # fmt: skip
def test_moves_an_exit_to_where_it_was_told(
    position: Position,
    at: int,
    config: ExitConfig,
    action: SetStopLoss | SetTrailingStop | SetTakeProfit,
) -> None:
    decision = config.decide(position, price(at))

    assert not isinstance(decision, Hold)
    assert decision.why
    match decision, action:
        case SetTrailingStop(distance=distance), SetTrailingStop(distance=wanted):
            assert distance == wanted
        case (
            (SetStopLoss(price=level) | SetTakeProfit(price=level)),
            (SetStopLoss(price=wanted_level) | SetTakeProfit(price=wanted_level)),
        ):
            assert type(decision) is type(action)
            assert level == wanted_level
        case _:
            pytest.fail(f"{decision} is not {action}")


@pytest.mark.parametrize(
    ("position", "config", "says"),
    [
        param(
            running(stoploss=price(102_000)), update(Does.UPDATE_SL, AtPrice(price=price(101_000))),
            "would loosen", id="a stop is never loosened unasked",
        ),
        param(
            running(stoploss=price(101_000)), update(Does.UPDATE_SL, AtPrice(price=price(101_000))),
            "already", id="setting the same again would be refused",
        ),
        param(
            running(), update(Does.UPDATE_SL, AtPrice(price=price(104_000))),
            "not between", id="a stop beyond the market",
        ),
        param(
            running(), update(Does.UPDATE_SL, AtPrice(price=price(90_909))),
            "not between", id="a stop at liquidation: one tick must lie between",
        ),
        param(
            running(), update(Does.UPDATE_TP, AtPrice(price=price(102_000))),
            "not beyond", id="a take profit behind the market",
        ),
        param(
            running(takeprofit=price(110_000)), update(Does.UPDATE_TP, AtPrice(price=price(110_000))),
            "already", id="the take profit is there",
        ),
        param(
            running(trailing=Decimal("0.01")), update(Does.UPDATE_SL, Trailing(share=Fraction(1, 50))),
            "already", id="a stop trails closer",
        ),
        param(
            running(stoploss=price(101_000)), update(Does.UPDATE_SL, Trailing(share=Fraction(1, 50))),
            "loosen", id="a stop would begin to trail behind the one that is there",
        ),
        param(
            running(stoploss=price(102_500), trailing=Decimal("0.03")),
            update(Does.UPDATE_SL, Trailing(share=Fraction(1, 50))),
            "loosen", id="a stop that trails by more has come nearer by now",
        ),
        param(
            running(), update(Does.UPDATE_TP, FromMarket(share=Fraction(10_000))),
            "not beyond", id="a take profit beyond all prices",
        ),
    ],
)  # fmt: skip
def test_holds_and_says_why(position: Position, config: ExitConfig, says: str) -> None:
    decision = config.decide(position, price(103_000))

    assert isinstance(decision, Hold)
    assert says in decision.reason


@pytest.mark.parametrize("target", [AtPrice(price=price(101_000)), Trailing(share=Fraction(1, 50))])
def test_a_stop_is_loosened_where_that_was_asked_for(target: Target) -> None:
    config = update(Does.UPDATE_SL, target, may_loosen=True)

    decision = config.decide(running(stoploss=price(102_000)), price(103_000))

    assert isinstance(decision, SetStopLoss | SetTrailingStop)


@pytest.mark.parametrize(
    ("position", "does", "level"),
    [
        param(running(), Does.CLOSE_SL, "95238.5", id="a long's stop, rounded to the market"),
        param(running(Side.SELL), Does.CLOSE_SL, 105_263, id="a short's stop"),
        param(running(), Does.CLOSE_TP, "105263.5", id="a long's take profit, rounded away"),
        param(running(Side.SELL), Does.CLOSE_TP, 95_238, id="a short's take profit"),
        param(
            running(stoploss=price(93_000)),
            Does.CLOSE_SL,
            "95238.5",
            id="tighter than a stop that is there",
        ),
    ],
)
def test_a_closing_level_is_left_with_the_exchange(
    position: Position, does: Does, level: str | int
) -> None:
    config = closing(does, "0.5", on_exchange=True)

    decision = config.decide(position, price(100_000))

    assert isinstance(decision, SetStopLoss | SetTakeProfit)
    assert decision.price == Decimal(level)
    assert config.levels(position)[0].price > 1_000_000, "any price brings a look"


@pytest.mark.parametrize(
    ("position", "does"),
    [
        param(running(stoploss=price(96_000)), Does.CLOSE_SL, id="a tighter stop is there"),
        param(running(takeprofit=price(104_000)), Does.CLOSE_TP, id="an earlier take profit"),
        param(running(regime=Regime.CROSS), Does.CLOSE_SL, id="cross has no stop"),
        param(
            running(liquidation=price(97_000)), Does.CLOSE_SL, id="liquidation comes before the level"
        ),
    ],
)
def test_where_the_exchange_cannot_help_we_watch(position: Position, does: Does) -> None:
    config = closing(does, "0.5", on_exchange=True)

    assert isinstance(config.decide(position, price(100_000)), Hold)


@pytest.mark.parametrize(
    ("memory", "says"),
    [
        param(Memory(stoploss=price(95_000)), "the stop", id="stop removed"),
        param(Memory(takeprofit=price(105_000)), "the take profit", id="take profit removed"),
        param(Memory(trailing=Decimal("0.02")), "trail by 0.02", id="trailing stop removed"),
    ],
)
def test_the_owners_hand_wins(memory: Memory, says: str) -> None:
    config = closing(Does.CLOSE_SL, "0.5", on_exchange=True)

    decision = config.decide(running(), price(100_000), memory)

    assert isinstance(decision, Disarm)
    assert says in decision.reason
    assert config.levels(running(), memory)[0].price > 1_000_000, "until that is written down"


def test_where_it_is_disarmed_nothing_is_done_at_any_price() -> None:
    config, memory = (
        closing(Does.CLOSE_SL, "0.5", on_exchange=True),
        Memory(disarmed="the stop is gone"),
    )

    for at in (120_000, 100_000, 91_000):
        decision = config.decide(running(), price(at), memory)
        assert isinstance(decision, Hold)
        assert "the stop is gone" in decision.reason
        assert not asks_for_a_look(decision)
    assert config.levels(running(), memory) == ()


@pytest.mark.parametrize(
    ("position", "memory", "by_hand"),
    [
        param(
            running(cashed_in=Sats(40_000)), Memory(stoploss=price(95_000), cashed_in=Sats(0)), False,
            id="a stop dropped at a cash-in",
        ),
        param(
            running(cashed_in=Sats(40_000)), Memory(trailing=Decimal("0.02"), cashed_in=Sats(0)), False,
            id="a trailing stop dropped at a cash-in",
        ),
        param(
            running(cashed_in=Sats(40_000)),
            Memory(stoploss=price(95_000), cashed_in=Sats(40_000)), True,
            id="nothing was cashed in since",
        ),
        param(
            running(cashed_in=Sats(40_000)), Memory(stoploss=price(95_000)), True,
            id="what was cashed in before is not known",
        ),
        param(
            running(cashed_in=Sats(40_000), stoploss=price(96_000)),
            Memory(stoploss=price(95_000), cashed_in=Sats(0)), True,
            id="a stop that was moved, and a cash-in",
        ),
        param(
            running(cashed_in=Sats(40_000)),
            Memory(takeprofit=price(105_000), cashed_in=Sats(0)), True,
            id="no cash-in drops a take profit",
        ),
        param(
            running(stoploss=price(95_000)), Memory(stoploss=price(95_000)), False, id="as it was set"
        ),
        param(
            running(stoploss=price(97_000), trailing=Decimal("0.02")),
            Memory(trailing=Decimal("0.02")), False,
            id="a trailing stop that trailed",
        ),
    ],
)  # fmt: skip
def test_an_exit_is_changed_by_hand_only_if_it_truly_was(
    position: Position, memory: Memory, by_hand: bool
) -> None:
    assert (changed_by_hand(position, memory) is not None) is by_hand


def test_a_profit_that_no_price_brings_is_left_with_nobody() -> None:
    """A long at 1x gains less than its margin, wherever the price goes (6.2)."""
    config, position = closing(Does.CLOSE_TP, "2", on_exchange=True), running(leverage=1)

    assert isinstance(config.decide(position, price(1_000_000)), Hold)
    assert config.levels(position) == ()


@pytest.mark.parametrize(
    "fields",
    [
        param({"threshold": Fraction(0)}, id="a threshold of nothing"),
        param({"does": Does.UPDATE_SL}, id="an update without a level"),
        param({"target": AtPrice(price=price(1))}, id="a close with a level"),
        param({"when": When.LOSS}, id="taking profit on a loss"),
        param(
            {"does": Does.UPDATE_TP, "target": Trailing(share=Fraction(1, 50))}, id="a trailing profit"
        ),
    ],
)
def test_refuses_what_contradicts_itself(fields: dict[str, Any]) -> None:
    usual: dict[str, Any] = {"does": Does.CLOSE_TP, "threshold": Fraction(1, 2), "when": When.PROFIT}

    with pytest.raises(ValueError, match=r"must|has no|acts on|only"):
        ExitConfig(**(usual | fields))


def test_covers_what_it_was_told_to() -> None:
    longs = closing(Does.CLOSE_TP, "0.5", side=Side.BUY)

    assert longs.covers(running())
    assert not longs.covers(running(Side.SELL))
    assert not closing(Does.CLOSE_TP, "0.5", positions=frozenset({PositionId("p2")})).covers(running())


configs = st.builds(
    lambda does, share, base: closing(does, str(share), base=base),
    st.sampled_from([Does.CLOSE_TP, Does.CLOSE_SL]),
    st.fractions(min_value=Fraction(1, 1000), max_value=Fraction(5), max_denominator=1000),
    st.sampled_from(Base),
)


def reaches(level: Level, at: Decimal) -> bool:
    return at <= level.price if level.direction is Direction.FALLING else at >= level.price


@given(position=positions(), config=configs, at=prices)
def test_its_levels_say_at_every_price_whether_it_acts(
    position: Position, config: ExitConfig, at: Decimal
) -> None:
    expected = any(reaches(level, at) for level in config.levels(position))

    assert isinstance(config.decide(position, price(at)), ClosePosition) is expected


@given(position=positions(), config=configs)
def test_acts_at_its_level_and_not_one_tick_before(position: Position, config: ExitConfig) -> None:
    for level in config.levels(position):
        back = TICK if level.direction is Direction.FALLING else -TICK

        assert isinstance(config.decide(position, level.price), ClosePosition)
        assert not isinstance(config.decide(position, price(level.price + back)), ClosePosition)


def test_a_rule_for_either_side_has_a_level_on_both() -> None:
    config = update(Does.UPDATE_TP, BreakEven(fee_rate=Fraction(1, 1000)), when=When.EITHER)

    up, down = config.levels(running())

    assert (up.price, up.direction) == (Decimal(102_041), Direction.RISING)
    assert (down.price, down.direction) == (Decimal(98_039), Direction.FALLING)
