"""Presets: whole guards, made for the positions there are."""

from decimal import Decimal
from fractions import Fraction

import pytest

from automations.rules.margin_guard import AddToReach, Close, GuardConfig
from automations.rules.presets import PresetName, preset
from exchange import formulas
from exchange.formulas import Side
from exchange.money import Usd, UsdPerBtc
from exchange.position import Position, PositionId, Regime

ENTRY = UsdPerBtc(Decimal(100_000))
LEVERAGES = (1, 2, 5, 10, 25, 50, 75, 100)


def position(leverage: int, side: Side = Side.BUY, regime: Regime = Regime.ISOLATED) -> Position:
    quantity = Usd(10_000)
    margin = formulas.margin_for(quantity, ENTRY, leverage)
    liquidation = formulas.liquidation_price(side, quantity, ENTRY, margin)
    return Position(
        id=PositionId("one"),
        regime=regime,
        side=side,
        quantity=quantity,
        entry=ENTRY,
        margin=margin,
        maintenance_margin=formulas.closing_reserve(quantity, liquidation),
        liquidation=liquidation,
        leverage=Decimal(leverage),
        stoploss=None,
        takeprofit=None,
        filled_at=None,
        client_id=None,
    )


@pytest.mark.parametrize("leverage", LEVERAGES)
@pytest.mark.parametrize("side", Side)
@pytest.mark.parametrize("regime", Regime)
@pytest.mark.parametrize("name", PresetName)
def test_a_preset_is_a_guard_that_leaves_a_new_position_alone(
    name: PresetName, regime: Regime, side: Side, leverage: int
) -> None:
    held = position(leverage, side, regime)
    chosen = preset(name, [held])

    rule = GuardConfig(metric=chosen.metric, steps=chosen.steps, backstop=chosen.backstop)

    at_entry = rule.metric.at(held, ENTRY)
    assert not any(rule.reached(step, at_entry) for step in rule.steps)
    assert all(step.threshold * 10_000 % 1 == 0 for step in rule.steps), "typed as 0.01 %"


def test_careful_and_balanced_close_in_the_end_and_all_in_never_does() -> None:
    closes = {
        name: any(isinstance(step.response, Close) for step in preset(name, [position(25)]).steps)
        for name in PresetName
    }

    assert closes == {PresetName.CAREFUL: True, PresetName.BALANCED: True, PresetName.ALL_IN: False}
    assert [preset(name, [position(25)]).backstop for name in PresetName] == list(closes.values())


def test_each_preset_may_spend_more_than_the_one_before() -> None:
    careful, balanced, all_in = (preset(name, [position(25)]).budget for name in PresetName)

    assert careful < balanced < all_in
    assert all_in >= 99, "from leverage 100 to 1"


@pytest.mark.parametrize("leverage", LEVERAGES)
@pytest.mark.parametrize("side", Side)
def test_a_top_up_carries_until_the_next_one_is_there(side: Side, leverage: int) -> None:
    (adding,) = preset(PresetName.ALL_IN, [position(leverage, side)]).steps

    assert isinstance(adding.response, AddToReach)
    assert adding.response.target >= 3 * adding.threshold


def test_the_position_nearest_to_liquidation_counts() -> None:
    both = preset(PresetName.ALL_IN, [position(5), position(100)])

    assert both == preset(PresetName.ALL_IN, [position(100)])
    assert both.steps[0].threshold < Fraction(1, 100), "a 100x long has 0.99 % at entry"


@pytest.mark.parametrize("name", PresetName)
@pytest.mark.parametrize("leverage", [10, 100])
def test_many_positions_get_margin_earlier_and_more_at_a_time(name: PresetName, leverage: int) -> None:
    few, many = (preset(name, [position(leverage)] * count).steps[0] for count in (5, 20))

    assert few == preset(name, [position(leverage)]).steps[0], "each has its turn within a second"
    assert many.threshold >= few.threshold
    assert isinstance(few.response, AddToReach)
    assert isinstance(many.response, AddToReach)
    assert abs(many.response.target - 4 * few.response.target) < Fraction(5, 10_000)


@pytest.mark.parametrize("name", PresetName)
def test_a_crowd_of_positions_has_a_preset(name: PresetName) -> None:
    chosen = preset(name, [position(1)] * 1_000)

    rule = GuardConfig(metric=chosen.metric, steps=chosen.steps, backstop=chosen.backstop)

    at_entry = rule.metric.at(position(1), ENTRY)
    assert not any(rule.reached(step, at_entry) for step in rule.steps)


def test_without_a_position_there_is_no_preset() -> None:
    with pytest.raises(ValueError, match="there is none"):
        preset(PresetName.CAREFUL, [])


def test_a_position_that_is_as_good_as_liquidated_has_no_preset() -> None:
    with pytest.raises(ValueError, match="too near to its liquidation"):
        preset(PresetName.CAREFUL, [position(9_000)])
