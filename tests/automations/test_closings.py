"""What ended a position: found at the exchange, told once, with what it cost and what guards did."""

from datetime import timedelta
from decimal import Decimal

import pytest
from django.utils import timezone

from accounts.models import Account
from automations import closings, known_positions, tasks
from automations.known_positions import Reading
from automations.models import (
    GuardStep,
    JournalEntry,
    KnownPosition,
    MarginGuard,
    Notification,
    TakeProfitStopLoss,
)
from automations.reading import read_all
from exchange.client import Client
from exchange.cross import NewCrossOrder
from exchange.formulas import Side
from exchange.money import Usd, UsdPerBtc
from exchange.position import Position, Regime
from exchange.simulator.running import Simulator
from tests.automations.acting import events, look, move, open_cross, rest_until_ready
from tests.automations.conftest import open_long

pytestmark = pytest.mark.usefixtures("chain")
CLOSED = "/v3/futures/isolated/trades/closed"


def seen(client: Client, account: Account) -> set[int]:
    """Take over a reading as the stream process does; return the accounts that lost a position."""
    reading = Reading(account_id=account.pk, snapshot=read_all(client), regimes=frozenset(Regime))
    return known_positions.write_down([reading])


def told() -> list[str]:
    found = Notification.objects.order_by("id").values_list("subject", flat=True)
    return [subject.removeprefix("[hubdefisats] account 0: ") for subject in found]


def the_end() -> JournalEntry:
    return JournalEntry.objects.latest("id")


def test_13_a_liquidation_is_told_with_what_the_guard_did_what_it_missed_and_what_it_cost(
    venue: Simulator, client: Client, long: Position, guard: MarginGuard, account: Account
) -> None:
    MarginGuard.objects.update(budget_per_position_sats=20_000)
    seen(client, account)
    move(venue, 95_000)
    assert look(guard, long) == "confirmed"
    rest_until_ready(guard)
    move(venue, 90_500)
    assert look(guard, long) == "budget_used_up"
    seen(client, account)
    move(venue, 88_000)

    assert seen(client, account) == {account.pk}
    assert tasks.explain_closings(account.pk) == "1 explained"

    end = the_end()
    assert (end.event, end.position_id, end.automation) == ("liquidated", long.id, None)
    assert end.data["exitPrice"] == "89285.5"
    assert (end.data["marginLost"], end.data["addedSats"]) == (120_000, 20_000)
    assert (end.data["firstMargin"], end.data["guarded"]) == (100_000, True)
    assert told()[-1] == "LIQUIDATED: buy of 1,000 USD at 89,285.5"
    first, *lines = Notification.objects.latest("id").text.split("\n")
    assert first == (
        f"Position {long.id} on your account “account 0” (paper) was liquidated at 89,285.5."
        " It is lost and cost 122,100 sats of margin and fees."
    )
    assert any("added 20,000 sats in 1 top-up, the last at a price of 95,000.0" in it for it in lines)
    assert any("the budget is used up" in it for it in lines)
    assert not KnownPosition.objects.exists()


@pytest.mark.usefixtures("long", "guard")
def test_13_a_position_that_no_guard_watched_says_so_when_it_is_liquidated(
    venue: Simulator, client: Client, account: Account
) -> None:
    MarginGuard.objects.update(enabled=False)
    seen(client, account)
    move(venue, 90_000)
    seen(client, account)
    closings.explain()

    assert the_end().event == "liquidated"
    assert "; No guard watched it. “guard” was disabled" in the_end().message
    assert len(told()) == 1


@pytest.mark.parametrize(
    ("price", "event"),
    [
        pytest.param(95_000, "stoploss_executed", id="the stop"),
        pytest.param(110_000, "takeprofit_executed", id="the take profit"),
    ],
)
def test_13_an_exit_executed_by_the_exchange_is_told_with_who_had_set_it(
    venue: Simulator, client: Client, long: Position, account: Account, *, price: int, event: str
) -> None:
    exits = TakeProfitStopLoss.objects.create(
        account=account,
        name="exits",
        does="update_sl",
        trigger_pnl_percentage=Decimal(1),
        when="profit",
        level="from_market",
        distance_percent=Decimal(5),
        on_exchange=False,
    )
    move(venue, 101_000)
    assert look(exits, long) == "confirmed"
    client.set_takeprofit(long.id, UsdPerBtc(Decimal(109_000)))
    seen(client, account)
    move(venue, price)
    seen(client, account)

    assert closings.explain([account.pk]) == 1

    end = the_end()
    assert end.event == event
    if event == "stoploss_executed":
        assert "which “exits” had set, at 95950: realised -42,209 sats before" in end.message
        assert told()[-1] == "stop loss executed by the exchange at 95,950"
    else:
        assert "which was set by hand, at 109000: realised +82,569 sats before" in end.message
    assert "Closed: exit at " in Notification.objects.latest("id").text


