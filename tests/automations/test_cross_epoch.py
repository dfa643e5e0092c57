"""A cross position begins anew whenever it was flat: its name says nothing of that."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import pytest
from django.utils import timezone

from accounts.gateway import redis_client
from accounts.models import Account
from automations import cross_epoch
from automations.cross_epoch import seen_between
from automations.models import Execution, GuardStep, MarginGuard, PositionThreshold, SpentStep
from automations.reading import read_all
from exchange.client import Client
from exchange.cross import NewCrossOrder
from exchange.formulas import Side
from exchange.market import Source
from exchange.money import Usd
from exchange.position import CROSS, Position, PositionsSnapshot, Regime
from exchange.simulator.running import Simulator
from tests.automations.acting import CROSS_CLOSE, look, move, open_cross
from tests.automations.positions import crossed, running
from tests.automations.streams import streaming, wait_for
from tests.waiting import wait_until

pytestmark = pytest.mark.usefixtures("chain")

FIRST = datetime(2026, 1, 1, tzinfo=UTC)
THEN = FIRST + timedelta(seconds=4)


@pytest.fixture
def long(client: Client) -> Position:
    """1,000 USD from 100,000 on 500,000 sats; half of it is lost at about 80,000."""
    return open_cross(client)


@pytest.fixture
def guard(guard: MarginGuard) -> MarginGuard:
    """Adds once when half of the margin is lost, and waits until 10 % of it came back."""
    guard.regime = Regime.CROSS
    guard.save()
    guard.steps.update(hysteresis_percent=10)
    return guard


@pytest.fixture
def spent(venue: Simulator, long: Position, guard: MarginGuard) -> SpentStep:
    """The step that acted on the position."""
    move(venue, 79_000)
    assert look(guard, long) == "confirmed"
    return SpentStep.objects.get()


def since(account: Account) -> datetime | None:
    account.refresh_from_db()
    return account.cross_since


def flat_by_hand(client: Client) -> None:
    """Nobody decides on what was there before: it may be some seconds old."""
    client.rest.cross.close_position()
    redis_client().flushdb()


@pytest.mark.usefixtures("spent")
def test_once_a_look_finds_it_gone_its_spent_steps_are_forgotten(
    client: Client, account: Account, long: Position, guard: MarginGuard
) -> None:
    assert since(account) is None
    flat_by_hand(client)

    assert look(guard, long) == "the position is gone"

    found = since(account)
    assert found is not None
    assert found > Execution.objects.latest("id").decided_at
    assert not SpentStep.objects.exists()


def test_once_it_was_flat_a_step_that_acted_acts_again(
    client: Client, venue: Simulator, long: Position, guard: MarginGuard, spent: SpentStep
) -> None:
    """The next one is in danger at once: there is no drawing back in between."""
    GuardStep.objects.update(cooldown_s=1)
    flat_by_hand(client)
    look(guard, long)
    Execution.objects.update(settled_at=timezone.now() - timedelta(minutes=1))
    client.rest.cross.order(NewCrossOrder(side=Side.BUY, quantity=Usd(1000)))
    move(venue, 71_000)

    assert look(guard, long) == "confirmed"
    assert SpentStep.objects.get().acted_at > spent.acted_at


@pytest.mark.usefixtures("spent")
def test_our_own_close_lets_it_begin_anew(account: Account, long: Position, guard: MarginGuard) -> None:
    Execution.objects.update(settled_at=timezone.now() - timedelta(minutes=1))
    guard.steps.create(threshold_percent=40, does="close_position", hysteresis_percent=10)
    guard.steps.filter(does="add_fixed").update(threshold_percent=99)

    assert look(guard, long) == "confirmed"

    closed = Execution.objects.latest("id")
    assert (closed.does, since(account)) == ("close_position", closed.decided_at)
    assert not SpentStep.objects.exists()


@pytest.mark.usefixtures("spent")
def test_so_does_a_close_that_is_proven_afterwards(
    venue: Simulator, account: Account, long: Position, guard: MarginGuard
) -> None:
    Execution.objects.update(settled_at=timezone.now() - timedelta(minutes=1))
    guard.steps.update(does="close_position", amount_sats=None, hysteresis_percent=None)
    SpentStep.objects.update(acted_at=timezone.now() - timedelta(minutes=1))
    venue.fault("lost_answer", path=CROSS_CLOSE)
    assert look(guard, long) == "unknown"

    began = since(account)
    assert began is not None
    assert began >= Execution.objects.latest("id").decided_at


@pytest.mark.usefixtures("spent")
def test_a_late_word_takes_nothing_from_what_came_later(account: Account) -> None:
    acted = Execution.objects.latest("id").decided_at

    cross_epoch.begin_anew(account.pk, acted - timedelta(seconds=1))

    assert since(account) is None
    assert SpentStep.objects.exists()

    cross_epoch.begin_anew(account.pk, newest := timezone.now())
    cross_epoch.begin_anew(account.pk, newest - timedelta(milliseconds=1))

    assert since(account) == newest


@pytest.mark.usefixtures("spent")
def test_what_is_known_already_is_not_written_again(account: Account) -> None:
    cross_epoch.begin_anew(account.pk, first := timezone.now())

    cross_epoch.begin_anew(account.pk, timezone.now())

    assert since(account) == first, "nothing happened since"


@pytest.mark.usefixtures("spent")
def test_only_the_accounts_own_cross_position_begins_anew(account: Account, guard: MarginGuard) -> None:
    """Thresholds are its owner's settings and stay, and so does what happened to trades."""
    step = guard.steps.get()
    SpentStep.objects.create(step=step, position_id="p1", acted_at=FIRST)
    PositionThreshold.objects.create(step=step, position_id=CROSS, threshold_percent=45)

    cross_epoch.begin_anew(account.pk + 1, timezone.now())
    assert SpentStep.objects.count() == 2

    cross_epoch.begin_anew(account.pk, timezone.now())
    assert [each.position_id for each in SpentStep.objects.all()] == ["p1"]
    assert PositionThreshold.objects.count() == 1


