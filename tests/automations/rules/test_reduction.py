"""How much is closed: enough that the danger is over, fees counted, or nothing and a reason."""

from dataclasses import dataclass
from decimal import Decimal
from fractions import Fraction

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from automations.rules.actions import ClosePosition, Hold, ReducePosition
from automations.rules.aftermath import Aftermath, Circumstances, foresee
from automations.rules.metric import Metric
from automations.rules.reduction import reduction
from exchange.formulas import FEE_RATES, Side
from exchange.money import MAX_PRICE, Usd, UsdPerBtc, nearest_tick
from exchange.position import Position, Regime
from tests.automations.positions import crossed, positions, running

WHY = "it was reached"


@dataclass(frozen=True, kw_only=True)
class Danger:
    """A position at a price, where a step is reached."""

    position: Position
    price: UsdPerBtc
    metric: Metric
    threshold: Fraction

    def answer(self, share: Fraction) -> ReducePosition | ClosePosition | Hold:
        return reduction(
            self.position,
            share,
            self.price,
            metric=self.metric,
            threshold=self.threshold,
            step=1,
            why=WHY,
        )

    def after(self, action: ReducePosition, fee_rate: Decimal = FEE_RATES[0]) -> Aftermath:
        return foresee(
            action, Circumstances(price=self.price, fee_rate=fee_rate, position=self.position)
        )


@st.composite
def dangers(draw: st.DrawFn, metrics: tuple[Metric, ...] = tuple(Metric)) -> Danger:
    """Draw any position with margin left, and a threshold that it reached a little or long ago."""
    position, metric = draw(positions()), draw(st.sampled_from(metrics))
    gone = draw(st.fractions(Fraction(1, 1000), Fraction(999, 1000)))
    at = position.price_at_margin_used(gone)
    assume(at is not None and 1 <= at <= MAX_PRICE)
    assert at is not None
    price = nearest_tick(at)
    value = metric.at(position, price)
    assume(0 < value < 1)
    passed = draw(st.sampled_from([Fraction(1), Fraction(9, 10), Fraction(1, 2)]))
    threshold = 1 - (1 - value) * passed if metric.shrinks else value * passed
    return Danger(position=position, price=price, metric=metric, threshold=threshold)


shares = st.fractions(Fraction(1, 100), Fraction(99, 100))


@given(dangers(), shares, st.sampled_from(FEE_RATES))
def test_after_a_reduction_the_metric_is_safer_than_its_threshold_or_the_step_refuses_with_a_reason(
    danger: Danger, share: Fraction, fee_rate: Decimal
) -> None:
    answer = danger.answer(share)

    if isinstance(answer, Hold):
        assert answer.reason.startswith(f"{WHY}, but ")
        return
    if isinstance(answer, ClosePosition):
        assert danger.position.quantity * (1 - share) < 1
        return
    after = danger.after(answer, fee_rate)
    assert after.position is not None
    assert after.refused is None
    assert danger.position.quantity * share <= answer.quantity < danger.position.quantity
    assert not danger.metric.has_reached(
        danger.threshold, danger.metric.at(after.position, danger.price)
    )


@given(dangers(), shares)
def test_the_distance_to_liquidation_grows_with_every_reduction(
    danger: Danger, share: Fraction
) -> None:
    answer = danger.answer(share)
    assume(isinstance(answer, ReducePosition))
    assert isinstance(answer, ReducePosition)

    rest = danger.after(answer).position

    assert rest is not None
    if rest.liquidation < MAX_PRICE:
        now, then = (each.liquidation_distance_at(danger.price) for each in (danger.position, rest))
        assert then > now


@given(dangers(), shares)
def test_a_reduction_spends_no_fresh_sats(danger: Danger, share: Fraction) -> None:
    answer = danger.answer(share)
    assume(isinstance(answer, ReducePosition))
    assert isinstance(answer, ReducePosition)

    assert danger.after(answer).balance_change >= 0


