"""Each action of a guard on isolated trades, and when its steps act again."""

from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest
from django.utils import timezone

from accounts.gateway import live_view
from automations import services
from automations.models import Execution, GuardStep, JournalEntry, MarginGuard
from automations.models.kinds import find
from exchange.client import Client
from exchange.formulas import Side
from exchange.market import Quote, Source
from exchange.money import UsdPerBtc
from exchange.position import Position
from exchange.simulator.running import Simulator
from tests.automations.acting import (
    ADD_MARGIN,
    SWEEP,
    effects,
    events,
    long_ago,
    look,
    move,
    rest_until_ready,
    states,
    written,
)
from tests.automations.conftest import open_long

pytestmark = pytest.mark.usefixtures("chain")
DOES = GuardStep.Does


def step(**changes: Any) -> None:
    """Make the guard's one step another."""
    GuardStep.objects.update(**({"amount_sats": None} | changes))


@pytest.mark.parametrize(
    ("changes", "added"),
    [
        pytest.param({"does": DOES.ADD_FIXED, "amount_sats": 7}, 7, id="fixed"),
        pytest.param({"does": DOES.ADD_SHARE, "share_percent": 25}, 25_000, id="share of the margin"),
        # The loss is 52,631.58: with 175,439 it is 30 %.
        pytest.param({"does": DOES.ADD_TO_REACH, "target_percent": 30}, 75_439, id="to reach 30 %"),
    ],
)
def test_adds_margin_as_the_step_says(
    venue: Simulator,
    client: Client,
    long: Position,
    guard: MarginGuard,
    *,
    changes: dict[str, Any],
    added: int,
) -> None:
    MarginGuard.objects.update(budget_per_position_sats=10**6, budget_per_day_sats=10**6)
    step(**changes)
    move(venue, 95_000)

    assert look(guard, long) == "confirmed"

    assert client.rest.running_trades()[0].margin == 100_000 + added
    assert Execution.objects.get().amount_sats == added


def test_only_tells_and_tells_again_only_after_the_danger_was_gone(
    venue: Simulator, long: Position, guard: MarginGuard
) -> None:
    step(does=DOES.NOTIFY)
    move(venue, 95_000)

    assert look(guard, long) == "confirmed"
    rest_until_ready(guard)
    assert "acted already" in look(guard, long)
    move(venue, 100_000)
    assert "has not reached" in look(guard, long)
    move(venue, 95_000)
    assert look(guard, long) == "confirmed"

    assert written(venue) == ["isolated/trade"], "nothing but the opening"
    assert events() == ["margin_guard_intended", "margin_guard_executed"] * 2
    newest = JournalEntry.objects.latest("id")
    assert newest.data["action"] == "notify"
    assert newest.data["margin"] == 100_000


def test_a_step_with_hysteresis_waits_for_the_danger_to_draw_back_whoever_asks(
    venue: Simulator, long: Position, guard: MarginGuard
) -> None:
    """Used: 52 % at 95,000, 45 % at 95,650, 39 % at 96,200; the step acts at 50 and again below 40."""
    step(does=DOES.ADD_FIXED, amount_sats=100, hysteresis_percent=10)
    move(venue, 95_000)
    assert look(guard, long) == "confirmed"
    rest_until_ready(guard)

    for price in (95_000, 95_650, 95_000):
        move(venue, price)
        restarted = find(guard.pk)
        assert restarted is not None
        assert look(restarted, long) != "confirmed"
    move(venue, 96_200)
    look(guard, long)
    move(venue, 95_000)

    assert look(guard, long) == "confirmed"
    assert effects(venue) == 2


def test_what_was_surely_not_added_leaves_the_step_free_to_act(
    venue: Simulator, long: Position, guard: MarginGuard
) -> None:
    step(does=DOES.ADD_FIXED, amount_sats=100, hysteresis_percent=10)
    move(venue, 95_000)
    venue.fault("status", status=504, path=ADD_MARGIN)

    assert look(guard, long) == "unknown"
    long_ago()
    assert look(guard, long) == "confirmed"

    assert states() == ["not_applied", "confirmed"]


def test_a_position_may_have_a_threshold_of_its_own(
    venue: Simulator, client: Client, long: Position, guard: MarginGuard
) -> None:
    other = open_long(client)
    guard.steps.get().position_thresholds.create(position_id=long.id, threshold_percent=60)
    move(venue, 95_000)

    assert "has not reached 60.00 %" in look(guard, long)
    assert look(guard, other) == "confirmed"


@pytest.mark.parametrize(
    ("changes", "word"),
    [
        pytest.param({"side": Side.SELL.value}, "the position is none of its", id="the other side"),
        pytest.param({"side": Side.BUY.value}, "confirmed", id="its side"),
        pytest.param({"only_positions": ["another"]}, "the position is none of its", id="another id"),
    ],
)
def test_acts_only_on_positions_in_its_scope(
    venue: Simulator, long: Position, guard: MarginGuard, changes: dict[str, Any], word: str
) -> None:
    MarginGuard.objects.update(**changes)
    move(venue, 95_000)

    assert look(guard, long) == word


def test_the_most_dangerous_step_of_a_ladder_acts(
    venue: Simulator, client: Client, long: Position, guard: MarginGuard
) -> None:
    guard.steps.create(threshold_percent=80, does=DOES.CLOSE)
    move(venue, 92_500)

    assert look(guard, long) == "confirmed"

    assert client.rest.running_trades() == ()
    assert effects(venue) == 0


def test_a_step_may_rest_longer_than_its_guard(
    venue: Simulator, long: Position, guard: MarginGuard
) -> None:
    GuardStep.objects.update(cooldown_s=600)
    deeper = guard.steps.create(
        threshold_percent=60, does=DOES.ADD_FIXED, amount_sats=5_000, cooldown_s=None
    )
    move(venue, 95_000)
    assert look(guard, long) == "confirmed"
    Execution.objects.update(settled_at=timezone.now() - timedelta(seconds=30), price=94_000)
    move(venue, 94_100)  # 52 % of 120,000, and no worse than where it acted last

    assert look(guard, long) == "cooldown"
    move(venue, 93_000)  # 63 %
    assert look(guard, long) == "confirmed"

    assert Execution.objects.get(step=deeper).amount_sats == 5_000


def test_the_next_look_needs_no_reading_of_what_the_exchange_answered(
    guard: MarginGuard, long: Position, paper: Simulator
) -> None:
    move(paper, 95_000)
    assert services.act(guard.pk, long.id, SWEEP)["status"] == "confirmed"
    paper.fault("status", status=503, path="/v3/futures/isolated/trades/running", next=99)

    paper.set_price(92_000)
    price, now = UsdPerBtc(Decimal(92_000)), datetime.now(UTC)
    live_view().put_price("paper", Quote(price=price, at=now, time_ms=1, source=Source.STREAM))

    assert services.act(guard.pk, long.id, SWEEP)["status"] == "confirmed"
    assert effects(paper) == 2
