"""When Margin Guard acts, with how much, and at which price it begins to."""

from decimal import Decimal
from fractions import Fraction
from typing import Any

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from automations.rules.actions import (
    AddMargin,
    ClosePosition,
    Decision,
    Hold,
    Notify,
    ReducePosition,
)
from automations.rules.margin_guard import (
    AddFixed,
    AddShare,
    AddToReach,
    Close,
    GuardConfig,
    Reduce,
    Response,
    Step,
    Tell,
)
from automations.rules.memory import Memory
from automations.rules.metric import Metric
from automations.triggers import Direction, Level
from exchange import formulas
from exchange.formulas import Side
from exchange.money import MAX_PRICE, TICK, Sats, Usd, UsdPerBtc, nearest_tick
from exchange.position import Position, PositionId, Regime
from tests.automations.positions import positions, prices, running


def guard(metric: Metric, threshold: str, response: Response | None = None) -> GuardConfig:
    return ladder(metric, Step(number=1, threshold=Fraction(threshold), response=response or Close()))


def ladder(metric: Metric, *steps: Step, **changes: Any) -> GuardConfig:
    return GuardConfig(metric=metric, steps=steps, **changes)


def level(position: Position, config: GuardConfig) -> Level | None:
    """Return the level of a guard with one step."""
    return next(iter(config.levels(position)), None)


def price(value: str | int | Decimal) -> UsdPerBtc:
    return UsdPerBtc(Decimal(value))


@pytest.mark.parametrize(
    ("position", "at", "config", "acts"),
    [
        pytest.param(
            running(), 95_239, guard(Metric.MARGIN_USED, "0.5"), False,
            id="a long one dollar above half its margin lost",
        ),
        pytest.param(
            running(), 95_238, guard(Metric.MARGIN_USED, "0.5"), True,
            id="a long just below half its margin lost",
        ),
        pytest.param(
            running(Side.SELL), 105_263, guard(Metric.MARGIN_USED, "0.5"), False,
            id="a short just below half its margin lost",
        ),
        pytest.param(
            running(Side.SELL), Decimal("105263.5"), guard(Metric.MARGIN_USED, "0.5"), True,
            id="a short just above half its margin lost",
        ),
        pytest.param(
            running(), 110_000, guard(Metric.MARGIN_USED, "0.5"), False, id="a long in profit"
        ),
        pytest.param(
            running(), Decimal("91000.5"), guard(Metric.MARGIN_RATIO, "0.5"), False,
            id="ratio one tick before 50 %, which lies right at liquidation",
        ),
        pytest.param(
            running(), 91_000, guard(Metric.MARGIN_RATIO, "0.5"), True, id="ratio past 50 %"
        ),
        pytest.param(
            running(), 90_000, guard(Metric.MARGIN_RATIO, "1"), True,
            id="beyond liquidation every threshold is reached",
        ),
        pytest.param(
            running(), 95_694, guard(Metric.LIQUIDATION_DISTANCE, "0.05"), False,
            id="liquidation still more than 5 % away",
        ),
        pytest.param(
            running(), Decimal("95693.5"), guard(Metric.LIQUIDATION_DISTANCE, "0.05"), True,
            id="liquidation within 5 %",
        ),
        pytest.param(
            running(liquidation=price(95_000)), 100_000, guard(Metric.LIQUIDATION_DISTANCE, "0.05"),
            True, id="being exactly on the threshold counts",
        ),
    ],
)  # fmt: skip
def test_acts_from_its_threshold_on(
    position: Position, at: Decimal | int, config: GuardConfig, acts: bool
) -> None:
    decision = config.decide(position, price(at))

    assert isinstance(decision, Hold) is not acts


