"""A native stop before a guard's next step is told in the preview, and once in the journal."""

from decimal import Decimal

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

from accounts.models import Account
from automations import foretelling, foretelling_json, services
from automations.models import JournalEntry, MarginGuard
from automations.previewing import preview
from exchange.client import Client
from exchange.money import UsdPerBtc
from exchange.position import Position
from exchange.simulator.running import Simulator
from tests.automations.acting import look, move, rest_until_ready
from tests.automations.test_exits import exits

pytestmark = pytest.mark.usefixtures("chain")


def at(price: str) -> UsdPerBtc:
    return UsdPerBtc(Decimal(price))


def sweep(venue: Simulator) -> list[str]:
    """Sweep anew, and return what the journal says about stops until now."""
    move(venue, 100_000)
    assert list(services.due(MarginGuard)) == []
    told = JournalEntry.objects.filter(event="margin_guard_stop_ahead").order_by("id")
    return [each.message for each in told]


def test_the_preview_says_that_a_stop_closes_before_the_guard_acts(
    client: Client, guard: MarginGuard, long: Position
) -> None:
    said = f"Position {long.id}: your stop at 96,340 closes before the guard acts."
    assert said not in foretelling.notes(preview(guard))
    client.set_stoploss(long.id, at("96340"))

    shown = preview(guard)

    assert said in foretelling.notes(shown)
    assert said in list(foretelling.lines(shown))
    assert foretelling_json.as_json(shown)["positions"][0]["closesFirst"] == "96340"
    client.set_stoploss(long.id, at("94340"))
    assert not any("closes before" in note for note in foretelling.notes(preview(guard)))


def test_the_journal_says_it_once_for_each_stop(
    venue: Simulator, client: Client, guard: MarginGuard, long: Position
) -> None:
    assert sweep(venue) == []
    client.set_stoploss(long.id, at("96340"))

    first = ["your stop at 96,340 closes before the guard acts"]
    assert sweep(venue) == first
    assert sweep(venue) == first
    entry = JournalEntry.objects.get()
    assert (entry.automation_id, entry.position_id) == (guard.pk, long.id)
    client.set_stoploss(long.id, at("97000"))
    assert sweep(venue) == [*first, "your stop at 97,000 closes before the guard acts"]
    client.set_stoploss(long.id, at("94000"))
    assert len(sweep(venue)) == 2, "the guard acts first"
    client.set_stoploss(long.id, at("96340"))
    assert len(sweep(venue)) == 2, "that one was told"


@pytest.mark.usefixtures("guard")
def test_a_stop_that_trails_or_that_another_automation_moves_is_told_once(
    venue: Simulator, client: Client, account: Account, long: Position
) -> None:
    share = {"trigger_pnl_percentage": Decimal("0.01"), "distance_percent": 3}
    mine = exits(account, does="update_sl", level="from_market", when="either", **share)
    for market in (101_000, 102_000):
        move(venue, market)
        assert look(mine, long) == "confirmed"
        rest_until_ready(mine)
        assert len(sweep(venue)) == 1

    client.set_stoploss(long.id, None, trailing=Decimal("0.02"))
    for market in (101_000, 102_000):
        move(venue, market)
        assert len(sweep(venue)) == 2


@pytest.mark.usefixtures("guard")
def test_what_was_told_costs_a_sweep_one_question(
    venue: Simulator, client: Client, long: Position
) -> None:
    client.set_stoploss(long.id, at("96340"))
    sweep(venue)
    move(venue, 100_000)

    with CaptureQueriesContext(connection) as queries:
        list(services.due(MarginGuard))

    assert sum("automations_journalentry" in each["sql"] for each in queries) == 1
