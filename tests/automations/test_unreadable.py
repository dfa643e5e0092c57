"""One row that cannot be read: the others are guarded, it is not gone, and its owner knows."""

from contextlib import suppress
from dataclasses import replace
from datetime import timedelta
from decimal import Decimal
from typing import Any

import pytest
from django.utils import timezone

from accounts.gateway import client_for, live_view
from accounts.models import Account
from automations import (
    closings,
    cross_epoch,
    foretelling,
    known_positions,
    previewing,
    protection,
    reconciling,
    services,
)
from automations.known_positions import Reading
from automations.models import (
    Execution,
    ExitDisarmed,
    JournalEntry,
    KnownPosition,
    MarginGuard,
    Notification,
    TakeProfitStopLoss,
)
from automations.proof import Verdict
from automations.reading import read_all
from exchange.client import Client
from exchange.cross import NewCrossOrder
from exchange.errors import ExchangeError
from exchange.formulas import Side
from exchange.money import Sats, Usd
from exchange.position import CROSS, Position, Regime
from exchange.simulator.faults import NOWHERE
from exchange.simulator.running import Simulator
from exchange.trade import NewTrade
from exchange.unreadable import Unreadable
from tests.automations.acting import ADD_MARGIN, CLOSE, effects, enter, look, move
from tests.automations.conftest import open_long
from tests.automations.streams import streaming, wait_for
from tests.automations.test_entries import entry
from tests.waiting import wait_until

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("chain")]

RUNNING = "/v3/futures/isolated/trades/running"
POSITION = "/v3/futures/cross/position"

ODD: list[Any] = [
    pytest.param("side", "hold", id="a side that is new to us"),
    pytest.param("margin", 100_000.5, id="part of a sat"),
    pytest.param("margin", "100000", id="a number as text"),
    pytest.param("quantity", None, id="no size"),
    pytest.param("price", 0, id="an entry at 0"),
    pytest.param("running", False, id="a state that is none"),
    pytest.param("closed", True, id="two states"),
    pytest.param("stoploss", {}, id="an exit that is no number"),
    pytest.param("quantity", 10**11, id="more than a database holds"),
]
HARMLESS: list[Any] = [
    pytest.param("liquidation", 0, id="no liquidation, as of a short at 1x"),
    pytest.param("liquidation", None, id="null there"),
    pytest.param("liquidation", 1e9, id="beyond all prices"),
    pytest.param("maintenanceMargin", -3, id="a reserve below 0"),
    pytest.param("sumCashInPl", NOWHERE, id="a total missing"),
    pytest.param("clientId", "x" * 1001, id="a long label"),
    pytest.param("leverage", "ten", id="leverage as text"),
    pytest.param("filledAt", "yesterday", id="no time"),
    pytest.param("newField", [1], id="a field that is new to us"),
]


@pytest.fixture
def short(client: Client) -> Position:
    """A short at 1x beside the long: 1,000 USD from 100,000."""
    trade = NewTrade(side=Side.SELL, leverage=Decimal(1), quantity=Usd(1000))
    opened = client.open_trade(trade)
    assert isinstance(opened, Position)
    return opened


def make_odd(venue: Simulator, position_id: str, field: str, value: object) -> None:
    venue.fault("odd", path=RUNNING, id=position_id, field=field, value=value)


def write_down(account: Account) -> None:
    reading = Reading(
        account_id=account.pk,
        snapshot=read_all(client_for(account)),
        regimes=frozenset(Regime),
        after_unreadable=True,
    )
    known_positions.write_down([reading])


def told() -> list[str]:
    return list(Notification.objects.order_by("id").values_list("entry__event", flat=True))


@pytest.mark.parametrize(("field", "value"), [*ODD, *HARMLESS])
def test_the_others_are_guarded_whatever_one_row_shows(
    venue: Simulator, long: Position, short: Position, guard: MarginGuard, *, field: str, value: object
) -> None:
    make_odd(venue, short.id, field, value)
    move(venue, 91_000)

    assert [due.position_id for due in services.due(MarginGuard)] == [long.id]
    assert look(guard, long) == "confirmed"
    assert effects(venue) >= 1
    assert guard.account.as_read().filter(verified_at__isnull=False, refusals=0).exists()


