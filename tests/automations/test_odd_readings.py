"""One reading of the exchange that can be read and is wrong: nothing that lasts follows of it."""

from datetime import timedelta
from decimal import Decimal

import pytest
from django.utils import timezone

from accounts.gateway import live_view, redis_client
from accounts.models import Account
from automations import closings, known_positions, protection, reconciling, services
from automations.crossing import Crossing
from automations.known_positions import Reading
from automations.models import (
    AutoEntry,
    Execution,
    ExitDisarmed,
    GuardStep,
    JournalEntry,
    KnownPosition,
    MarginGuard,
    SpentStep,
    TakeProfitStopLoss,
)
from automations.planning import plans_of
from automations.reading import read_all
from automations.watching import Watch, Watched
from exchange.client import Client
from exchange.config import Network
from exchange.cross import NewCrossOrder
from exchange.formulas import Side
from exchange.money import Usd
from exchange.position import CROSS, Position, Regime
from exchange.simulator.running import Simulator
from tests.automations.acting import (
    ISOLATED,
    SWEEP,
    effects,
    enter,
    events,
    long_ago,
    look,
    move,
    open_cross,
    rest_until_ready,
    states,
)
from tests.automations.streams import streaming, wait_for
from tests.automations.test_entries import entry
from tests.automations.test_exits import exits
from tests.waiting import wait_until

pytestmark = pytest.mark.usefixtures("chain")

RUNNING = "/v3/futures/isolated/trades/running"
CROSS_POSITION = "/v3/futures/cross/position"
TICKER = "/v3/futures/ticker"
NATIVE_STOP = {"does": "close_sl", "when": "loss", "on_exchange": True}


def empty_once(venue: Simulator) -> None:
    venue.fault("empty", path=RUNNING, next=1)


def flat_once(venue: Simulator) -> None:
    venue.fault("odd", path=CROSS_POSITION, field="quantity", value=0, next=1)


def written_down(client: Client, account: Account) -> set[int]:
    reading = Reading(account_id=account.pk, snapshot=read_all(client), regimes=frozenset(Regime))
    return known_positions.write_down([reading])


@pytest.fixture
def stop(account: Account, long: Position) -> TakeProfitStopLoss:
    """It has set its stop."""
    mine = exits(account, **NATIVE_STOP)
    assert look(mine, long) == "confirmed"
    rest_until_ready(mine)
    return mine


def test_an_exit_that_one_reading_shows_otherwise_disarms_nothing(
    venue: Simulator, long: Position, stop: TakeProfitStopLoss
) -> None:
    redis_client().flushdb()
    venue.fault("odd", path=RUNNING, field="stoploss", value=None, next=1)

    assert "changed by hand" not in look(stop, long)

    assert not ExitDisarmed.objects.exists()
    assert "tp_sl_disarmed" not in events()


def test_where_the_second_reading_fails_nothing_is_disarmed_yet(
    venue: Simulator, client: Client, long: Position, stop: TakeProfitStopLoss
) -> None:
    client.set_stoploss(long.id, None)
    seen = client.positions(5)
    live_view().put_positions(stop.account_id, seen)
    venue.fault("status", status=404, path=RUNNING, next=1)

    with pytest.raises(Exception, match="404"):
        look(stop, long)
    assert not ExitDisarmed.objects.exists()

    assert "changed by hand" in look(stop, long)


def test_one_empty_list_forgets_no_hand_of_an_owner(
    venue: Simulator, client: Client, long: Position, stop: TakeProfitStopLoss
) -> None:
    client.set_stoploss(long.id, None)
    assert "changed by hand" in look(stop, long)
    redis_client().flushdb()
    empty_once(venue)

    assert list(services.due(TakeProfitStopLoss)) == []

    assert ExitDisarmed.objects.standing().count() == 1


@pytest.mark.usefixtures("guard")
def test_a_position_that_one_list_lacked_is_known_as_before(
    venue: Simulator, client: Client, account: Account, long: Position
) -> None:
    written_down(client, account)
    protection.write_down({account.pk: timezone.now()}, timezone.now())
    before = KnownPosition.objects.get()
    client.add_margin(long.id, long.margin)
    empty_once(venue)
    assert written_down(client, account) == {account.pk}

    assert written_down(client, account) == set()

    after = KnownPosition.objects.get()
    assert (after.pk, after.gone_at, after.first_margin) == (before.pk, None, 100_000)
    assert after.margin == 200_000
    assert closings.explain() == 0
    protection.write_down({account.pk: None}, timezone.now())
    assert events() == ["unprotected", "protected_again"]


def test_a_cross_position_that_one_reading_showed_flat_has_not_ended(
    venue: Simulator, client: Client, account: Account
) -> None:
    """It was made larger and smaller by hand before: both orders are in the list of what was filled."""
    open_cross(client)
    client.rest.cross.order(NewCrossOrder(side=Side.SELL, quantity=Usd(300)))
    client.rest.cross.order(NewCrossOrder(side=Side.BUY, quantity=Usd(200)))
    written_down(client, account)
    flat_once(venue)
    assert written_down(client, account) == {account.pk}

    assert closings.explain() == 0

    assert KnownPosition.objects.get().gone_at is None
    assert events() == []


def test_a_cross_position_that_was_closed_and_opened_anew_has_ended(
    client: Client, account: Account
) -> None:
    open_cross(client)
    written_down(client, account)
    client.rest.cross.close_position()
    assert written_down(client, account) == {account.pk}
    client.rest.cross.order(NewCrossOrder(side=Side.BUY, quantity=Usd(1000)))

    assert closings.explain() == 1

    assert events() == ["closed_elsewhere"]


