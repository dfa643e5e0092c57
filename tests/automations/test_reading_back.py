"""What the exchange shows after an action: read back once, later where its message was lost."""

from datetime import timedelta

import pytest
from django.utils import timezone

from automations import reading_back, services, tasks
from automations.models import Execution, MarginGuard
from exchange.position import Position
from exchange.simulator.running import Simulator
from tests.automations.acting import SWEEP, events, move

pytestmark = pytest.mark.usefixtures("chain")


@pytest.fixture
def topped_up(venue: Simulator, long: Position, guard: MarginGuard) -> Execution:
    """A top-up that nobody has read back yet."""
    move(venue, 95_000)
    assert services.act(guard.pk, long.id, SWEEP)["status"] == "confirmed"
    return Execution.objects.get()


def settled_ago(topped_up: Execution, ago: timedelta) -> None:
    Execution.objects.filter(pk=topped_up.pk).update(settled_at=timezone.now() - ago)


def test_whoever_acts_says_what_is_to_be_read_back(
    venue: Simulator, long: Position, guard: MarginGuard
) -> None:
    move(venue, 95_000)

    answer = services.act(guard.pk, long.id, SWEEP)

    assert answer["acted"] == [Execution.objects.get().pk]


def test_an_action_is_read_back_once(topped_up: Execution, venue: Simulator) -> None:
    for _ in range(2):
        reading_back.read_back(topped_up.pk)

    topped_up.refresh_from_db()
    assert topped_up.after["balance"] == venue.balance()
    assert events().count("margin_guard_read_back") == 1


def test_what_a_lost_message_left_is_read_back_when_it_is_overdue(topped_up: Execution) -> None:
    assert tasks.reconcile() == "0 settled, 0 read back", "its message may still come"
    settled_ago(topped_up, timedelta(seconds=31))

    assert tasks.reconcile() == "0 settled, 1 read back"
    assert tasks.reconcile() == "0 settled, 0 read back"
    assert events().count("margin_guard_read_back") == 1


def test_what_could_not_be_read_stays_due(topped_up: Execution, venue: Simulator) -> None:
    venue.fault("status", status=400, path="/v3/account")
    reading_back.read_back(topped_up.pk)
    assert Execution.objects.get().read_back_due

    reading_back.read_back(topped_up.pk)

    assert not Execution.objects.get().read_back_due


def test_after_a_day_it_is_given_up(topped_up: Execution) -> None:
    settled_ago(topped_up, timedelta(days=1, seconds=1))

    assert tasks.reconcile() == "0 settled, 0 read back"

    assert not Execution.objects.get().read_back_due
    assert "margin_guard_read_back" not in events()
