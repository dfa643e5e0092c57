"""What a guard buys: how far the price may go against a position, and what that costs."""

from bisect import bisect_right
from dataclasses import replace
from decimal import Decimal
from fractions import Fraction
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from accounts.models import Account
from automations import foretelling
from automations.account_book import AccountBook
from automations.deciding import Guard, table
from automations.executing import Cause
from automations.models import Execution, GuardStep, MarginGuard
from automations.rehearsal import Bought, End, How, rehearse
from automations.rules.memory import NOTHING, Memory
from automations.rules.presets import PresetName, preset
from benchmarks.survival import paths
from benchmarks.survival.cases import Case
from benchmarks.survival.playing import simulated
from exchange.formulas import FIRST_TIER_FEE_RATE, Side
from exchange.money import Sats, UsdPerBtc
from exchange.position import Position, Regime
from tests.automations.positions import crossed, running

SWEEP = Cause(origin=Execution.Origin.SWEEP)
RICH = Sats(10_000_000_000)


def trade(side: Side = Side.BUY, leverage: int = 25, **changes: Any) -> Position:
    opened = running(side, leverage=leverage, quantity=10_000, **changes)
    return replace(opened, entry_margin=opened.margin)


def guarding(*steps: dict[str, Any], **changes: Any) -> MarginGuard:
    """A guard that is never saved, with these steps."""
    fields = {"metric": "margin_used", "budget_per_position_percent": Decimal(300)} | changes
    guard = MarginGuard(pk=1, account=Account(pk=1), **fields)
    rows = [GuardStep(pk=number, guard=guard, **step) for number, step in enumerate(steps, start=1)]
    guard.take_steps(rows, ())
    return guard


ADDS = {"threshold_percent": Decimal(50), "does": "add_to_reach", "target_percent": Decimal(30)}
CLOSES = {"threshold_percent": Decimal(80), "does": "close_position"}
TELLS = {"threshold_percent": Decimal(60), "does": "notify"}


def bought(
    guard: MarginGuard,
    position: Position,
    *,
    free: int = RICH,
    price: int | None = None,
    memory: Memory = NOTHING,
) -> Bought:
    at = position.entry if price is None else UsdPerBtc(Decimal(price))
    book = AccountBook(Sats(free))
    return rehearse(Guard(guard, book), position, at, memory, fee_rate=FIRST_TIER_FEE_RATE)


def with_preset(name: PresetName, position: Position, free: int = RICH) -> Bought:
    return bought(table(preset(name, [position]), position.regime, Account(pk=1)), position, free=free)


@pytest.mark.parametrize("side", Side)
def test_it_survives_to_one_tick_before_liquidation(side: Side) -> None:
    position = trade(side)

    found = bought(guarding(ADDS), position)

    first = position.margin
    assert found.costs == 3 * first, "the whole budget"
    dies = position.with_margin_added(found.costs).liquidation
    assert found.ends == End(how=How.LIQUIDATED, price=dies)
    assert found.survives_to == dies + side.sign * Decimal("0.5")
    assert found.without == End(how=How.LIQUIDATED, price=position.liquidation)
    assert found.because == "the position's budget is used up"


def test_the_sentence_is_the_one_that_an_owner_reads() -> None:
    long, short = trade(), trade(Side.SELL)

    assert foretelling.bought(bought(guarding(ADDS), long)) == (
        "Survives a fall to 86,207.5 (-13.8 %), costs at most 1,200,000 sats; dies at 96,154 without"
    )
    assert foretelling.bought(bought(guarding(ADDS, CLOSES), long)).startswith("Closes at 88,6")
    assert "(-11.3 %) at the latest, costs at most" in foretelling.bought(
        bought(guarding(ADDS, CLOSES), long)
    )
    assert foretelling.bought(bought(guarding(ADDS), short)).startswith(
        "Survives a rise to 119,047 (+19.0"
    )
    assert foretelling.bought(bought(guarding(CLOSES), long)) == (
        "Closes at 96,899 (-3.1 %) at the latest, adds no margin; dies at 96,154 without"
    )