@pytest.fixture
def cross_guard(guard: MarginGuard) -> MarginGuard:
    guard.regime = Regime.CROSS
    guard.save()
    guard.steps.update(hysteresis_percent=10)
    return guard


def spent_on_cross(venue: Simulator, client: Client, guard: MarginGuard) -> None:
    long = open_cross(client)
    move(venue, 79_000)
    assert look(guard, long) == "confirmed"
    assert SpentStep.objects.count() == 1


def test_a_look_that_finds_it_flat_once_begins_no_cross_position_anew(
    venue: Simulator, client: Client, account: Account, cross_guard: MarginGuard
) -> None:
    spent_on_cross(venue, client, cross_guard)
    redis_client().flushdb()
    flat_once(venue)

    assert look(cross_guard, CROSS) == "the position is gone"

    account.refresh_from_db()
    assert account.cross_since is None
    assert SpentStep.objects.count() == 1


@pytest.mark.django_db(transaction=True)
def test_the_stream_process_that_reads_it_flat_once_begins_no_cross_position_anew(
    venue: Simulator, client: Client, account: Account, cross_guard: MarginGuard
) -> None:
    spent_on_cross(venue, client, cross_guard)
    with streaming() as process:
        wait_for(accounts=1, triggers=1)
        flat_once(venue)
        began = timezone.now()
        watch = process.serving._watches[account.pk]  # noqa: SLF001 - nothing outside tells it
        process.serving._pools[Network.PAPER].reread(account.pk)  # noqa: SLF001

        def is_seen_again() -> bool:
            read = watch._read  # noqa: SLF001
            return read is not None and read.at > began and bool(read.positions)

        wait_until(is_seen_again, within_s=5, what="it is read again at once")
        wait_until(lambda: not process.serving.cross_over, what="all is written down")

    account.refresh_from_db()
    assert account.cross_since is None
    assert SpentStep.objects.count() == 1


@pytest.fixture
def watch(account: Account, client: Client, guard: MarginGuard) -> Watch:
    watched = Watched(
        account_id=account.pk,
        name=account.name,
        network=Network.PAPER,
        client=client,
        credentials=account.credentials(),
        plans=plans_of([guard]),
    )
    return Watch(watched, Crossing(lambda _trigger, _tick: None), live=live_view())


@pytest.mark.usefixtures("long")
def test_after_one_empty_list_an_account_may_still_be_unprotected(
    venue: Simulator, client: Client, watch: Watch
) -> None:
    """Then the exchange went away: nobody knows that there is nothing to protect."""
    watch.take(client.rest.positions())
    empty_once(venue)
    assert watch.take(client.rest.positions()).in_doubt
    later = timezone.now() + timedelta(minutes=1)

    assert watch.check_sight(client.rest.quote(), later)
    assert watch.blind_since is not None
    assert watch.is_dark(later)


def test_once_a_second_list_is_empty_there_is_nothing_to_protect(
    client: Client, watch: Watch, long: Position
) -> None:
    watch.take(client.rest.positions())
    client.close(long.id)
    assert watch.take(client.rest.positions()).in_doubt
    assert not watch.take(client.rest.positions()).in_doubt

    assert not watch.is_dark(timezone.now() + timedelta(minutes=1))


@pytest.mark.parametrize("path", [RUNNING, TICKER])
def test_a_step_acts_again_only_where_two_readings_show_that_the_danger_drew_back(
    venue: Simulator, long: Position, guard: MarginGuard, path: str
) -> None:
    GuardStep.objects.update(hysteresis_percent=Decimal(10))
    move(venue, 95_000)
    assert look(guard, long) == "confirmed"
    rest_until_ready(guard)
    if path == RUNNING:
        venue.fault("odd", path=path, field="margin", value=900_000, next=1)
    else:
        for field in ("lastPrice", "index"):
            venue.fault("odd", path=path, field=field, value=99_000, next=1)
    redis_client().flushdb()

    look(guard, long)

    assert SpentStep.objects.count() == 1
    move(venue, 99_000)
    look(guard, long)
    assert SpentStep.objects.count() == 0


def test_an_entry_is_missed_only_where_two_prices_of_the_exchange_say_so(
    venue: Simulator, account: Account
) -> None:
    mine = entry(account)
    move(venue, 96_000)
    venue.fault("odd", path=TICKER, field="lastPrice", value=60_000, next=1)

    assert enter(mine)["status"] == "pending"

    assert AutoEntry.objects.get().enabled
    assert not JournalEntry.objects.exists()


def test_an_opening_that_one_list_lacks_is_not_sent_again(venue: Simulator, account: Account) -> None:
    mine = entry(account)
    move(venue, 95_000)
    venue.fault("lost_answer", path=ISOLATED)
    assert enter(mine)["status"] == "unknown"
    long_ago()
    empty_once(venue)

    assert reconciling.settle_all() == []
    reconciling.settle_all()

    assert states() == ["confirmed"]
    assert effects(venue, ISOLATED) == 1


def test_an_order_that_one_list_lacks_is_not_written_off(venue: Simulator, account: Account) -> None:
    mine = entry(account, trigger_type="limit", expires_at=timezone.now() + timedelta(minutes=1))
    assert enter(mine)["status"] == "placed"
    AutoEntry.objects.update(expires_at=timezone.now() - timedelta(seconds=1))
    (due,) = services.due(AutoEntry)
    venue.fault("empty", path="/v3/futures/isolated/trades/open", next=1)

    services.act(mine.pk, due.position_id, SWEEP)
    assert Execution.objects.filter(rests=True).count() == 1
    services.act(mine.pk, due.position_id, SWEEP)

    assert effects(venue, f"{ISOLATED}/cancel") == 1