@pytest.mark.parametrize(("field", "value"), HARMLESS)
def test_what_can_be_computed_or_decides_nothing_leaves_a_position_guarded(
    venue: Simulator, long: Position, guard: MarginGuard, *, field: str, value: object
) -> None:
    venue.fault("odd", id=long.id, field=field, value=value)  # the answers to writes as well
    move(venue, 95_000)

    assert look(guard, long) == "confirmed"
    assert effects(venue) >= 1
    assert not JournalEntry.objects.filter(event="position_unreadable").exists()


@pytest.mark.parametrize(("field", "value"), ODD)
def test_the_row_is_told_with_its_field_once_and_its_automations_say_so(
    venue: Simulator, account: Account, long: Position, guard: MarginGuard, *, field: str, value: object
) -> None:
    write_down(account)
    make_odd(venue, long.id, field, value)
    move(venue, 95_000)

    assert "cannot be read" in look(guard, long)
    for _ in range(3):
        write_down(account)
        list(services.due(MarginGuard))

    [entry] = JournalEntry.objects.filter(event="position_unreadable")
    assert entry.position_id == long.id
    assert f".{'running' if field == 'closed' else field} " in entry.message
    [held] = JournalEntry.objects.filter(event="margin_guard_held")
    assert held.data["reason"] == "unreadable"
    assert "cannot be read" in held.message
    assert told() == ["position_unreadable"]
    message = Notification.objects.get()
    assert "NOT protected" in message.subject
    assert entry.message in message.text
    assert effects(venue) == 0


@pytest.mark.usefixtures("guard")
def test_the_sweep_tells_it_where_no_stream_process_does(venue: Simulator, long: Position) -> None:
    make_odd(venue, long.id, "side", "hold")

    assert list(services.due(MarginGuard)) == []
    assert told() == ["position_unreadable"]
    venue.clear_faults()
    protection.look(timezone.now())

    assert JournalEntry.objects.filter(event="position_readable", position_id=long.id).exists()


@pytest.fixture
def hidden_long(venue: Simulator, account: Account, long: Position) -> Position:
    """Known to run, and not to be read any more."""
    write_down(account)
    make_odd(venue, long.id, "side", "hold")
    return long


@pytest.mark.parametrize("named", [True, False])
def test_it_is_not_gone(venue: Simulator, account: Account, long: Position, *, named: bool) -> None:
    write_down(account)
    make_odd(venue, long.id, "side" if named else "id", 5)
    write_down(account)

    [row] = KnownPosition.objects.all()
    assert row.gone_at is None
    assert closings.explain() == 0
    assert not JournalEntry.objects.filter(event__in=["closed_elsewhere", "liquidated"]).exists()


def test_one_that_was_taken_for_gone_is_known_as_running_again(hidden_long: Position) -> None:
    now = timezone.now()
    KnownPosition.objects.update(gone_at=now - timedelta(days=2), look_at=now)

    assert closings.explain() == 0
    assert KnownPosition.objects.running().filter(position_id=hidden_long.id).exists()


def test_when_it_can_be_read_again_that_is_told_and_it_is_guarded(
    venue: Simulator, account: Account, guard: MarginGuard, hidden_long: Position
) -> None:
    write_down(account)
    Notification.objects.update(next_attempt_at=timezone.now())  # it was worth telling
    venue.clear_faults()
    move(venue, 95_000)
    write_down(account)

    assert told() == ["position_unreadable", "position_readable"]
    assert JournalEntry.objects.latest("id").message == "it can be read again"
    assert look(guard, hidden_long) == "confirmed"


@pytest.mark.usefixtures("hidden_long")
def test_what_is_over_within_moments_is_not_told(venue: Simulator, account: Account) -> None:
    write_down(account)
    venue.clear_faults()
    write_down(account)
    assert told() == []