def test_a_short_that_can_be_kept_at_any_price_survives_any_rise() -> None:
    one = trade(Side.SELL, 2)

    kept = bought(guarding(ADDS | {"target_percent": Decimal(1)}), one)

    assert kept.ends is None
    assert foretelling.bought(kept).startswith("Survives any rise, costs at most ")
    assert foretelling.bought(kept).endswith("; dies at 200,000 without")


def test_where_the_walk_goes_no_further_it_says_so() -> None:
    found = with_preset(PresetName.ALL_IN, trade(Side.SELL))

    assert found.ends is None
    assert found.until is not None
    assert found.until == 300_000
    said = foretelling.bought(found)
    assert said.startswith("Survives a rise to 300,000 (+200.0 %)")
    assert "and beyond, costs at most" in said
    assert "until then; dies at 104,166.5 without" in said


def test_small_amounts_again_and_again_end_the_walk_before_the_position() -> None:
    step = {"threshold_percent": Decimal(50), "does": "add_fixed", "amount_sats": 1}

    found = bought(guarding(step), trade())

    assert found.ends is None
    assert found.costs == 500
    assert "and beyond" in foretelling.bought(found)


@pytest.mark.parametrize(
    ("guard", "free", "says"),
    [
        pytest.param(
            guarding(TELLS), RICH, "Buys nothing: dies at 96,154 with it as without", id="tells only"
        ),
        pytest.param(
            guarding(ADDS),
            0,
            "Buys nothing: dies at 96,154 with it as without, as the free balance is used up",
            id="no money",
        ),
    ],
)
def test_where_nothing_is_survived_beyond_it_says_so(guard: MarginGuard, free: int, says: str) -> None:
    assert foretelling.bought(bought(guard, trade(), free=free)) == says


def test_a_stop_of_the_owner_closes_it_with_the_guard_as_without() -> None:
    held = replace(trade(), stoploss=UsdPerBtc(Decimal(99_000)))

    found = bought(guarding(ADDS, CLOSES), held)

    assert found.ends == found.without == End(how=How.STOPPED, price=UsdPerBtc(Decimal(99_000)))
    assert foretelling.bought(found) == (
        "Buys nothing: your stop closes it at 99,000 with it as without"
    )


def test_a_stop_that_lies_behind_liquidation_is_reached_once_margin_was_added() -> None:
    held = replace(trade(), stoploss=UsdPerBtc(Decimal(90_000)))

    found = bought(guarding(ADDS), held)

    assert found.without == End(how=How.LIQUIDATED, price=held.liquidation)
    assert foretelling.bought(found).startswith(
        "Your stop closes it at 90,000 (-10.0 %), costs at most"
    )


def test_the_guards_own_stop_goes_with_the_guard() -> None:
    guard = guarding(ADDS, CLOSES)
    stop = guard.rule().own_stop(trade())
    held = replace(trade(), stoploss=stop)

    found = bought(guard, held, memory=Memory(stoploss=stop, stop_is_own=True))

    assert found.without == End(how=How.LIQUIDATED, price=held.liquidation)
    assert found == bought(guard, trade())


def test_a_step_that_may_not_act_gives_way_on_the_walk_too() -> None:
    reduces = {
        "threshold_percent": Decimal(90), "does": "reduce_position", "reduce_percentage": Decimal(40),
    }  # fmt: skip

    found = bought(guarding(ADDS, reduces, accepts_reopening=False), trade())

    assert (
        found == bought(guarding(ADDS), trade()) or found.ends == bought(guarding(ADDS), trade()).ends
    )


def test_reducing_makes_a_position_survive_longer_at_the_price_of_fees() -> None:
    reduces = {
        "threshold_percent": Decimal(70), "does": "reduce_position", "reduce_percentage": Decimal(40),
    }  # fmt: skip

    found = bought(guarding(reduces, accepts_reopening=True), trade())

    assert found.ends is not None
    assert found.ends.price < trade().liquidation
    assert 0 < found.costs < trade().margin