@pytest.mark.parametrize(
    ("config", "decision"),
    [
        pytest.param(
            guard(Metric.MARGIN_USED, "0.5", AddFixed(amount=Sats(5000))), 5000, id="fixed amount"
        ),
        pytest.param(
            guard(Metric.MARGIN_RATIO, "0.05", AddToReach(target=Fraction(2, 100))),
            40_857,
            id="ratio brought to 2 %: ceil(1100 * 49 - 100000 + 86956.52)",
        ),
        pytest.param(
            guard(Metric.MARGIN_USED, "0.5", AddToReach(target=Fraction(2, 5))),
            117_392,
            id="loss brought to 40 % of the margin: ceil(86956.52 / 0.4) - 100000",
        ),
        pytest.param(
            guard(Metric.LIQUIDATION_DISTANCE, "0.05", AddToReach(target=Fraction(1, 10))),
            107_730,
            id="liquidation brought to 82800, 10 % below: ceil(1e11 * (1/82800 - 1e-5)) - 100000",
        ),
        pytest.param(
            guard(Metric.MARGIN_USED, "0.5", AddFixed(amount=Sats(10**9))),
            900_000,
            id="never more than brings the leverage to 1",
        ),
    ],
)
def test_adds_what_was_asked_for(config: GuardConfig, decision: int) -> None:
    action = config.decide(running(), price(92_000))

    assert isinstance(action, AddMargin)
    assert action.amount == decision
    assert action.position_id == "p1"


def test_says_why_it_acts() -> None:
    action = guard(Metric.MARGIN_USED, "0.5").decide(running(), price(92_000))

    assert isinstance(action, ClosePosition)
    assert action.why == "margin used 86.96 % reached 50.00 % at 92000"


def test_holds_where_no_margin_can_be_added() -> None:
    config = guard(Metric.MARGIN_USED, "0.01", AddFixed(amount=Sats(1)))

    decision = config.decide(running(leverage=1), price(50_000))

    assert isinstance(decision, Hold)
    assert "leverage is already 1" in decision.reason


@pytest.mark.parametrize(
    ("metric", "threshold", "response"),
    [
        pytest.param(Metric.MARGIN_USED, "0", Close(), id="a threshold of nothing acts always"),
        pytest.param(Metric.MARGIN_USED, "1.01", Close(), id="beyond liquidation"),
        pytest.param(Metric.LIQUIDATION_DISTANCE, "1", Close(), id="a distance of the whole price"),
        pytest.param(Metric.MARGIN_USED, "0.5", AddFixed(amount=Sats(0)), id="adding nothing"),
        pytest.param(
            Metric.MARGIN_USED, "0.5", AddToReach(target=Fraction(1, 2)), id="a target at the threshold"
        ),
        pytest.param(
            Metric.MARGIN_USED, "0.5", AddToReach(target=Fraction(0)), id="a target no margin reaches"
        ),
        pytest.param(
            Metric.LIQUIDATION_DISTANCE, "0.05", AddToReach(target=Fraction(1, 25)),
            id="a target nearer liquidation than the threshold",
        ),
        pytest.param(Metric.MARGIN_USED, "0.5", AddShare(share=Fraction(0)), id="a share of nothing"),
        pytest.param(Metric.MARGIN_USED, "0.5", Reduce(share=Fraction(0)), id="reducing by nothing"),
        pytest.param(Metric.MARGIN_USED, "0.5", Reduce(share=Fraction(1)), id="reducing by everything"),
    ],
)  # fmt: skip
def test_refuses_a_configuration_that_contradicts_itself(
    metric: Metric, threshold: str, response: Response
) -> None:
    with pytest.raises(ValueError, match="must"):
        guard(metric, threshold, response)


@pytest.mark.parametrize(
    ("steps", "says"),
    [
        pytest.param((), "at least one step", id="nothing to do"),
        pytest.param(
            (
                Step(number=1, threshold=Fraction(1, 2), response=Close()),
                Step(number=2, threshold=Fraction(1, 2), response=Tell()),
            ),
            "same threshold",
            id="two at once",
        ),
        pytest.param(
            (Step(number=1, threshold=Fraction(1, 2), response=Close(), hysteresis=Fraction(1, 2)),),
            "room to return",
            id="never to return",
        ),
    ],
)
def test_refuses_a_ladder_that_contradicts_itself(steps: tuple[Step, ...], says: str) -> None:
    with pytest.raises(ValueError, match=says):
        GuardConfig(metric=Metric.MARGIN_USED, steps=steps)