def test_its_end_is_explained_once_it_truly_ends(
    venue: Simulator, account: Account, hidden_long: Position
) -> None:
    write_down(account)
    venue.set_price(90_000)
    write_down(account)
    assert closings.explain() == 1
    assert JournalEntry.objects.filter(event="liquidated", position_id=hidden_long.id).exists()


def test_a_closed_row_that_cannot_be_read_ends_nothing_and_spoils_no_other(
    venue: Simulator, client: Client, account: Account, long: Position
) -> None:
    other = open_long(client)
    write_down(account)
    venue.set_price(90_000)
    write_down(account)
    venue.fault("odd", path="/v3/futures/isolated/trades/closed", id=long.id, field="pl", value="much")

    assert closings.explain() == 1
    assert JournalEntry.objects.get(event="liquidated").position_id == other.id
    KnownPosition.objects.update(look_at=timezone.now())
    venue.clear_faults()
    assert closings.explain() == 1
    assert JournalEntry.objects.filter(event="liquidated").count() == 2


@pytest.mark.usefixtures("guard", "hidden_long")
def test_entries_wait_for_what_a_guard_may_need_for_it(venue: Simulator, account: Account) -> None:
    opening = entry(account, trigger_price=Decimal(100_000))
    move(venue, 100_000)

    assert enter(opening)["status"] == "guards_need_unknown"
    assert "hold" in JournalEntry.objects.get(event="auto_entry_held").message
    venue.clear_faults()
    move(venue, 100_000)
    assert enter(opening)["status"] == "completed"


def test_what_its_owner_set_by_hand_is_not_forgotten(account: Account, hidden_long: Position) -> None:
    exits = TakeProfitStopLoss.objects.create(
        enabled=True, account=account, name="exit",
        trigger_pnl_percentage=10, when="profit", does="close_tp",
    )  # fmt: skip
    ExitDisarmed.objects.create(
        automation=exits, position_id=hidden_long.id, why="by hand",
        since=timezone.now() - timedelta(hours=1),
    )  # fmt: skip

    assert list(services.due(TakeProfitStopLoss)) == []
    assert ExitDisarmed.objects.exists()


def test_the_preview_says_so(guard: MarginGuard, hidden_long: Position) -> None:
    notes = foretelling.notes(previewing.preview(guard))
    assert any(hidden_long.id in note and "cannot be read" in note and "hold" in note for note in notes)


@pytest.mark.usefixtures("guard")
def test_the_stream_process_keeps_what_was_armed_and_goes_on_with_the_others(
    venue: Simulator, client: Client, long: Position
) -> None:
    open_long(client)
    with streaming() as process:
        wait_for(accounts=1, triggers=2)
        make_odd(venue, long.id, "side", "hold")
        wait_until(JournalEntry.objects.filter(event="position_unreadable").exists, what="it is told")
        assert process.serving.seen()["markets"]["paper"]["armed"] == 2
        assert KnownPosition.objects.running().count() == 2
        venue.clear_faults()
        wait_until(JournalEntry.objects.filter(event="position_readable").exists, what="it is over")


# Proofs


@pytest.mark.parametrize("path", [ADD_MARGIN, CLOSE])
def test_a_success_whose_answer_cannot_be_read_may_have_happened_and_is_never_repeated(
    venue: Simulator, long: Position, guard: MarginGuard, *, path: str
) -> None:
    if path == CLOSE:
        guard.steps.update(does="close_position", amount_sats=None)
    venue.fault("odd", path=path, field="id", value=None)
    move(venue, 95_000)

    look(guard, long)
    look(guard, long)

    assert effects(venue, path) == 1
    assert Execution.objects.earliest("id").state == Execution.State.CONFIRMED, "by proof"


