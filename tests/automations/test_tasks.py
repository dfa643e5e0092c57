"""Celery's doors: what comes in is looked at, and what is due goes out at once."""

import json
import threading
from dataclasses import replace
from datetime import UTC, datetime
from decimal import Decimal

import pytest
from django.db import connection
from pytest_django.fixtures import Settings

from accounts.gateway import redis_client
from accounts.models import Account
from automations import tasks
from automations.models import Execution, GuardStep, MarginGuard
from exchange.config import Network
from exchange.errors import TransientError
from exchange.market import Quote, Source
from exchange.money import UsdPerBtc
from exchange.position import Position
from exchange.simulator.running import Simulator
from tests.automations.conftest import new_account
from tests.automations.queues import waiting
from tests.exchange.scripted import Answer, scripted_exchange
from tests.waiting import wait_until

TICK = Quote(
    price=UsdPerBtc(Decimal("95000.5")),
    at=datetime(2026, 8, 1, 12, 30, 0, 123456, tzinfo=UTC),
    time_ms=1_785_587_400_123,
    source=Source.STREAM,
    index=UsdPerBtc(Decimal("95010.25")),
)


@pytest.mark.parametrize("quote", [TICK, replace(TICK, index=None)])
def test_a_message_carries_the_tick_with_its_index(quote: Quote) -> None:
    assert tasks._quote(json.loads(json.dumps(tasks.tick_as_json(quote)))) == quote  # noqa: SLF001 - what `act` reads


def test_a_message_of_an_older_version_has_no_index() -> None:
    message = {name: value for name, value in tasks.tick_as_json(TICK).items() if name != "index"}

    assert tasks._quote(message) == replace(TICK, index=None)  # noqa: SLF001 - what `act` reads


def test_a_look_asked_for_by_a_tick_remembers_it(
    venue: Simulator, long: Position, guard: MarginGuard
) -> None:
    venue.set_price(95_000)

    assert tasks.act(guard.pk, long.id, tasks.tick_as_json(TICK)) == {"status": "confirmed"}

    execution = Execution.objects.get()
    assert (execution.origin, execution.tick_price) == ("tick", TICK.price)
    assert execution.tick_time_ms == TICK.time_ms


def test_a_look_asked_for_by_the_sweep_has_no_tick(
    venue: Simulator, long: Position, guard: MarginGuard
) -> None:
    venue.set_price(95_000)

    assert tasks.act(guard.pk, long.id) == {"status": "confirmed"}

    execution = Execution.objects.get()
    assert (execution.origin, execution.tick_price, execution.tick_time_ms) == ("sweep", None, None)


def test_what_surely_did_not_happen_is_tried_again(
    venue: Simulator, long: Position, guard: MarginGuard
) -> None:
    venue.set_price(95_000)
    venue.fault("status", status=503, path="/v3/futures/isolated/trade/add-margin", next=2)

    answer = tasks.act.apply((guard.pk, long.id))

    assert answer.get() == {"status": "confirmed"}
    states = [execution.state for execution in Execution.objects.order_by("id")]
    assert states == ["not_sent", "not_sent", "confirmed"]


def test_it_is_not_tried_for_ever(venue: Simulator, long: Position, guard: MarginGuard) -> None:
    venue.set_price(95_000)
    venue.fault("status", status=503, path="/v3/futures/isolated/trade/add-margin", next=9)

    with pytest.raises(TransientError):
        tasks.act.apply((guard.pk, long.id)).get()

    assert Execution.objects.count() == 3


@pytest.mark.parametrize(
    ("retries", "at_least_s", "chance", "wait_s"),
    [
        pytest.param(0, 0, 0.0, 2, id="the first: from 2 s"),
        pytest.param(0, 0, 1.0, 3, id="and up to half as much more, so that not all come at once"),
        pytest.param(1, 0, 0.0, 4, id="the second: twice as long"),
        pytest.param(1, 0, 0.5, 5, id="anywhere between"),
        pytest.param(9, 0, 1.0, 60, id="never longer than a minute"),
        pytest.param(0, 10, 0.5, 10, id="not before the exchange allows"),
        pytest.param(1, 3, 0.0, 4, id="which may be sooner than we would"),
    ],
)
def test_each_attempt_waits_longer_than_the_one_before(
    *, retries: int, at_least_s: float, chance: float, wait_s: float
) -> None:
    assert tasks.wait_s(retries, at_least_s=at_least_s, chance=lambda: chance) == wait_s


@pytest.mark.usefixtures("redis_url", "guard")
def test_a_sweep_of_many_accounts_is_done_in_parts(
    settings: Settings, venue: Simulator, account: Account, long: Position
) -> None:
    settings.SWEEP_ACCOUNTS = 1
    other = new_account(venue, 1)
    MarginGuard.objects.create(enabled=True, account=other, name="other").steps.create(
        threshold_percent=50, does=GuardStep.Does.ADD_FIXED, amount_sats=1_000
    )
    venue.set_price(95_000)

    assert tasks.sweep_margin_guards() == "2 accounts in 2 parts"

    parts = waiting("maintenance")
    assert [part.task for part in parts] == ["automations.tasks.sweep_accounts"] * 2
    assert [part.arguments for part in parts] == [
        ["margin_guard", [account.pk]],
        ["margin_guard", [other.pk]],
    ]
    assert tasks.sweep_accounts("margin_guard", [account.pk]) == "1 due"
    assert tasks.sweep_accounts("margin_guard", [other.pk]) == "0 due"
    (message,) = waiting("urgent")
    assert message.arguments[1] == long.id


def test_the_sweep_sends_what_is_due_to_the_urgent_queue(
    venue: Simulator, long: Position, guard: MarginGuard
) -> None:
    assert tasks.sweep_margin_guards() == "0 due"
    assert waiting("urgent") == []
    venue.set_price(95_000)
    redis_client().flushdb()  # the price that the first sweep left would do for five seconds

    assert tasks.sweep_margin_guards() == "1 due"

    (message,) = waiting("urgent")
    assert (message.task, message.arguments) == ("automations.tasks.act", [guard.pk, long.id])


@pytest.mark.django_db
def test_with_nothing_open_nothing_is_settled() -> None:
    assert tasks.reconcile() == "0 settled, 0 read back"


@pytest.mark.usefixtures("redis_url")
def test_what_nobody_routed_waits_in_the_maintenance_queue() -> None:
    tasks.reconcile.delay()

    assert [message.task for message in waiting("maintenance")] == ["automations.tasks.reconcile"]


@pytest.mark.django_db(transaction=True)
def test_a_slow_account_does_not_hold_back_what_is_due_for_another(
    venue: Simulator, long: Position, guard: MarginGuard, settings: Settings
) -> None:
    venue.set_price(95_000)
    slow = new_account(venue, 1)
    Account.objects.filter(pk=slow.pk).update(network=Network.SIGNET)
    MarginGuard.objects.create(enabled=True, account=slow, name="slow").steps.create(
        threshold_percent=50, does="close_position"
    )
    with scripted_exchange() as script:
        script.then(*[Answer(status=400, delay_s=1)] * 2)
        settings.LN_MARKETS_ENDPOINTS |= {Network.SIGNET: script.endpoints}

        def sweep() -> None:
            tasks.sweep_margin_guards()
            connection.close()

        sweeping = threading.Thread(target=sweep)
        sweeping.start()
        wait_until(lambda: waiting("urgent"), what="what is due is on its way")
        assert sweeping.is_alive(), "the slow account is still being asked"
        sweeping.join(10)

    (message,) = waiting("urgent")
    assert message.arguments == [guard.pk, long.id]
