"""Positions as the stream process last saw them: written when they change, and across restarts."""

from decimal import Decimal

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from accounts.models import Account
from automations import closings, known_positions, tasks
from automations.known_positions import Reading
from automations.models import JournalEntry, KnownPosition, Lease, MarginGuard, Notification
from exchange.client import Client
from exchange.money import Sats
from exchange.position import Position, Regime
from exchange.simulator.running import Simulator
from tests.automations.conftest import open_long
from tests.automations.queues import waiting
from tests.automations.streams import streaming
from tests.waiting import wait_until

pytestmark = pytest.mark.django_db(transaction=True)


def asked_to_explain() -> list[list[int]]:
    task = "automations.tasks.explain_closings"
    return [message.arguments for message in waiting("maintenance") if message.task == task]


@pytest.mark.usefixtures("guard")
def test_13_a_position_that_ends_while_it_is_watched_is_explained_at_once(
    venue: Simulator, long: Position, account: Account
) -> None:
    with streaming():
        wait_until(KnownPosition.objects.running().exists, what="it is known")
        known = KnownPosition.objects.get()
        assert known.position_id == long.id
        assert (known.first_margin, known.liquidation) == (100_000, Decimal(90_909))

        venue.set_price(90_000)

        wait_until(asked_to_explain, within_s=5, what="a worker is asked what ended it")
    assert asked_to_explain() == [[account.pk]]
    assert closings.explain([account.pk]) == 1
    assert JournalEntry.objects.latest("id").event == "liquidated"


@pytest.mark.usefixtures("guard", "long")
def test_13_what_ended_while_everything_was_down_is_found_at_the_first_reading(
    venue: Simulator,
) -> None:
    with streaming():
        wait_until(KnownPosition.objects.running().exists, what="it is known")
    venue.set_price(90_000)

    with streaming():
        wait_until(KnownPosition.objects.gone().exists, what="it is found to be gone")

    assert closings.explain() == 1
    assert JournalEntry.objects.latest("id").event == "liquidated"


@pytest.mark.usefixtures("guard", "long")
def test_13_a_position_whose_guard_was_disabled_is_read_once_a_minute_and_its_end_is_told(
    venue: Simulator,
) -> None:
    with streaming():
        wait_until(KnownPosition.objects.running().exists, what="it is known")
        MarginGuard.objects.update(enabled=False)
        wait_until(lambda: not Lease.objects.exists(), what="nobody watches it")
    tasks.reconcile()
    venue.set_price(90_000)
    tasks.reconcile()
    assert KnownPosition.objects.running().exists(), "it was read within the minute"
    KnownPosition.objects.update(look_at=timezone.now())

    tasks.reconcile()

    end = JournalEntry.objects.latest("id")
    assert end.event == "liquidated"
    assert "No guard watched it. “guard” was disabled" in end.message
    assert "LIQUIDATED" in Notification.objects.latest("id").subject


@pytest.mark.usefixtures("guard", "long")
def test_13_a_reading_that_fails_ends_no_position(venue: Simulator) -> None:
    with streaming():
        wait_until(KnownPosition.objects.running().exists, what="it is known")
    venue.fault("status", status=500, path="/v3/futures/isolated/trades/running", next=100)

    with streaming() as process:
        wait_until(lambda: process.serving.accounts, what="it is watched")
        wait_until(
            lambda: process.serving.seen()["markets"].get("paper", {}).get("state") == "live",
            what="prices come",
        )

    assert KnownPosition.objects.running().exists()
    assert not JournalEntry.objects.filter(event__in=["liquidated", "closed_elsewhere"]).exists()


def test_13_a_position_is_written_when_it_changes_and_with_few_statements(
    client: Client, account: Account, long: Position
) -> None:
    for _ in range(4):
        open_long(client)

    def statements() -> int:
        reading = Reading(
            account_id=account.pk,
            snapshot=client.rest.positions(),
            regimes=frozenset({Regime.ISOLATED}),
        )
        with CaptureQueriesContext(
            connection,
        ) as asked:
            known_positions.write_down([reading])
        return len(asked)

    assert statements() <= 5, "accounts, rows there are, and all new ones at once"
    first = KnownPosition.objects.get(position_id=long.id)
    assert statements() == 2
    assert KnownPosition.objects.get(position_id=long.id).seen_at == first.seen_at
    client.add_margin(long.id, Sats(5_000))
    assert statements() <= 5
    changed = KnownPosition.objects.get(position_id=long.id)
    assert (changed.margin, changed.first_margin) == (105_000, 100_000)
    assert changed.seen_at > first.seen_at == changed.first_seen_at
