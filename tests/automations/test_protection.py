"""Protection that ends or returns while nobody acts: told where it lasts, and when it is back."""

import json
from datetime import timedelta
from typing import Any

import pytest
from django.db import transaction
from django.utils import timezone
from django_celery_beat.models import PeriodicTask
from pytest_django.fixtures import Settings

from accounts.gateway import redis_client
from accounts.models import Account
from automations import delivering, journal, protection, suspending, tasks
from automations.models import (
    Execution,
    JournalEntry,
    KnownPosition,
    MarginGuard,
    Notification,
)
from automations.protection import HEARTBEAT_KEY
from exchange.client import Client
from exchange.money import Sats
from exchange.position import Position
from exchange.simulator.running import Simulator
from tests.automations.acting import ADD_MARGIN, events, look, move
from tests.automations.streams import streaming
from tests.automations.test_closings import seen, told
from tests.waiting import wait_until

RUNNING = "/v3/futures/isolated/trades/running"


def happens(account: Account, event: str, **data: Any) -> None:
    with transaction.atomic():
        journal.record_about(account, event, message="silent", now=timezone.now(), data=data)


@pytest.mark.django_db
def test_11_a_fallback_that_is_over_within_10_s_is_not_told(account: Account) -> None:
    happens(account, "fallback_activated")
    assert delivering.deliver_due() == 0
    happens(account, "stream_recovered")

    assert events() == ["fallback_activated", "stream_recovered"]
    assert not Notification.objects.exists()


@pytest.mark.django_db
def test_11_a_fallback_that_lasts_is_told_and_so_is_the_recovery(account: Account) -> None:
    happens(account, "fallback_activated")
    waits = Notification.objects.get()
    assert waits.next_attempt_at == waits.made_at + timedelta(seconds=10)
    Notification.objects.update(next_attempt_at=timezone.now() - timedelta(seconds=1))
    assert delivering.deliver_due() == 1

    happens(account, "stream_recovered")

    assert told() == [
        "the exchange's stream is away, asking by REST",
        "the exchange's stream is back",
    ]


def age(seconds: int) -> None:
    Execution.objects.update(decided_at=timezone.now() - timedelta(seconds=seconds))


@pytest.mark.usefixtures("chain")
def test_13_an_action_without_an_answer_for_30_s_is_told_once_and_so_is_what_came_of_it(
    venue: Simulator, long: Position, guard: MarginGuard
) -> None:
    move(venue, 95_000)
    venue.fault("status", status=504, path=ADD_MARGIN)
    assert look(guard, long) == "unknown"
    protection.look(timezone.now())
    assert told() == []
    age(31)

    for _ in range(2):
        tasks.reconcile()
        tasks.watch_protection()

    assert told() == ["guard: no answer from the exchange: add margin"]
    age(120)
    tasks.reconcile()
    assert told()[1:] == ["guard: it did not happen: add margin"]


@pytest.mark.usefixtures("chain")
def test_13_protection_that_a_switch_ended_is_back_once_the_switch_is(
    venue: Simulator, long: Position, guard: MarginGuard
) -> None:
    MarginGuard.objects.update(switch="halted")
    move(venue, 95_000)
    look(guard, long)
    tasks.watch_protection()
    assert len(told()) == 1
    MarginGuard.objects.update(switch="active")

    for _ in range(2):
        tasks.watch_protection()

    assert events() == ["margin_guard_held", "margin_guard_protected_again"]
    assert told() == ["guard: not protected, a switch says halted", "guard: protection is back"]


def is_told(guard: MarginGuard, long: Position, word: str) -> None:
    """Have the guard look with this outcome, and its owner told; nothing is over yet."""
    assert look(guard, long) == word
    before = told()
    tasks.watch_protection()
    assert told() == before
    assert Notification.objects.filter(ends=True).count() == 1


def assert_back(reason: str) -> None:
    """Protection is told as back, once."""
    before = told()
    for _ in range(2):
        tasks.watch_protection()
    assert told() == [*before, "guard: protection is back"]
    newest = JournalEntry.objects.latest("id")
    assert (newest.event, newest.data["reason"]) == ("margin_guard_protected_again", reason)
    assert not Notification.objects.filter(ends=True).exists()


@pytest.mark.usefixtures("chain")
def test_13_protection_that_ended_with_a_budget_is_back_once_the_budget_is_raised(
    venue: Simulator, long: Position, guard: MarginGuard
) -> None:
    MarginGuard.objects.update(budget_per_position_sats=1)
    move(venue, 95_000)
    is_told(guard, long, "budget_used_up")
    MarginGuard.objects.update(budget_per_position_sats=19_000)
    tasks.watch_protection()
    assert Notification.objects.filter(ends=True).exists(), "less than what was missing"

    MarginGuard.objects.update(budget_per_position_sats=20_000)

    assert_back("budget_used_up")


