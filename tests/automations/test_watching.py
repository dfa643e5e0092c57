"""One account's positions: taken over, armed, and never taken for fewer than they are."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal

import pytest

from accounts.gateway import live_view, redis_client
from accounts.models import Account
from automations.changes import Now
from automations.crossing import RESTS_S, Crossing
from automations.models import GuardStep, MarginGuard
from automations.planning import PositionPlan, plans_of
from automations.triggers import Trigger
from automations.watching import Watch, Watched
from exchange.client import Client
from exchange.config import Network
from exchange.formulas import Side
from exchange.money import Sats, Usd
from exchange.position import Position, PositionId
from exchange.simulator.running import Simulator
from exchange.trade import NewTrade
from tests.automations.conftest import open_long
from tests.automations.test_crossing import between, tick


@pytest.fixture
def fired() -> list[Trigger]:
    return []


@pytest.fixture
def moment() -> list[float]:
    """Seconds on the clock of the crossing, to be moved."""
    return [7.0]


@pytest.fixture
def crossing(fired: list[Trigger], moment: list[float]) -> Crossing:
    return Crossing(lambda trigger, _tick: fired.append(trigger), clock=lambda: moment[0])


@pytest.fixture
def watched(account: Account, client: Client, guard: MarginGuard) -> Watched:
    return Watched(
        account_id=account.pk,
        name=account.name,
        network=Network.PAPER,
        client=client,
        credentials=account.credentials(),
        plans=plans_of([guard]),
    )


@pytest.fixture
def watch(watched: Watched, crossing: Crossing) -> Watch:
    return Watch(watched, crossing, live=live_view())


def test_each_position_is_armed_for_each_guard(
    watch: Watch, crossing: Crossing, client: Client, watched: Watched
) -> None:
    open_long(client)
    open_long(client)
    (plan,) = watched.plans
    watch.change(replace(watched, plans=(plan, replace(plan, automation_id=plan.automation_id + 1))))
    assert len(crossing) == 0, "nothing is known yet"

    watch.take(client.rest.positions())

    assert len(crossing) == 4


def test_what_was_taken_over_is_in_the_live_view(
    watch: Watch, long: Position, account: Account, client: Client
) -> None:
    watch.take(client.rest.positions())

    found = live_view().read(None, account.pk).positions
    assert found is not None
    assert [position.id for position in found.positions] == [long.id]


@pytest.mark.usefixtures("long")
def test_a_reading_that_took_6_s_arms_and_is_in_the_live_view(
    watch: Watch, crossing: Crossing, account: Account, client: Client
) -> None:
    read = client.rest.positions()

    watch.take(read)

    assert len(crossing) == 1
    now = read.at + timedelta(seconds=6)  # so long its answer was on its way
    assert live_view().positions(account.pk, max_age_s=5, now=now) is None
    assert live_view().positions(account.pk, max_age_s=30, now=now) is not None


def test_the_balance_is_read_now_and_then_for_whoever_acts(
    watch: Watch, account: Account, venue: Simulator, client: Client
) -> None:
    assert not watch.wants_balance(), "without a position there is nothing to spend it on"
    open_long(client)
    watch.take(client.rest.positions())
    assert watch.wants_balance()
    assert not watch.wants_balance(), "not again within the half minute"

    watch.read_balance()

    found = live_view().read(None, account.pk).balance
    assert found is not None
    assert found.free == venue.balance()


def test_a_balance_that_cannot_be_read_stays_unknown(
    watch: Watch, account: Account, venue: Simulator
) -> None:
    redis_client().flushdb()
    venue.fault("status", status=500, path="/v3/account", next=10)

    watch.read_balance()

    assert live_view().read(None, account.pk).balance is None


def test_a_position_that_is_gone_is_armed_no_more(
    watch: Watch, crossing: Crossing, long: Position, client: Client
) -> None:
    watch.take(client.rest.positions())
    client.close(long.id)

    watch.take(client.rest.positions())

    assert len(crossing) == 0


@pytest.mark.usefixtures("long")
def test_an_older_reading_never_replaces_a_newer_one(
    watch: Watch, crossing: Crossing, client: Client
) -> None:
    older = client.rest.positions()
    open_long(client)
    watch.take(client.rest.positions())

    watch.take(older)

    assert len(crossing) == 2


@pytest.mark.usefixtures("long")
def test_what_fired_comes_back_by_time_and_not_by_a_reading(
    watch: Watch, crossing: Crossing, client: Client, fired: list[Trigger], moment: list[float]
) -> None:
    watch.take(client.rest.positions())
    crossing.look(between(95_000, 95_000))

    moment[0] += RESTS_S
    watch.take(client.rest.positions())
    assert len(crossing) == 0
    crossing.look_again(tick(100_000))

    assert len(crossing) == len(fired) == 1


@pytest.mark.usefixtures("long")
def test_a_changed_guard_is_armed_at_once(
    watch: Watch, crossing: Crossing, client: Client, watched: Watched, fired: list[Trigger]
) -> None:
    watch.take(client.rest.positions())
    (plan,) = watched.plans
    assert isinstance(plan, PositionPlan)
    GuardStep.objects.update(threshold_percent=25)

    watch.change(replace(watched, plans=plans_of(MarginGuard.acting())))

    crossing.look(between(97_500, 97_500))
    assert len(fired) == 1


def now(position: Position) -> Now:
    return Now(position=position, at=datetime.now(UTC))


def test_a_position_as_it_is_after_an_action_is_armed_before_any_reading(
    watch: Watch, crossing: Crossing, client: Client, long: Position, fired: list[Trigger]
) -> None:
    watch.take(client.rest.positions())

    watch.adopt(now(client.add_margin(long.id, Sats(100_000))))

    crossing.look(between(95_000, 95_000))
    assert fired == [], "half of the margin is lost lower down now"
    assert len(crossing) == 1
    crossing.look(between(90_000, 90_000))
    assert len(fired) == 1


def test_a_position_that_was_opened_just_now_is_armed_beside_the_others(
    watch: Watch, crossing: Crossing, client: Client, long: Position
) -> None:
    watch.take(client.rest.positions())

    watch.adopt(now(replace(long, id=PositionId("another"))))

    assert len(crossing) == 2


@pytest.mark.usefixtures("long")
def test_a_reading_from_before_an_action_does_not_undo_what_was_adopted(
    watch: Watch, crossing: Crossing, client: Client, long: Position
) -> None:
    watch.take(client.rest.positions())
    before = client.rest.positions()
    watch.adopt(now(replace(long, id=PositionId("another"))))

    watch.take(before)
    assert len(crossing) == 2

    watch.take(client.rest.positions())
    assert len(crossing) == 1, "a later reading replaces everything"


def test_a_position_announced_before_the_last_reading_is_old_news(
    watch: Watch, crossing: Crossing, client: Client, long: Position
) -> None:
    announced = now(long)
    client.close(long.id)
    watch.take(client.rest.positions())

    watch.adopt(announced)

    assert len(crossing) == 0


def test_one_position_is_not_taken_for_all_where_nothing_was_read_yet(
    watch: Watch, crossing: Crossing, client: Client, long: Position
) -> None:
    in_flight = client.rest.positions()

    watch.adopt(now(replace(long, id=PositionId("another"))))
    assert len(crossing) == 0

    watch.take(in_flight)
    assert len(crossing) == 1


def test_a_position_that_changed_is_armed_where_it_stands_now(
    watch: Watch, crossing: Crossing, client: Client, long: Position, fired: list[Trigger]
) -> None:
    for _ in range(2):
        watch.take(client.rest.positions())
    client.add_margin(long.id, Sats(100_000))
    watch.take(client.rest.positions())

    crossing.look(between(95_000, 95_000))
    assert fired == [], "half of the margin is lost lower down now"
    client.close(long.id)
    watch.take(client.rest.positions())

    assert len(crossing) == 0


@pytest.mark.usefixtures("long")
def test_an_ended_watch_arms_nothing(watch: Watch, crossing: Crossing, client: Client) -> None:
    watch.take(client.rest.positions())

    watch.end()
    watch.take(client.rest.positions())

    assert len(crossing) == 0


def test_a_position_that_no_price_endangers_arms_nothing(
    watch: Watch, crossing: Crossing, client: Client, watched: Watched
) -> None:
    client.open_trade(NewTrade(side=Side.SELL, leverage=Decimal(1), quantity=Usd(1000)))
    GuardStep.objects.update(threshold_percent=100)
    watch.change(replace(watched, plans=plans_of(MarginGuard.acting())))

    watch.take(client.rest.positions())

    assert len(crossing) == 0


def test_the_risk_is_that_of_the_position_nearest_liquidation(watch: Watch, client: Client) -> None:
    assert watch.risk_at(100_000) == 0

    for leverage in (10, 50):
        client.open_trade(NewTrade(side=Side.BUY, leverage=Decimal(leverage), quantity=Usd(1000)))
    watch.take(client.rest.positions())

    assert watch.risk_at(100_000) == pytest.approx(1 - 0.0196, abs=1e-4)
    assert watch.risk_at(90_000) == 1, "beyond liquidation is no more than liquidated"