def test_a_top_up_can_be_cut_and_never_grows() -> None:
    wanted = AddMargin(position_id=PositionId("p1"), why="52 % used", amount=Sats(9))

    cut = [wanted.limited_to(Sats(most), because="that is all") for most in (5, 9, 10)]

    assert [(each.amount, each.missing) for each in cut] == [(5, 4), (9, 0), (9, 0)]
    assert cut[0].why == "52 % used; 5 of 9 sats are added, for that is all"
    assert cut[0].limited_to(Sats(2), because="less").missing == 7


shares = st.fractions(min_value=Fraction(1, 1000), max_value=Fraction(99, 100), max_denominator=10_000)
configs = st.builds(
    lambda metric, threshold: guard(metric, str(threshold)), st.sampled_from(Metric), shares
)


def acts(decision: Decision) -> bool:
    return not isinstance(decision, Hold)


@given(position=positions(), config=configs)
def test_acts_at_its_level_and_not_one_tick_before(position: Position, config: GuardConfig) -> None:
    found = level(position, config)

    assume(found is not None)
    assert found is not None
    back = TICK if found.direction is Direction.FALLING else -TICK
    assert acts(config.decide(position, found.price))
    assert found.price == MAX_PRICE or not acts(config.decide(position, price(found.price + back)))


@given(position=positions(), config=configs, at=prices)
def test_its_level_says_at_every_price_whether_it_acts(
    position: Position, config: GuardConfig, at: Decimal
) -> None:
    found = level(position, config)

    if found is None:
        reached = False
    elif found.direction is Direction.FALLING:
        reached = at <= found.price
    else:
        reached = at >= found.price
    assert acts(config.decide(position, price(at))) is reached


TARGETS = {
    Metric.MARGIN_USED: (Fraction(1, 2), Fraction(1, 4)),
    Metric.MARGIN_RATIO: (Fraction(1, 1000), Fraction(1, 2000)),
    Metric.LIQUIDATION_DISTANCE: (Fraction(1, 2), Fraction(3, 5)),
}


@given(
    position=positions(),
    metric=st.sampled_from(Metric),
    lost=st.fractions(min_value=Fraction(1, 2), max_value=1, max_denominator=100),
)
def test_a_target_is_reached_by_what_it_adds(
    position: Position, metric: Metric, lost: Fraction
) -> None:
    exact = position.price_at_margin_used(lost)
    assume(exact is not None)
    assert exact is not None
    at = nearest_tick(exact)
    threshold, target = TARGETS[metric]
    config = guard(metric, str(threshold), AddToReach(target=target))
    action = config.decide(position, at)

    assume(isinstance(action, AddMargin) and action.amount < position.largest_top_up)
    assert isinstance(action, AddMargin)
    after = metric.at(position.with_margin_added(action.amount), at)
    assert after >= target if metric.shrinks else after <= target


def of_cross(side: Side = Side.BUY) -> Position:
    """1,000 USD at 100,000 with 500,000 sats of collateral, 1,500 of them maintenance (6.12)."""
    margin, maintenance = Sats(498_500), Sats(1_500)
    liquidation = formulas.liquidation_price(side, Usd(1000), 100_000, margin)
    return running(
        side,
        regime=Regime.CROSS,
        margin=margin,
        maintenance_margin=maintenance,
        liquidation=liquidation,
    )


@pytest.mark.parametrize(
    ("side", "liquidation"), [(Side.BUY, "66733.5"), (Side.SELL, "199402")], ids=["long", "short"]
)
def test_the_cross_position_is_judged_as_the_exchange_liquidates_it(
    side: Side, liquidation: str
) -> None:
    position = of_cross(side)

    assert position.liquidation == Decimal(liquidation)
    assert position.margin_used_at(position.liquidation) == pytest.approx(1, abs=1e-5)
    assert position.margin_ratio_at(position.entry) == Fraction(1_500, 500_000)


def test_margin_on_the_cross_position_is_not_bounded_by_its_leverage() -> None:
    config = guard(Metric.MARGIN_USED, "0.5", AddFixed(amount=Sats(10**9)))

    action = config.decide(of_cross(), price(75_000))

    assert isinstance(action, AddMargin)
    assert action.amount == 10**9


