"""What a guard sends is decided when its turn at the exchange's limit has come."""

from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from decimal import Decimal

import pytest
from django.db import connection
from pytest_django.fixtures import Settings

from accounts.gateway import client_for, live_view, redis_client
from accounts.models import Account
from automations.models import Execution, GuardStep, MarginGuard
from exchange.market import Quote, Source
from exchange.money import UsdPerBtc
from exchange.position import Position, PositionId
from exchange.ratelimit import NOT_URGENT
from exchange.simulator.running import Simulator
from tests.automations.acting import effects, look, move, states
from tests.automations.conftest import open_long
from tests.waiting import wait_until

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def long(account: Account, settings: Settings) -> Position:
    """1,000 USD at 10x, with a key that may ask once a second."""
    settings.PRIVATE_CALLS_PER_S = 1
    return open_long(client_for(account))


@pytest.fixture
def guard(account: Account) -> MarginGuard:
    made = MarginGuard.objects.create(enabled=True, account=account, name="guard")
    made.steps.create(threshold_percent=50, does=GuardStep.Does.ADD_TO_REACH, target_percent=30)
    return made


def price_is(price: int) -> None:
    """Have the stream tell a price."""
    quote = Quote(
        price=UsdPerBtc(Decimal(price)), at=datetime.now(UTC), time_ms=1, source=Source.STREAM
    )
    live_view().put_price("paper", quote)


def looking(guard: MarginGuard, position_id: PositionId) -> str:
    try:
        return look(guard, position_id)
    finally:
        connection.close()


def others_are_before_us() -> bool:
    return bool(redis_client().keys("rate:private:*:waiting"))


def urgencies_of_those_that_wait() -> list[float]:
    queues = redis_client().keys("rate:private:*:waiting")
    waiting = [float(each.split()[0]) for queue in queues for each in redis_client().hvals(queue)]
    return [urgency for urgency in waiting if urgency < NOT_URGENT]  # reads wait there, too


def test_while_a_guard_waits_its_place_follows_the_price(
    paper: Simulator, long: Position, guard: MarginGuard, settings: Settings
) -> None:
    settings.PRIVATE_CALLS_PER_S = 0.35
    move(paper, 95_000)
    client_for(guard.account).snapshot(5)
    with ThreadPoolExecutor(1) as worker:
        looked = worker.submit(looking, guard, long.id)
        at_first, *_ = wait_until(urgencies_of_those_that_wait, what="the guard waits for its turn")
        price_is(93_000)
        seen = [at_first]
        while not looked.done():
            seen += urgencies_of_those_that_wait()
        assert looked.result() == "confirmed"

    assert min(seen) < at_first
    assert at_first == pytest.approx(float(long.liquidation_distance_at(UsdPerBtc(Decimal(95_000)))))


@pytest.mark.parametrize(
    ("price", "word"),
    [
        pytest.param(92_000, "confirmed", id="it went on falling"),
        pytest.param(99_000, "margin used 10.10 % has not reached 50.00 %", id="it came back"),
    ],
)
def test_while_its_turn_has_not_come_a_guard_commits_itself_to_nothing(
    paper: Simulator, long: Position, guard: MarginGuard, *, price: int, word: str
) -> None:
    account = guard.account
    move(paper, 95_000)
    client_for(account).snapshot(5)  # as the stream process leaves it; it takes the turn of now
    with ThreadPoolExecutor(1) as worker:
        looked = worker.submit(looking, guard, long.id)
        wait_until(others_are_before_us, what="the guard waits for its turn")
        assert not Execution.objects.exists()

        paper.set_price(price)
        price_is(price)

        assert looked.result(20) == word

    acted = word == "confirmed"
    assert states() == ["confirmed"] * acted
    assert effects(paper) == acted
    assert [each.price for each in Execution.objects.all()] == [Decimal(price)] * acted
