"""What a preview says of each kind, and that it changes nothing."""

import json
from decimal import Decimal
from io import StringIO
from typing import Any

import pytest
from django.apps import apps
from django.core.management import CommandError, call_command
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.utils import timezone
from pytest_django.fixtures import Settings

from accounts.gateway import redis_client
from accounts.models import Account, Installation
from automations import foretelling, quarantine, services
from automations.executing import Cause
from automations.models import (
    AutoEntry,
    Automation,
    Execution,
    GuardStep,
    MarginGuard,
    TakeProfitStopLoss,
)
from automations.models.kinds import Kind
from automations.previewing import CannotBeSeenError, preview
from automations.prospects import Outlook
from automations.rules.actions import (
    AddMargin,
    ClosePosition,
    OpenPosition,
    ReducePosition,
    SetStopLoss,
)
from exchange.client import Client
from exchange.config import Network
from exchange.cross import NewCrossOrder
from exchange.formulas import Side
from exchange.money import Sats, Usd
from exchange.position import Position
from exchange.simulator.running import Simulator
from exchange.trade import NewTrade
from tests.automations.asking import is_asked, text_of
from tests.exchange.places import endpoints_of

SWEEP = Cause(origin=Execution.Origin.SWEEP)


def now_of(automation: Kind) -> Outlook:
    """Return the only position's prospect at the market."""
    (subject,) = preview(automation).subjects
    return subject.outlooks[0]


def ahead_of(automation: Kind) -> Outlook:
    """Return the only position's prospect at its only trigger."""
    (subject,) = preview(automation).subjects
    (_, ahead) = subject.outlooks
    return ahead


def rows() -> dict[str, list[Any]]:
    """Return every row of every table of ours."""
    return {
        model.__name__: list(model.objects.order_by("pk").values())  # type: ignore[attr-defined]
        for label in ("accounts", "automations", "admin")
        for model in apps.get_app_config(label).get_models()
    }


def test_a_position_with_room_shows_its_trigger_and_what_would_be_there(
    guard: MarginGuard, long: Position, client: Client
) -> None:
    (subject,) = preview(guard).subjects
    now, ahead = subject.outlooks

    assert subject.position == long
    assert (now.now, now.action) == (True, None)
    assert "has not reached 50.00 %" in now.why
    assert (ahead.price, ahead.distance) == (Decimal(95_238), Decimal(-4_762))
    assert float(ahead.share) == pytest.approx(-0.04762)
    assert isinstance(ahead.action, AddMargin)
    assert ahead.action.amount == 20_000
    assert ahead.would_act
    assert ahead.after is not None
    assert ahead.after.position is not None
    assert (ahead.after.position.margin, ahead.after.position.liquidation) == (
        120_000,
        Decimal("89285.5"),
    )
    assert ahead.balance_left == client.account().balance - 20_000
    assert ahead.budget_left == 30_000


def test_what_a_guard_foretells_is_what_then_happens(
    venue: Simulator, guard: MarginGuard, long: Position, client: Client
) -> None:
    venue.set_price(95_000)
    foretold = now_of(guard)

    services.act(guard.pk, long.id, SWEEP)

    shown = client.rest.running_trades()[0]
    assert foretold.would_act
    assert foretold.reached == (Decimal(95_238),)
    assert foretold.after is not None
    assert foretold.after.position is not None
    assert (foretold.after.position.margin, foretold.after.position.liquidation) == (
        shown.margin,
        shown.liquidation,
    )
    assert foretold.balance_left == client.account().balance


@pytest.mark.parametrize(
    ("model", "changes", "says"),
    [
        pytest.param(Installation, {"switch": "halted"}, "a switch says halted", id="all halted"),
        pytest.param(Account, {"switch": "halted"}, "a switch says halted", id="account halted"),
        pytest.param(MarginGuard, {"switch": "halted"}, "a switch says halted", id="guard halted"),
        pytest.param(Account, {"verified_at": None}, "not active and verified", id="not verified"),
        pytest.param(Account, {"reserve_sats": 10**9}, "reserve", id="reserve"),
        pytest.param(Account, {"budget_per_day_sats": 0}, "budget is used up", id="account's budget"),
    ],
)
@pytest.mark.usefixtures("long")
def test_a_gate_that_would_refuse_is_named(
    venue: Simulator, guard: MarginGuard, model: type[Any], changes: dict[str, Any], says: str
) -> None:
    Installation.current()
    model.objects.update(**changes)
    guard.refresh_from_db()
    venue.set_price(95_000)

    found = now_of(guard)

    assert not found.would_act
    assert found.obstacle is not None
    assert says in found.obstacle
    assert found.after is None