LADDER = ladder(
    Metric.MARGIN_USED,
    Step(number=1, threshold=Fraction(1, 4), response=Tell(), hysteresis=Fraction(1, 10)),
    Step(number=2, threshold=Fraction(1, 2), response=AddShare(share=Fraction(1, 10))),
    Step(number=3, threshold=Fraction(4, 5), response=Reduce(share=Fraction(1, 3))),
    Step(number=4, threshold=Fraction(9, 10), response=Close()),
)


@pytest.mark.parametrize(
    ("at", "action"),
    [
        pytest.param(97_500, Notify, id="28 % of the margin lost: the owner is told"),
        pytest.param(95_000, AddMargin, id="53 %: a tenth of the margin is added"),
        pytest.param(92_500, ReducePosition, id="81 %: a third is closed"),
        pytest.param(91_500, ClosePosition, id="93 %: all of it"),
    ],
)
def test_the_most_dangerous_step_reached_counts(at: int, action: type) -> None:
    assert isinstance(LADDER.decide(running(), price(at)), action)


def test_a_share_of_the_margin_is_rounded_down() -> None:
    action = LADDER.decide(running(quantity=101), price(95_000))

    assert isinstance(action, AddMargin)
    assert action.amount == 1_010


@pytest.mark.parametrize(
    ("quantity", "closed"),
    [
        pytest.param(1000, 334, id="the rest is rounded down to 666"),
        pytest.param(3, 1, id="one of three"),
        pytest.param(2, 1, id="one of two, for the rest of 1.33 is 1"),
    ],
)
def test_reducing_closes_whole_contracts(quantity: int, closed: int) -> None:
    action = LADDER.decide(running(quantity=quantity), price(92_500))

    assert isinstance(action, ReducePosition)
    assert action.quantity == closed


def test_reducing_what_cannot_be_split_closes_it() -> None:
    assert isinstance(LADDER.decide(running(quantity=1), price(92_500)), ClosePosition)


def test_a_step_that_acted_waits_until_the_danger_drew_back() -> None:
    spent = Memory(spent=frozenset({1}))

    assert isinstance(LADDER.decide(running(), price(97_500), spent), Hold)
    assert LADDER.still_spent(running(), price(98_300), spent) == {1}, "17 % is not yet 15 %"
    assert LADDER.still_spent(running(), price(98_600), spent) == frozenset()
    assert isinstance(LADDER.decide(running(), price(95_000), spent), AddMargin), "others act"


def test_a_step_without_hysteresis_never_waits() -> None:
    spent = Memory(spent=frozenset({2}))

    assert isinstance(LADDER.decide(running(), price(95_000), spent), AddMargin)


@given(position=positions(), metric=st.sampled_from(Metric), at=prices)
def test_a_waiting_step_is_looked_at_where_it_may_act_again(
    position: Position, metric: Metric, at: Decimal
) -> None:
    threshold = Fraction(1, 2)
    step = Step(number=1, threshold=threshold, response=Close(), hysteresis=Fraction(1, 4))
    config, spent = ladder(metric, step), Memory(spent=frozenset({1}))

    (found,) = config.levels(position, spent) or (None,)

    ready = not config.still_spent(position, price(at), spent)
    if found is None:
        assert not ready
    elif found.direction is Direction.RISING:
        assert ready is (at >= found.price)
    else:
        assert ready is (at <= found.price)


def test_a_guard_covers_the_side_and_the_positions_it_was_told() -> None:
    longs = ladder(Metric.MARGIN_USED, *LADDER.steps, side=Side.BUY)
    one = ladder(Metric.MARGIN_USED, *LADDER.steps, positions=frozenset({PositionId("p2")}))

    assert longs.covers(running())
    assert not longs.covers(running(Side.SELL))
    assert one.covers(running(id=PositionId("p2")))
    assert not one.covers(running())
    assert LADDER.covers(running())
    assert LADDER.covers(running(Side.SELL))


def test_a_position_may_have_thresholds_of_its_own() -> None:
    config = LADDER.with_thresholds({1: Fraction(1, 5)})

    assert isinstance(config.decide(running(), price(97_900)), Notify)
    assert isinstance(LADDER.decide(running(), price(97_900)), Hold)