@pytest.mark.usefixtures("chain")
def test_13_protection_that_ended_with_the_reserve_is_back_once_the_reserve_is_lower(
    venue: Simulator, long: Position, guard: MarginGuard, client: Client
) -> None:
    free = client.balance().free
    Account.objects.update(reserve_sats=free)
    move(venue, 95_000)
    is_told(guard, long, "reserve")

    Account.objects.update(reserve_sats=free - 20_000)

    assert_back("reserve")


@pytest.mark.usefixtures("chain")
def test_13_protection_that_ended_with_the_balance_is_back_once_there_is_money(
    venue: Simulator, long: Position, guard: MarginGuard, client: Client
) -> None:
    client.rest.cross.deposit(venue.balance())
    move(venue, 95_000)
    is_told(guard, long, "balance")

    client.rest.cross.withdraw(Sats(100_000))

    assert_back("balance")


@pytest.mark.usefixtures("chain")
def test_13_protection_that_was_weaker_for_want_of_money_is_back_once_there_is_some(
    venue: Simulator, long: Position, guard: MarginGuard
) -> None:
    MarginGuard.objects.update(budget_per_position_sats=15_000)
    move(venue, 95_000)
    is_told(guard, long, "confirmed")
    assert told()[1:] == ["guard: protection is weaker, 5,000 sats are missing"]

    MarginGuard.objects.update(budget_per_position_sats=20_000)

    assert_back("limited")


@pytest.mark.usefixtures("chain")
def test_13_an_account_whose_key_is_accepted_again_is_told_so_once(account: Account) -> None:
    suspending.suspend(account, "refused")
    protection.look(timezone.now())
    assert len(told()) == 1
    account.mark_verified(timezone.now())

    for _ in range(2):
        protection.look(timezone.now())

    assert events() == ["key_refused", "key_accepted"]
    assert told()[1:] == ["the exchange accepts the key again"]


@pytest.mark.django_db(transaction=True)
@pytest.mark.usefixtures("guard", "long")
def test_13_an_account_that_neither_stream_nor_rest_shows_is_told_as_unprotected_and_as_back(
    venue: Simulator, settings: Settings
) -> None:
    settings.UNPROTECTED_AFTER_S = 6
    with streaming():
        wait_until(KnownPosition.objects.running().exists, what="its position is known")
        venue.fault("status", status=503, path=RUNNING, next=1000)
        venue.cut_streams()

        wait_until(lambda: "unprotected" in events(), what="nobody sees it any more")
        venue.clear_faults()
        wait_until(lambda: "protected_again" in events(), what="it is seen again")

    since = JournalEntry.objects.get(event="unprotected").data["since"]
    assert [subject for subject in told() if "rotect" in subject] == [
        f"NOT protected since {since}",
        "protection is back",
    ]
    assert not KnownPosition.objects.filter(unprotected_since__isnull=False).exists()


@pytest.mark.usefixtures("chain", "long", "guard")
def test_13_without_a_stream_process_the_sweep_tells_that_it_cannot_read(
    venue: Simulator, client: Client, account: Account
) -> None:
    seen(client, account)
    redis_client().flushdb()
    venue.fault("status", status=503, path=RUNNING, next=100)

    tasks.sweep_margin_guards()
    tasks.sweep_margin_guards()

    assert events() == ["unprotected"]
    assert len(told()) == 1
    venue.clear_faults()
    protection.look(timezone.now())
    assert events() == ["unprotected", "protected_again"]


@pytest.mark.usefixtures("chain", "long", "guard")
def test_while_a_stream_process_lives_the_sweep_leaves_that_to_it(
    venue: Simulator, client: Client, account: Account
) -> None:
    seen(client, account)
    redis_client().flushdb()
    redis_client().set(HEARTBEAT_KEY, "{}", ex=5)
    venue.fault("status", status=503, path=RUNNING, next=100)

    tasks.sweep_margin_guards()

    assert events() == []


@pytest.mark.django_db
def test_what_owners_know_within_5_s_is_looked_for_every_4_s() -> None:
    found = PeriodicTask.objects.filter(
        task__in=["automations.tasks.watch_protection", "automations.tasks.reconcile"], enabled=True
    )

    assert [(task.interval.every, task.interval.period) for task in found] == [(4, "seconds")] * 2
    assert [task.expire_seconds for task in found] == [3, 3], "one that comes late finds the next"


@pytest.mark.usefixtures("chain", "long", "guard")
@pytest.mark.parametrize("says", ['{"accounts": 0, "markets": {}}', "dark"])
def test_a_stream_process_that_does_not_see_the_account_is_none_to_leave_it_to(
    venue: Simulator, client: Client, account: Account, says: str
) -> None:
    seen(client, account)
    redis_client().flushdb()
    dark = {"prices": "live", "sight": {"live": 0, "polled": 0, "dark": [account.pk]}}
    told = json.dumps({"accounts": 1, "markets": {"paper": dark}}) if says == "dark" else says
    redis_client().set(HEARTBEAT_KEY, told, ex=5)
    venue.fault("status", status=503, path=RUNNING, next=100)

    tasks.sweep_margin_guards()

    assert events() == ["unprotected"]
