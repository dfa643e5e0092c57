"""Entries leave what guards may need: what that is, and what is said where an entry would take it."""

from collections.abc import Callable
from decimal import Decimal

import pytest
from django.utils import timezone

from accounts.models import Account
from automations import earmarking
from automations.models import AutoEntry, GuardStep, JournalEntry, MarginGuard
from automations.previewing import preview
from exchange.client import Client
from exchange.formulas import Side
from exchange.money import Sats, Usd
from exchange.position import Position
from exchange.simulator.running import Simulator
from exchange.trade import NewTrade
from tests.automations.acting import enter, events, look, move, open_cross, reasons, written
from tests.automations.conftest import open_long
from tests.automations.test_entries import COST, entry

pytestmark = pytest.mark.usefixtures("chain")

TRADES = "/v3/futures/isolated/trades/running"


def needed(account: Account, client: Client) -> int:
    account.refresh_from_db()
    return earmarking.needed(account, client, timezone.now())


def test_a_guard_may_need_what_its_budget_of_each_running_position_still_allows(
    venue: Simulator, account: Account, client: Client, guard: MarginGuard, long: Position
) -> None:
    assert needed(account, client) == 50_000
    move(venue, 95_000)
    assert look(guard, long) == "confirmed"

    assert needed(account, client) == 30_000, "20,000 of 50,000 are spent"
    open_long(client)
    assert needed(account, client) == 60_000, "of 80,000 a day 20,000 are spent"


@pytest.mark.parametrize(
    ("change", "need"),
    [
        pytest.param(lambda: MarginGuard.objects.update(enabled=False), 0, id="disabled"),
        pytest.param(lambda: MarginGuard.objects.update(shadow=True), 0, id="a shadow"),
        pytest.param(lambda: MarginGuard.objects.update(side="sell"), 0, id="covers no long"),
        pytest.param(lambda: MarginGuard.objects.update(regime="cross"), 0, id="looks at cross"),
        pytest.param(lambda: GuardStep.objects.update(does="close_position"), 0, id="adds no margin"),
        pytest.param(
            lambda: MarginGuard.objects.update(budget_per_day_sats=7_000), 7_000, id="its own day"
        ),
        pytest.param(
            lambda: Account.objects.update(budget_per_day_sats=9_000), 9_000, id="the account's day"
        ),
        pytest.param(
            lambda: MarginGuard.objects.update(
                budget_per_position_sats=5_000_000, budget_per_day_sats=5_000_000
            ),
            900_000,
            id="no more than leverage 1 takes",
        ),
    ],
)
@pytest.mark.usefixtures("guard", "long")
def test_what_a_guard_may_need_is_bound_as_its_top_ups_are(
    account: Account, client: Client, *, change: Callable[[], object], need: int
) -> None:
    change()

    assert needed(account, client) == need


def test_the_cross_position_needs_what_its_guard_may_add(
    account: Account, client: Client, guard: MarginGuard
) -> None:
    open_cross(client)
    MarginGuard.objects.filter(pk=guard.pk).update(regime="cross")

    assert needed(account, client) == 50_000


@pytest.fixture
def large(venue: Simulator, client: Client, guard: MarginGuard) -> int:
    """A long of 20,000 USD whose guard may need all that is free but the cost of `entry`."""
    client.open_trade(NewTrade(side=Side.BUY, leverage=Decimal(10), quantity=Usd(20_000)))
    need = venue.balance() - COST
    budgets = {"budget_per_position_sats": need, "budget_per_day_sats": 20_000_000}
    MarginGuard.objects.filter(pk=guard.pk).update(**budgets)
    return need


@pytest.mark.parametrize("short", [0, 1], ids=["just enough", "a sat too few"])
def test_an_entry_never_takes_what_a_guard_may_need(
    venue: Simulator, account: Account, large: int, short: int
) -> None:
    MarginGuard.objects.update(budget_per_position_sats=large + short)
    mine = entry(account)
    free = venue.balance()
    move(venue, 95_000)
    (ahead,) = preview(mine).subjects

    assert enter(mine)["status"] == ("guards_need" if short else "completed")

    assert reasons() == (["guards_need"] if short else [])
    assert venue.balance() == free - (0 if short else COST)
    assert AutoEntry.objects.get().enabled is bool(short)
    said = f"it costs 10,746 of {free:,} free sats, of which the guards may need {large + short:,}"
    assert ahead.outlooks[0].obstacle == (said if short else None), "the preview says the same"
    if short:
        assert said in JournalEntry.objects.get().message


def test_an_order_on_the_cross_position_takes_nothing_of_it(
    account: Account, client: Client, large: int
) -> None:
    client.rest.cross.deposit(Sats(COST))
    MarginGuard.objects.update(budget_per_position_sats=large + 1)

    mine = entry(account, regime="cross", trigger_price=None)

    assert enter(mine)["status"] == "completed"


@pytest.mark.usefixtures("large")
def test_where_the_positions_cannot_be_read_an_entry_is_held_and_that_is_said_once(
    venue: Simulator, account: Account
) -> None:
    mine = entry(account)
    move(venue, 95_000)
    before = written(venue)
    venue.fault("status", status=500, path=TRADES, next=100)

    for _ in range(2):
        assert enter(mine)["status"] == "guards_need_unknown"

    assert written(venue) == before
    assert events() == ["auto_entry_held"]
    assert "cannot be told" in JournalEntry.objects.get().message
    venue.clear_faults()
    assert enter(mine)["status"] == "completed", "and passes with the trouble"