def reading(*sides: Side, at: datetime = THEN, with_cross: bool = True) -> PositionsSnapshot:
    """Return a reading with an isolated trade, and the cross position on that side if any."""
    held = tuple(crossed(side) for side in sides)
    return PositionsSnapshot(
        positions=(running(), *held), at=at, source=Source.REST, with_cross=with_cross
    )


LONG, SHORT, FLAT = reading(Side.BUY), reading(Side.SELL), reading()
UNREAD = reading(with_cross=False)


@pytest.mark.parametrize(
    ("known", "seen", "over_before"),
    [
        pytest.param(LONG, FLAT, THEN, id="it is gone"),
        pytest.param(LONG, SHORT, FIRST, id="it turned: flat on the way, nobody knows when"),
        pytest.param(LONG, LONG, None, id="it is still there"),
        pytest.param(FLAT, LONG, None, id="a new one"),
        pytest.param(FLAT, FLAT, None, id="nothing all the time"),
        pytest.param(None, FLAT, THEN, id="nothing at the first look: it may be gone since long"),
        pytest.param(UNREAD, FLAT, THEN, id="nobody looked before"),
        pytest.param(None, SHORT, None, id="there at the first look: it may be the one before"),
        pytest.param(LONG, UNREAD, None, id="nobody looked: unknown is not flat"),
    ],
)
def test_two_readings_tell_whether_it_was_flat_in_between(
    known: PositionsSnapshot | None, seen: PositionsSnapshot, over_before: datetime | None
) -> None:
    before = (
        None
        if known is None
        else reading(
            *(each.side for each in known.positions if each.id == CROSS),
            at=FIRST,
            with_cross=known.with_cross,
        )
    )

    assert seen_between(before, seen) == over_before


@pytest.mark.usefixtures("long")
def test_only_a_reading_of_it_says_that_it_is_flat(client: Client) -> None:
    assert read_all(client).with_cross
    assert not client.rest.positions().with_cross


def turned_by_hand(client: Client) -> None:
    client.rest.cross.order(NewCrossOrder(side=Side.SELL, quantity=Usd(1500)))


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize(
    "by_hand", [pytest.param(flat_by_hand, id="closed"), pytest.param(turned_by_hand, id="turned")]
)
def test_the_stream_process_sees_it_end(
    venue: Simulator,
    client: Client,
    account: Account,
    spent: SpentStep,
    *,
    by_hand: Callable[[Client], None],
) -> None:
    with streaming():
        wait_for(accounts=1, triggers=1)
        move(venue, 90_000)
        by_hand(client)

        wait_until(lambda: since(account), what="it began anew")

    assert not SpentStep.objects.filter(pk=spent.pk).exists()