def test_a_rest_after_acting_is_named(venue: Simulator, guard: MarginGuard, long: Position) -> None:
    MarginGuard.objects.update(cooldown_s=600)
    guard.refresh_from_db()
    venue.set_price(92_000)
    services.act(guard.pk, long.id, SWEEP)

    assert now_of(guard).obstacle == "its cooldown is not over (600 s left)"


def test_a_quarantine_stands_in_the_way(venue: Simulator, guard: MarginGuard, long: Position) -> None:
    quarantine.quarantine(guard, long.id, deliveries=3)
    venue.set_price(94_000)

    assert now_of(guard).obstacle == "it is quarantined"


def test_what_is_not_settled_yet_stands_in_the_way(
    venue: Simulator, guard: MarginGuard, long: Position
) -> None:
    venue.set_price(94_000)
    venue.fault("status", status=504, path="/v3/futures/isolated/trade/add-margin")
    services.act(guard.pk, long.id, SWEEP)

    assert now_of(guard).obstacle == "an earlier action is not settled yet"


@pytest.mark.usefixtures("long")
def test_a_budget_cuts_what_is_added_and_says_so(venue: Simulator, guard: MarginGuard) -> None:
    MarginGuard.objects.update(budget_per_position_sats=5_000)
    guard.refresh_from_db()
    venue.set_price(95_000)

    found = now_of(guard)

    assert isinstance(found.action, AddMargin)
    assert (found.action.amount, found.wanted, found.budget_left) == (5_000, 20_000, 0)


def test_reducing_an_isolated_trade_shows_the_cost_of_closing_and_reopening(
    venue: Simulator, guard: MarginGuard, long: Position, client: Client
) -> None:
    MarginGuard.objects.update(accepts_reopening=True)
    GuardStep.objects.update(
        does=GuardStep.Does.REDUCE, amount_sats=None, reduce_percentage=Decimal(40)
    )
    guard.refresh_from_db()
    venue.set_price(95_000)
    foretold = now_of(guard)

    assert foretold.action == ReducePosition(
        position_id=long.id, quantity=Usd(400), why=foretold.why, step=guard.steps.get().pk
    )
    assert foretold.after is not None
    assert (foretold.after.fees, foretold.after.profit) == (1052 + 631, -52_632), "API notes, 7.1 A"
    services.act(guard.pk, long.id, SWEEP)
    (rest,) = client.rest.running_trades()
    assert foretold.after.position is not None
    assert foretold.after.position.quantity == rest.quantity == 600
    assert foretold.after.position.liquidation == rest.liquidation
    assert foretold.balance_left == client.account().balance


@pytest.mark.usefixtures("long")
def test_an_exit_shows_the_stop_that_it_would_leave_with_the_exchange(account: Account) -> None:
    exits = TakeProfitStopLoss.objects.create(
        enabled=True,
        account=account,
        name="exits",
        does="close_sl",
        when="loss",
        trigger_pnl_percentage=Decimal(50),
        on_exchange=True,
    )

    found = now_of(exits)

    assert isinstance(found.action, SetStopLoss)
    assert found.after is not None
    assert found.after.position is not None
    assert found.after.position.stoploss == found.action.price
    assert found.reached == ()


@pytest.mark.usefixtures("long")
def test_an_exit_shows_both_sides_from_which_it_would_act(account: Account) -> None:
    exits = TakeProfitStopLoss.objects.create(
        enabled=True,
        account=account,
        name="exits",
        does="update_sl",
        when="either",
        level="break_even",
        trigger_pnl_percentage=Decimal(20),
        base="margin",
    )

    (subject,) = preview(exits).subjects

    assert [outlook.price for outlook in subject.outlooks[1:]] == [Decimal(102_041), Decimal(98_039)]
    above, below = subject.outlooks[1:]
    assert isinstance(above.action, SetStopLoss)
    assert below.action is None, "a stop at break-even would be beyond the market there"
    assert "not between liquidation and the market" in below.why