@given(dangers((Metric.MARGIN_RATIO, Metric.LIQUIDATION_DISTANCE)), shares)
def test_each_reduction_of_the_cross_position_improves_the_metric_that_asked_for_it(
    danger: Danger, share: Fraction
) -> None:
    assume(danger.position.regime is Regime.CROSS)
    answer = danger.answer(share)
    assume(isinstance(answer, ReducePosition))
    assert isinstance(answer, ReducePosition)

    rest = danger.after(answer).position

    assert rest is not None
    before, after = (danger.metric.at(it, danger.price) for it in (danger.position, rest))
    assert after > before if danger.metric.shrinks else after < before


def danger(
    position: Position,
    price: int,
    threshold: str,
    metric: Metric = Metric.LIQUIDATION_DISTANCE,
) -> Danger:
    at = UsdPerBtc(Decimal(price))
    return Danger(position=position, price=at, metric=metric, threshold=Fraction(threshold))


PART = Fraction(2, 5)


@pytest.mark.parametrize(
    ("position", "price", "threshold", "closed"),
    [
        pytest.param(running(leverage=25), 99_000, "0.03", 400, id="isolated: the part is enough"),
        pytest.param(running(leverage=25), 99_000, "0.08", 680, id="isolated: it takes more"),
        pytest.param(running(Side.SELL, leverage=25), 101_000, "0.03", 400, id="a short likewise"),
        pytest.param(crossed(), 69_000, "0.05", 400, id="cross: the part is enough"),
        pytest.param(crossed(), 69_000, "0.5", 970, id="cross: it takes more"),
        pytest.param(crossed(Side.SELL), 190_000, "0.05", 400, id="cross: a short likewise"),
    ],
)
def test_the_part_is_closed_or_as_much_more_as_it_takes(
    position: Position, price: int, threshold: str, closed: int
) -> None:
    answer = danger(position, price, threshold).answer(PART)

    assert isinstance(answer, ReducePosition)
    assert answer.quantity == closed
    assert answer.why == (WHY if closed == 400 else f"{WHY}; closing 400 USD would not be enough")


def test_no_more_is_closed_than_it_takes_but_for_one_percent_of_the_position() -> None:
    """672 is the least, asked for one by one."""
    asked = [
        danger(running(leverage=25), 99_000, "0.08").answer(Fraction(part, 1000)) for part in (671, 672)
    ]

    closed = [each.quantity for each in asked if isinstance(each, ReducePosition)]
    assert 672 < closed[0] <= 682
    assert closed[1] == 672


@pytest.mark.parametrize(
    ("position", "price", "threshold", "metric", "because"),
    [
        pytest.param(
            running(), 90_909, "0.5", Metric.MARGIN_USED, "too little is left", id="in ruin"
        ),
        pytest.param(
            running(leverage=2), 70_000, "0.6", Metric.LIQUIDATION_DISTANCE, "too little is left",
            id="farther than a trade at leverage 1 can be",
        ),
        pytest.param(
            crossed(), 80_000, "0.5", Metric.MARGIN_USED, "leaves its margin used where it is",
            id="margin used of the cross position",
        ),
        pytest.param(
            crossed(quantity=12_000_000, margin=2_000_000_000), 90_000, "0.9",
            Metric.LIQUIDATION_DISTANCE, "too little is left", id="more than one order may close",
        ),
    ],
)  # fmt: skip
def test_what_cannot_help_is_refused_with_a_reason(
    position: Position, price: int, threshold: str, metric: Metric, because: str
) -> None:
    answer = danger(position, price, threshold, metric).answer(PART)

    assert isinstance(answer, Hold)
    assert because in answer.reason


def test_where_no_whole_contract_would_be_left_all_is_closed() -> None:
    assert danger(running(quantity=1), 95_000, "0.5").answer(PART) == ClosePosition(
        position_id=running().id, why=WHY, step=1
    )


def test_the_least_part_is_at_least_one_contract() -> None:
    answer = danger(running(leverage=25), 99_000, "0.03").answer(Fraction(1, 10_000))

    assert isinstance(answer, ReducePosition)
    assert answer.quantity >= Usd(1)