@pytest.mark.parametrize(
    ("does", "field"),
    [
        pytest.param("close_position", "id", id="nobody can tell whether it still runs"),
        pytest.param("close_position", "side", id="it still runs"),
        pytest.param("add_fixed", "margin", id="nobody can tell what was added"),
    ],
)
def test_nothing_is_proven_by_a_row_that_cannot_be_read(
    venue: Simulator, long: Position, guard: MarginGuard, *, does: str, field: str
) -> None:
    guard.steps.update(does=does)
    path = CLOSE if does == "close_position" else ADD_MARGIN
    venue.fault("status", status=502, path=path, next=9)
    move(venue, 95_000)
    look(guard, long)
    execution = Execution.objects.latest("id")
    assert execution.state == Execution.State.UNKNOWN
    make_odd(venue, long.id, field, 0.5)

    verdict: object = None
    with suppress(ExchangeError):
        verdict = reconciling.settle(
            execution, client_for(guard.account), timezone.now() + timedelta(minutes=2)
        )

    execution.refresh_from_db()
    expected = Verdict.DID_NOT if field == "side" else None
    assert verdict is expected
    assert (execution.state == Execution.State.UNKNOWN) is (expected is None)
    assert effects(venue, path) == 0


# The cross position


@pytest.fixture
def cross_guard(guard: MarginGuard) -> MarginGuard:
    MarginGuard.objects.update(regime=Regime.CROSS.value)
    guard.refresh_from_db()
    return guard


@pytest.fixture
def cross(client: Client) -> None:
    client.rest.cross.deposit(Sats(200_000))
    client.rest.cross.order(NewCrossOrder(side=Side.BUY, quantity=Usd(1000)))


@pytest.mark.usefixtures("cross")
@pytest.mark.parametrize(
    ("field", "value"), [("liquidation", None), ("maintenanceMargin", -1), ("updatedAt", 5)]
)
def test_the_cross_position_is_guarded_whatever_decides_nothing(
    venue: Simulator, cross_guard: MarginGuard, *, field: str, value: object
) -> None:
    venue.fault("odd", path=POSITION, field=field, value=value)
    move(venue, 88_000)
    assert look(cross_guard, CROSS) == "confirmed"


@pytest.mark.usefixtures("cross")
def test_a_cross_position_that_cannot_be_read_spoils_no_trade_and_is_not_flat(
    venue: Simulator, account: Account, cross_guard: MarginGuard, long: Position
) -> None:
    write_down(account)
    venue.fault("odd", path=POSITION, field="entryPrice", value=None)
    redis_empty_at = Account.objects.get().cross_since
    write_down(account)

    assert "cannot be read" in look(cross_guard, CROSS)
    assert KnownPosition.objects.running().filter(position_id=CROSS).exists()
    assert KnownPosition.objects.running().filter(position_id=long.id).exists()
    assert Account.objects.get().cross_since == redis_empty_at
    [entry] = JournalEntry.objects.filter(event="position_unreadable")
    assert entry.position_id == CROSS
    held = live_view().read(None, account.pk).cross
    assert held is not None
    assert held.hidden(CROSS) is not None


@pytest.mark.usefixtures("cross")
@pytest.mark.parametrize("fault", [("status", {"status": 503}), ("status", {"status": 404})])
def test_a_cross_position_that_the_exchange_does_not_tell_costs_no_trade(
    venue: Simulator,
    client: Client,
    account: Account,
    cross_guard: MarginGuard,
    long: Position,
    *,
    fault: tuple[str, dict[str, int]],
) -> None:
    write_down(account)
    kind, how = fault
    venue.fault(kind, **how, path=POSITION, next=1000)

    snapshot = read_all(client)

    assert [position.id for position in snapshot.positions] == [long.id]
    assert snapshot.hidden(CROSS) is not None
    write_down(account)
    assert KnownPosition.objects.running().filter(position_id=CROSS).exists(), "it is not flat"
    venue.clear_faults()
    move(venue, 88_000)
    assert look(cross_guard, CROSS) == "confirmed"


def test_one_that_cannot_be_read_says_nothing_of_when_a_cross_position_began(client: Client) -> None:
    flat = client.cross()
    row = Unreadable(id=CROSS, label=None, fault="entryPrice is null")
    hidden = replace(flat, unreadable=(row,))
    assert cross_epoch.seen_between(flat, hidden) is None
    assert cross_epoch.seen_between(hidden, hidden) is None
    assert cross_epoch.seen_between(hidden, flat) == flat.at