@pytest.fixture
def entry(account: Account) -> AutoEntry:
    """Buys 1,000 USD at 10x when the price falls to 90,000."""
    AutoEntry.objects.create(
        enabled=True,
        account=account,
        name="entry",
        side="buy",
        quantity=1000,
        trigger_price=Decimal(90_000),
    )
    return AutoEntry.objects.get()


def test_an_entry_shows_the_trade_it_would_open(
    venue: Simulator, entry: AutoEntry, client: Client
) -> None:
    (subject,) = preview(entry).subjects
    now, ahead = subject.outlooks

    assert now.why == "price_not_triggered"
    assert ahead.distance == -10_000
    assert isinstance(ahead.action, OpenPosition)
    assert ahead.after is not None
    venue.set_price(90_000)
    redis_client().flushdb()
    services.act(entry.pk, None, SWEEP)
    (opened,) = client.rest.running_trades()
    assert ahead.after.position is not None
    assert (ahead.after.position.margin, ahead.after.position.liquidation) == (
        opened.margin,
        opened.liquidation,
    )
    assert ahead.after.position.quantity == opened.quantity == 1000
    assert ahead.after.fees == 1111
    assert ahead.balance_left == client.account().balance


def test_an_entry_that_has_opened_says_so_and_is_not_disarmed_by_a_look(
    venue: Simulator, entry: AutoEntry
) -> None:
    venue.set_price(90_000)
    services.act(entry.pk, None, SWEEP)
    AutoEntry.objects.update(enabled=True)
    entry.refresh_from_db()

    assert now_of(entry).obstacle == "opened as often as it may"
    assert AutoEntry.objects.get().enabled


def test_an_entry_on_the_cross_position_counts_what_is_there_already(
    account: Account, client: Client
) -> None:
    client.rest.cross.deposit(Sats(500_000))
    client.rest.cross.order(NewCrossOrder(side=Side.BUY, quantity=Usd(1000)))
    entry = AutoEntry.objects.create(
        enabled=True, account=account, name="more", side="buy", quantity=500, regime="cross"
    )

    foretold = now_of(entry)
    services.act(entry.pk, None, SWEEP)

    shown = client.rest.cross.position().running()
    assert shown is not None
    assert foretold.after is not None
    assert foretold.after.position is not None
    assert foretold.after.position.quantity == 1500
    assert foretold.after.position.liquidation == shown.liquidation
    assert foretold.after.position.margin == shown.margin


@pytest.mark.parametrize("does", ["reduce_position", "close_position"])
@pytest.mark.parametrize("price", [95_000, 105_000])
def test_the_cross_position_after_a_reduction_is_as_foretold(
    venue: Simulator, account: Account, client: Client, does: str, price: int
) -> None:
    client.rest.cross.deposit(Sats(500_000))
    client.rest.cross.order(NewCrossOrder(side=Side.BUY, quantity=Usd(1000)))
    guard = MarginGuard.objects.create(
        enabled=True, account=account, name="cross", regime="cross", metric="liquidation_distance"
    )
    part = Decimal(40) if does == "reduce_position" else None
    guard.steps.create(threshold_percent=Decimal(90), does=does, reduce_percentage=part)
    venue.set_price(price)
    foretold = now_of(guard)

    assert foretold.action is not None
    services.act(guard.pk, foretold.action.position_id, SWEEP)  # type: ignore[union-attr]

    shown = client.rest.cross.position().running()
    assert foretold.after is not None
    if shown is None:
        assert foretold.after.position is None
        assert isinstance(foretold.action, ClosePosition)
    else:
        after = foretold.after.position
        assert after is not None
        assert (after.quantity, after.entry, after.liquidation, after.margin) == (
            shown.quantity,
            shown.entry,
            shown.liquidation,
            shown.margin,
        )


@pytest.mark.usefixtures("long")
def test_only_covered_positions_are_shown_and_the_others_counted(
    guard: MarginGuard, client: Client
) -> None:
    short = client.open_trade(NewTrade(side=Side.SELL, leverage=Decimal(10), quantity=Usd(500)))
    MarginGuard.objects.update(side="sell")
    guard.refresh_from_db()

    found = preview(guard)

    assert [subject.position and subject.position.id for subject in found.subjects] == [short.id]
    assert found.others == 1


