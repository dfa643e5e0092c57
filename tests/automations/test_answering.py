"""An account whose requests get no answer holds back no other: it is left to the next time."""

import time
from collections.abc import Iterator
from datetime import timedelta
from decimal import Decimal

import pytest
from django.utils import timezone

from accounts.gateway import client_for
from accounts.models import Account
from automations import answering, protection, tasks
from automations.models import Execution, GuardStep, JournalEntry, KnownPosition, MarginGuard
from exchange.position import Position
from exchange.simulator.running import Simulator
from tests.automations.acting import ADD_MARGIN, events, look, move
from tests.automations.conftest import new_account, open_long
from tests.automations.test_closings import seen
from tests.waiting import wait_until

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("chain")]

SILENT_MS = 8_000
PROMISED_S = 5
"""So soon after a change of its protection an owner knows."""
EVERY = 10_000


@pytest.fixture
def sound(account: Account, venue: Simulator) -> Account:  # noqa: ARG001 - the silent one is older
    """Another account, worked through after the one that falls silent."""
    return new_account(venue, 1)


@pytest.fixture
def other_long(sound: Account) -> Position:
    return open_long(client_for(sound))


@pytest.fixture
def other_guard(sound: Account) -> MarginGuard:
    made = MarginGuard.objects.create(
        enabled=True, account=sound, name="other", metric="margin_used", cooldown_s=1
    )
    made.steps.create(threshold_percent=Decimal(50), does=GuardStep.Does.ADD_FIXED, amount_sats=20_000)
    return made


@pytest.fixture(autouse=True)
def _all_answered(venue: Simulator) -> Iterator[None]:
    yield
    venue.clear_faults()


def falls_silent(venue: Simulator) -> None:
    key = venue.accounts[0].credentials.key
    venue.fault("delay", account=key, ms=SILENT_MS, next=EVERY)


def within_the_promise(began_s: float) -> None:
    assert time.monotonic() - began_s < PROMISED_S, "it waited for the silent account"


def events_of(account: Account) -> list[str]:
    return list(
        JournalEntry.objects.filter(account=account).order_by("id").values_list("event", flat=True)
    )


def test_protection_that_is_back_is_told_in_time(
    venue: Simulator,
    long: Position,
    guard: MarginGuard,
    other_long: Position,
    other_guard: MarginGuard,
) -> None:
    MarginGuard.objects.update(budget_per_position_sats=1)
    move(venue, 95_000)
    assert look(guard, long) == "budget_used_up"
    assert look(other_guard, other_long) == "budget_used_up"
    MarginGuard.objects.update(budget_per_position_sats=20_000)
    falls_silent(venue)

    began_s = time.monotonic()
    tasks.watch_protection()

    within_the_promise(began_s)
    assert events_of(other_guard.account)[-1] == "margin_guard_protected_again"
    assert events_of(guard.account) == ["margin_guard_held"]


def test_a_silent_account_is_told_as_protected_once_it_answers(
    venue: Simulator, long: Position, guard: MarginGuard
) -> None:
    MarginGuard.objects.update(budget_per_position_sats=1)
    move(venue, 95_000)
    assert look(guard, long) == "budget_used_up"
    MarginGuard.objects.update(budget_per_position_sats=20_000)
    venue.fault("delay", path="/v3/account", ms=int(answering.PATIENCE_S * 2 * 1000))
    tasks.watch_protection()
    assert events() == ["margin_guard_held"]

    def is_told() -> bool:
        tasks.watch_protection()
        return "margin_guard_protected_again" in events()

    wait_until(is_told, what="its late answer counts")


def test_an_unknown_outcome_is_settled_in_time(
    venue: Simulator,
    long: Position,
    guard: MarginGuard,
    other_long: Position,
    other_guard: MarginGuard,
) -> None:
    move(venue, 95_000)
    for each, position in ((guard, long), (other_guard, other_long)):
        look(each, position)
    Execution.objects.update(
        state="unknown",
        settled_at=None,
        read_back_due=False,
        decided_at=timezone.now() - timedelta(seconds=3),
    )
    falls_silent(venue)

    began_s = time.monotonic()
    tasks.reconcile()

    within_the_promise(began_s)
    assert Execution.objects.get(automation=other_guard).state == "confirmed"
    assert Execution.objects.get(automation=guard).state == "unknown"


def test_an_account_that_is_seen_again_is_told_so_in_time(
    venue: Simulator,
    long: Position,  # noqa: ARG001 - there to be seen
    guard: MarginGuard,
    other_long: Position,  # noqa: ARG001
    other_guard: MarginGuard,
) -> None:
    now = timezone.now()
    for each in (guard, other_guard):
        seen(client_for(each.account), each.account)
        protection.write_down({each.account_id: now}, now)
    falls_silent(venue)

    began_s = time.monotonic()
    tasks.watch_protection()

    within_the_promise(began_s)
    assert events_of(other_guard.account) == ["unprotected", "protected_again"]
    assert events_of(guard.account) == ["unprotected"]


def test_what_ended_a_position_is_told_in_time(
    venue: Simulator,
    long: Position,
    guard: MarginGuard,
    other_long: Position,
    other_guard: MarginGuard,
) -> None:
    for each, position in ((guard, long), (other_guard, other_long)):
        client = client_for(each.account)
        seen(client, each.account)
        client.close(position.id)
        seen(client, each.account)
    KnownPosition.objects.update(look_at=timezone.now())
    falls_silent(venue)

    began_s = time.monotonic()
    tasks.reconcile()

    within_the_promise(began_s)
    assert KnownPosition.objects.get().account == guard.account


def test_a_key_that_is_refused_where_protection_is_looked_for_is_doubted(
    venue: Simulator, long: Position, guard: MarginGuard
) -> None:
    MarginGuard.objects.update(budget_per_position_sats=1)
    move(venue, 95_000)
    assert look(guard, long) == "budget_used_up"
    venue.fault("status", status=401, path="/v3/account")

    tasks.watch_protection()

    assert Account.objects.get().refusals == 1
    assert ADD_MARGIN not in [write.path for write in venue.writes()]
