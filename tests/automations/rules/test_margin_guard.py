"""When Margin Guard acts, with how much, and at which price it begins to."""

from decimal import Decimal
from fractions import Fraction

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from automations.rules.actions import AddMargin, ClosePosition, Decision, Hold
from automations.rules.margin_guard import (
    AddFixed,
    AddToReach,
    Close,
    GuardConfig,
    Metric,
    Response,
    decide,
    level,
)
from automations.triggers import Direction
from exchange.formulas import Side
from exchange.money import MAX_PRICE, TICK, Sats, UsdPerBtc, nearest_tick
from exchange.position import Position
from tests.automations.positions import positions, prices, running


def guard(metric: Metric, threshold: str, response: Response | None = None) -> GuardConfig:
    return GuardConfig(metric=metric, threshold=Fraction(threshold), response=response or Close())


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
    decision = decide(position, price(at), config)

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
    action = decide(running(), price(92_000), config)

    assert isinstance(action, AddMargin)
    assert action.amount == decision
    assert action.position_id == "p1"


def test_says_why_it_acts() -> None:
    action = decide(running(), price(92_000), guard(Metric.MARGIN_USED, "0.5"))

    assert isinstance(action, ClosePosition)
    assert action.why == "margin used 86.96 % reached 50.00 % at 92000"


def test_holds_where_no_margin_can_be_added() -> None:
    config = guard(Metric.MARGIN_USED, "0.01", AddFixed(amount=Sats(1)))

    decision = decide(running(leverage=1), price(50_000), config)

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
    ],
)  # fmt: skip
def test_refuses_a_configuration_that_contradicts_itself(
    metric: Metric, threshold: str, response: Response
) -> None:
    with pytest.raises(ValueError, match="must be"):
        guard(metric, threshold, response)


configs = st.builds(
    GuardConfig,
    metric=st.sampled_from(Metric),
    threshold=st.fractions(
        min_value=Fraction(1, 1000), max_value=Fraction(99, 100), max_denominator=10_000
    ),
    response=st.just(Close()),
)


def acts(decision: Decision) -> bool:
    return not isinstance(decision, Hold)


@given(position=positions(), config=configs)
def test_acts_at_its_level_and_not_one_tick_before(position: Position, config: GuardConfig) -> None:
    found = level(position, config)

    assume(found is not None)
    assert found is not None
    back = TICK if found.direction is Direction.FALLING else -TICK
    assert acts(decide(position, found.price, config))
    assert found.price == MAX_PRICE or not acts(decide(position, price(found.price + back), config))


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
    assert acts(decide(position, price(at), config)) is reached


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
    config = GuardConfig(metric=metric, threshold=threshold, response=AddToReach(target=target))
    action = decide(position, at, config)

    assume(isinstance(action, AddMargin) and action.amount < position.largest_top_up)
    assert isinstance(action, AddMargin)
    after = metric.at(position.with_margin_added(action.amount), at)
    assert after >= target if metric.shrinks else after <= target