def test_an_account_without_positions_says_so(guard: MarginGuard) -> None:
    found = preview(guard)

    assert found.subjects == ()
    assert "nothing to act on" in " ".join(foretelling.notes(found))


@pytest.mark.usefixtures("long")
@pytest.mark.parametrize("kind", ["guard", "entry"])
def test_a_preview_writes_nothing_anywhere(
    venue: Simulator, guard: MarginGuard, entry: AutoEntry, kind: str
) -> None:
    Installation.current()
    venue.set_price(90_500)
    before, sent = rows(), len(venue.writes())

    with CaptureQueriesContext(
        connection,
    ) as queries:
        preview(guard if kind == "guard" else entry)

    assert rows() == before
    assert len(venue.writes()) == sent
    asked = [text_of(query["sql"]) for query in list(queries) if is_asked(query["sql"])]
    words = {text.split()[0] for text in asked}
    assert words <= {"SELECT", "SAVEPOINT", "ROLLBACK", "RELEASE"}
    assert not any("FOR UPDATE" in text for text in asked)


def test_an_exchange_that_cannot_be_reached_is_one_sentence(
    guard: MarginGuard, settings: Settings
) -> None:
    with Simulator() as gone:
        settings.LN_MARKETS_ENDPOINTS = {Network.PAPER: endpoints_of(gone)}

    with pytest.raises(CannotBeSeenError) as unseen:
        preview(guard)

    assert str(unseen.value).startswith("account 0 (paper) cannot be read: ")
    assert "\n" not in str(unseen.value)


def test_a_key_that_cannot_be_opened_is_one_sentence(guard: MarginGuard) -> None:
    Account.objects.update(credentials_sealed="spoilt")
    guard.refresh_from_db()

    with pytest.raises(CannotBeSeenError, match="enter key, secret and passphrase again"):
        preview(guard)


def called(*arguments: str) -> str:
    output = StringIO()
    call_command("preview", *arguments, stdout=output)
    return output.getvalue()


@pytest.mark.usefixtures("guard", "long")
def test_the_command_tells_people() -> None:
    told = called("guard")

    assert "add 20,000 sats of margin" in told
    assert "95,238  -4,762 (-4.76 %)" in told
    assert "liquidation 89,285.5" in told


@pytest.mark.usefixtures("long")
def test_the_command_tells_programs(guard: MarginGuard) -> None:
    told = json.loads(called(str(guard.pk), "--json"))

    now, ahead = told["positions"][0]["outlooks"]
    assert (told["automationId"], told["type"], told["price"]) == (guard.pk, "margin_guard", "100000")
    assert (now["acts"], now["action"], now["after"]) == (False, None, None)
    assert (ahead["price"], ahead["distance"], ahead["distancePercent"]) == (
        "95238",
        "-4762",
        "-4.7620",
    )
    assert ahead["action"]["amount"] == 20_000
    assert ahead["after"]["position"]["liquidation"] == "89285.5"


@pytest.mark.usefixtures("guard")
@pytest.mark.parametrize("wanted", ["nobody", "99999", "9" * 30])
def test_the_command_knows_only_what_there_is(wanted: str) -> None:
    with pytest.raises(CommandError, match="There is no automation"):
        called(wanted)


def test_a_name_that_two_accounts_use_needs_an_id(guard: MarginGuard, venue: Simulator) -> None:
    other = Account(owner=guard.account.owner, name="second", network="paper")
    other.set_credentials(venue.accounts[1].credentials)
    other.verified_at = timezone.now()
    other.save()
    MarginGuard.objects.create(enabled=True, account=other, name=guard.name)

    with pytest.raises(CommandError, match=f"by its id: {guard.pk} "):
        called(guard.name)
    assert Automation.objects.filter(name=guard.name).count() == 2


@pytest.mark.usefixtures("guard", "long")
def test_no_secret_is_told(venue: Simulator) -> None:
    credentials = venue.accounts[0].credentials
    told = called("guard") + called("guard", "--json")

    for secret in (credentials.key, credentials.secret, credentials.passphrase):
        assert secret not in told