def test_the_cross_position_is_rehearsed_as_well() -> None:
    held = crossed(margin=40_000)

    found = bought(guarding(ADDS, regime="cross", budget_per_position_sats=50_000), held)

    assert found.costs == 50_000
    assert found.ends is not None
    assert found.ends.price == held.with_margin_added(Sats(50_000)).liquidation


@given(
    name=st.sampled_from(PresetName),
    side=st.sampled_from(Side),
    leverage=st.sampled_from((2, 5, 10, 25, 50, 100)),
    less=st.integers(min_value=0, max_value=5_000_000),
    more=st.integers(min_value=1, max_value=5_000_000),
)
def test_less_money_never_survives_further_nor_the_same_for_less(
    name: PresetName, side: Side, leverage: int, less: int, more: int
) -> None:
    position = trade(side, leverage)
    poor, rich = with_preset(name, position, less), with_preset(name, position, less + more)

    assert _reach(poor) <= _reach(rich)
    assert poor.costs <= rich.costs <= less + more
    if poor.costs < less - 1000:  # more than what moves liquidation by a tick
        assert poor == replace(rich, because=poor.because), "money was not what ended it"


def _reach(found: Bought) -> Fraction:
    """Return how far it survives, as a share of the market against the position."""
    if found.ends is None or found.survives_to is None:
        return Fraction(1000)
    return found.side.sign * (1 - Fraction(found.survives_to) / Fraction(found.market))


@given(
    side=st.sampled_from(Side),
    leverage=st.integers(min_value=1, max_value=100),
    threshold=st.integers(min_value=10, max_value=90),
    share=st.integers(min_value=5, max_value=200),
)
def test_a_guard_that_adds_never_makes_a_position_die_sooner(
    side: Side, leverage: int, threshold: int, share: int
) -> None:
    step = {
        "threshold_percent": Decimal(threshold), "does": "add_share", "share_percent": Decimal(share),
    }  # fmt: skip
    position = trade(side, leverage)

    found, alone = bought(guarding(step), position), bought(guarding(TELLS), position)

    assert _reach(found) >= _reach(alone)


CASES = [
    (PresetName.CAREFUL, Regime.ISOLATED, 10),
    (PresetName.CAREFUL, Regime.CROSS, 25),
    (PresetName.BALANCED, Regime.ISOLATED, 25),
    (PresetName.BALANCED, Regime.ISOLATED, 100),
    (PresetName.BALANCED, Regime.CROSS, 50),
    (PresetName.ALL_IN, Regime.ISOLATED, 50),
]


@pytest.mark.parametrize("side", Side)
@pytest.mark.parametrize(("name", "regime", "leverage"), CASES)
def test_the_paper_exchange_walked_tick_by_tick_ends_where_the_walk_says(
    name: PresetName, regime: Regime, leverage: int, side: Side
) -> None:
    path = paths.steady(side.sign, 0.05, 0.45, 100)
    case = Case(
        name="", kind="steady", preset=name, side=side, regime=regime, leverages=(leverage,),
        answer_ms=0, money=Fraction(2), path=lambda: path,
    )  # fmt: skip

    exchange, _, workers = simulated(case, path)

    (position,) = exchange.first
    foretold = with_preset(name, position, exchange.free_at_first)
    end = exchange.end_of(position.id)
    added = sum(entry.amount for entry in workers.entries)
    if foretold.ends is None or foretold.survives_to is None or _reach(foretold) > Fraction(44, 100):
        assert end is None
        return
    assert end is not None
    price = path.price(bisect_right(path.times_ms, end.at_ms) - 1)
    # From the trigger to the request the price goes on.
    assert (end.how == "liquidated") is (foretold.ends.how is How.LIQUIDATED)
    assert float(price) == pytest.approx(float(foretold.ends.price), rel=0.003)
    assert added == pytest.approx(foretold.costs, rel=0.02)