@pytest.mark.parametrize("guarded", [True, False])
@pytest.mark.usefixtures("guard")
def test_13_a_trade_closed_by_hand_is_in_the_journal_and_told_where_it_was_guarded(
    client: Client, long: Position, account: Account, *, guarded: bool
) -> None:
    MarginGuard.objects.update(enabled=guarded)
    seen(client, account)
    client.close(long.id)
    seen(client, account)
    closings.explain()

    assert events() == ["closed_elsewhere"]
    assert told() == (["closed, and not by an automation"] if guarded else [])


def test_13_what_a_guard_closed_is_told_once_with_its_exit_and_not_as_the_exchanges_doing(
    venue: Simulator, client: Client, long: Position, guard: MarginGuard, account: Account
) -> None:
    GuardStep.objects.update(does=GuardStep.Does.CLOSE, amount_sats=None)
    seen(client, account)
    move(venue, 95_000)
    assert look(guard, long) == "confirmed"
    seen(client, account)
    closings.explain()

    assert told() == ["guard: close position"]
    assert not {"closed_elsewhere", "stoploss_executed"} & set(events())
    assert not KnownPosition.objects.exists()


@pytest.mark.usefixtures("long")
def test_13_several_ends_are_found_in_one_reading_and_each_is_told_once(
    venue: Simulator, client: Client, account: Account
) -> None:
    for _ in range(3):
        open_long(client)
    seen(client, account)
    move(venue, 90_000)
    seen(client, account)

    assert closings.explain() == 4
    assert closings.explain() == 0
    assert events() == ["liquidated"] * 4
    assert len(told()) == 4


@pytest.mark.usefixtures("long")
def test_13_a_position_that_vanished_from_a_reading_and_runs_is_no_end(
    client: Client, account: Account
) -> None:
    seen(client, account)
    KnownPosition.objects.update(gone_at=timezone.now(), look_at=timezone.now())

    assert closings.explain() == 0

    assert KnownPosition.objects.get().gone_at is None
    assert events() == []


@pytest.mark.usefixtures("long")
def test_13_a_reading_of_one_regime_says_nothing_about_the_other(
    client: Client, account: Account
) -> None:
    open_cross(client)
    seen(client, account)
    isolated = Reading(
        account_id=account.pk,
        snapshot=client.rest.positions(),
        regimes=frozenset({Regime.ISOLATED}),
    )

    assert known_positions.write_down([isolated]) == set()
    assert KnownPosition.objects.running().count() == 2


@pytest.mark.usefixtures("long", "guard")
def test_13_what_cannot_be_read_is_looked_for_again_and_given_up_after_a_day(
    venue: Simulator, client: Client, account: Account
) -> None:
    seen(client, account)
    KnownPosition.objects.update(
        position_id="nobody-knows", gone_at=timezone.now(), look_at=timezone.now()
    )
    venue.fault("status", status=400, path=CLOSED)

    assert closings.explain() == 0, "unknown is never empty"
    assert closings.explain() == 0, "not due"
    KnownPosition.objects.update(look_at=timezone.now())
    assert closings.explain() == 0, "the list may lag"
    assert events() == []
    KnownPosition.objects.update(
        gone_at=timezone.now() - timedelta(days=1, minutes=1), look_at=timezone.now()
    )

    assert closings.explain() == 1
    assert "does not show what ended it" in the_end().message


@pytest.mark.parametrize("price", [60_000, None])
@pytest.mark.usefixtures("guard")
def test_13_the_end_of_a_cross_position_is_told_too(
    venue: Simulator, client: Client, account: Account, *, price: int | None
) -> None:
    MarginGuard.objects.update(regime="cross")
    open_cross(client)
    seen(client, account)
    if price is None:
        client.rest.cross.order(NewCrossOrder(side=Side.SELL, quantity=Usd(1000)))
    else:
        move(venue, price)
    seen(client, account)

    assert closings.explain() == 1

    assert events() == ["liquidated" if price else "closed_elsewhere"]
    assert len(told()) == 1


def test_13_a_funding_payment_is_in_the_journal_and_not_told(
    venue: Simulator, client: Client, long: Position, account: Account
) -> None:
    seen(client, account)
    venue.settle_funding("0.0001")
    seen(client, account)
    seen(client, account)
    venue.settle_funding("-0.0001")
    seen(client, account)

    paid, received = JournalEntry.objects.order_by("id")
    assert {paid.event, received.event} == {"funding_paid"}
    assert (paid.position_id, paid.data["amount"], paid.data["margin"]) == (long.id, 100, 99_900)
    assert received.data["amount"] == -100
    assert told() == []
    known = KnownPosition.objects.get()
    assert (known.margin, known.first_margin) == (99_900, 100_000)
