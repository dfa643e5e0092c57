"""A shadow decides as the live automation would, writes it down, and touches nothing."""

from decimal import Decimal
from typing import Any

import pytest

from accounts.models import Account
from automations.models import (
    AutoEntry,
    Automation,
    Execution,
    GuardStep,
    JournalEntry,
    MarginGuard,
    TakeProfitStopLoss,
)
from exchange.client import Client
from exchange.position import Position
from exchange.simulator.running import Simulator
from tests.automations.acting import (
    enter,
    events,
    look,
    move,
    open_cross,
    rest_until_ready,
    states,
    written,
)

pytestmark = pytest.mark.usefixtures("chain")

STEPS = [
    pytest.param({"does": "notify"}, id="notify"),
    pytest.param({"does": "add_fixed", "amount_sats": 5_000}, id="add"),
    pytest.param({"does": "reduce_position", "reduce_percentage": 40}, id="reduce"),
    pytest.param({"does": "close_position"}, id="close"),
]
REMEMBERED = ("does", "amount_sats", "quantity", "level", "distance", "why", "position_id")


def decisions() -> list[dict[str, Any]]:
    return list(Execution.objects.order_by("id").values(*REMEMBERED))


def live(automation: Automation) -> None:
    Automation.objects.filter(pk=automation.pk).update(shadow=False)


@pytest.fixture
def guard(guard: MarginGuard) -> MarginGuard:
    guard.accepts_reopening = guard.shadow = True
    guard.save()
    return guard


@pytest.mark.parametrize("step", STEPS)
@pytest.mark.parametrize("hysteresis", [None, 10])
def test_a_shadow_writes_down_what_the_live_guard_then_does(
    venue: Simulator, long: Position, guard: MarginGuard, step: dict[str, Any], hysteresis: int | None
) -> None:
    GuardStep.objects.update(**({"amount_sats": None, "hysteresis_percent": hysteresis} | step))
    move(venue, 95_000)

    assert look(guard, long) == "shadow"

    assert written(venue) == ["isolated/trade"], "nothing but the opening"
    assert events() == ["margin_guard_intended", "margin_guard_shadow"]
    foreseen = decisions()
    live(guard)
    assert look(guard, long) == "confirmed", "no rest, no budget, no memory of a shadow binds it"
    assert decisions()[1] == foreseen[0]


def test_a_shadow_rests_and_keeps_its_budget_as_it_would_live(
    venue: Simulator, long: Position, guard: MarginGuard
) -> None:
    move(venue, 92_000)
    words = []
    for _ in range(4):
        words += [look(guard, long), look(guard, long)]
        rest_until_ready(guard)

    assert words == ["shadow", "cooldown"] * 3 + ["budget_used_up"] * 2
    assert [row.amount_sats for row in Execution.objects.order_by("id")] == [20_000, 20_000, 10_000]


def test_a_shadow_leaves_the_accounts_budget_and_rate_to_those_who_act(
    venue: Simulator, long: Position, guard: MarginGuard, account: Account
) -> None:
    Account.objects.update(budget_per_day_sats=20_000, guard_commands_per_minute=1)
    acting = MarginGuard.objects.create(enabled=True, account=account, name="acting")
    acting.steps.create(threshold_percent=50, does="add_fixed", amount_sats=20_000)
    move(venue, 95_000)

    assert [look(guard, long), look(acting, long)] == ["shadow", "confirmed"]


def test_shadows_take_no_turn_from_each_other(
    venue: Simulator, long: Position, guard: MarginGuard, account: Account
) -> None:
    Account.objects.update(guard_commands_per_minute=1)
    other = MarginGuard.objects.create(enabled=True, account=account, name="other", shadow=True)
    other.steps.create(threshold_percent=50, does="close_position")
    move(venue, 95_000)

    words = [look(guard, long), look(other, long)]
    rest_until_ready(guard)

    assert words == ["shadow", "shadow"]
    assert look(guard, long) == "command_rate", "its own count, as they would live"


@pytest.mark.parametrize("switch", ["halted", "reduce_only"])
def test_the_gates_are_the_same(
    venue: Simulator, long: Position, guard: MarginGuard, switch: str
) -> None:
    Account.objects.update(switch=switch)
    move(venue, 95_000)

    assert look(guard, long) == ("halted" if switch == "halted" else "shadow")


@pytest.mark.parametrize(
    "fields",
    [
        pytest.param({"does": "close_sl", "when": "loss"}, id="native stop"),
        pytest.param({"does": "close_tp", "when": "profit"}, id="native take profit"),
        pytest.param({"does": "update_sl", "level": "break_even"}, id="stop to break-even"),
        pytest.param(
            {"does": "update_sl", "level": "trailing", "distance_percent": 2}, id="trailing stop"
        ),
        pytest.param(
            {"does": "update_tp", "level": "price", "new_takeprofit": 120_000}, id="take profit"
        ),
    ],
)
def test_an_exit_is_written_down_once_and_set_once_live(
    venue: Simulator, account: Account, long: Position, fields: dict[str, Any]
) -> None:
    exits = TakeProfitStopLoss.objects.create(
        enabled=True,
        account=account,
        name="exits",
        shadow=True,
        cooldown_s=1,
        trigger_pnl_percentage=Decimal(20),
        **fields,
    )
    move(venue, 102_000 if fields["does"].startswith("close") else 103_000)

    assert look(exits, long) == "shadow"
    rest_until_ready(exits)
    assert look(exits, long) == "its shadow wrote that down already"
    assert written(venue) == ["isolated/trade"]
    live(exits)
    assert look(exits, long) == "confirmed"

    first, second = decisions()
    assert first == second


def test_an_entry_opens_nothing_and_opens_live_as_often_as_it_may(
    venue: Simulator, client: Client, account: Account
) -> None:
    mine = AutoEntry.objects.create(
        enabled=True, account=account, name="entry", side="buy", quantity=100, shadow=True
    )

    assert enter(mine) == {"status": "shadow"}
    assert enter(mine) == {"status": "opened as often as it may"}
    assert written(venue) == []
    Automation.objects.update(shadow=False, enabled=True)
    assert enter(mine)["status"] == "completed"

    assert len(client.rest.running_trades()) == 1
    assert states() == ["shadow", "confirmed"]


def test_a_shadow_never_deposits_to_the_cross_position(
    venue: Simulator, client: Client, guard: MarginGuard
) -> None:
    before = open_cross(client)
    MarginGuard.objects.update(regime="cross")
    writes = len(written(venue))
    move(venue, 80_000)

    assert look(guard, before) == "shadow"

    assert len(written(venue)) == writes
    assert JournalEntry.objects.latest("id").data["amount"] == 20_000
