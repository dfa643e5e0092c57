"""Executions without an answer: what settles them, and how long they stay open."""

from datetime import timedelta
from typing import Any

import pytest
from django.utils import timezone

from automations import reconciling
from automations.models import Execution, GuardStep, JournalEntry, MarginGuard
from exchange.client import Client
from exchange.money import Sats
from exchange.position import Position
from exchange.simulator.running import Simulator
from tests.automations.acting import (
    ADD_MARGIN,
    effects,
    held_elsewhere,
    long_ago,
    look,
    rest_until_ready,
    unanswered,
)
from tests.automations.conftest import open_long
from tests.automations.test_models import execution


def test_a_lost_answer_is_settled_by_the_margin_that_shows_it_happened(
    venue: Simulator, long: Position, guard: MarginGuard
) -> None:
    venue.set_price(94_000)
    venue.fault("lost_answer", path=ADD_MARGIN)
    look(guard, long)
    unanswered()

    (settled,) = reconciling.settle_all()

    assert settled.state == "confirmed"
    assert JournalEntry.objects.first().event == "margin_guard_reconciled"  # type: ignore[union-attr]
    assert effects(venue) == 1


def test_what_never_arrived_is_settled_once_it_no_longer_can(
    venue: Simulator, long: Position, guard: MarginGuard
) -> None:
    venue.set_price(95_000)
    venue.fault("status", status=504, path=ADD_MARGIN)
    look(guard, long)

    assert reconciling.settle_all() == []
    long_ago()
    (settled,) = reconciling.settle_all()

    assert settled.state == "not_applied"
    assert look(guard, long) == "confirmed"
    assert effects(venue) == 1


def test_what_cannot_be_told_is_quarantined_and_counts_as_spent(
    venue: Simulator, client: Client, long: Position, guard: MarginGuard
) -> None:
    venue.set_price(92_000)
    venue.fault("status", status=504, path=ADD_MARGIN)
    look(guard, long)
    client.add_margin(long.id, Sats(777))
    long_ago()

    (settled,) = reconciling.settle_all()

    assert settled.state == "quarantined"
    rest_until_ready(guard)
    assert Execution.objects.spending().sats() == 20_000


@pytest.mark.parametrize(
    ("fault", "state"),
    [
        pytest.param({"kind": "lost_answer"}, "confirmed", id="closed, the answer lost"),
        pytest.param({"kind": "status", "status": 504}, "not_applied", id="never closed"),
    ],
)
def test_a_close_without_an_answer_is_settled_by_whether_the_position_runs(
    venue: Simulator, long: Position, guard: MarginGuard, fault: dict[str, Any], state: str
) -> None:
    GuardStep.objects.update(does=GuardStep.Does.CLOSE)
    venue.set_price(95_000)
    venue.fault(**fault, path="/v3/futures/isolated/trade/close")
    look(guard, long)
    unanswered()
    long_ago()

    (settled,) = reconciling.settle_all()

    assert settled.state == state


def test_a_worker_killed_before_it_recorded_leaves_something_to_settle(
    venue: Simulator, client: Client, long: Position, guard: MarginGuard
) -> None:
    """The row says intended, the exchange has the margin: what kill -9 after sending leaves."""
    venue.set_price(94_000)
    look(guard, long)
    Execution.objects.update(state="intended", settled_at=None)
    long_ago()

    (settled,) = reconciling.settle_all()

    assert settled.state == "confirmed"
    assert client.rest.running_trades()[0].margin == 120_000


def test_a_top_up_of_a_position_that_is_closed_now_is_judged_by_its_last_margin(
    venue: Simulator, client: Client, long: Position, guard: MarginGuard
) -> None:
    venue.set_price(94_000)
    venue.fault("lost_answer", path=ADD_MARGIN)
    look(guard, long)
    unanswered()
    client.close(long.id)

    (settled,) = reconciling.settle_all()

    assert settled.state == "confirmed"


def test_an_account_that_cannot_be_read_leaves_its_executions_open(
    venue: Simulator, long: Position, guard: MarginGuard
) -> None:
    venue.set_price(95_000)
    venue.fault("lost_answer", path=ADD_MARGIN)
    look(guard, long)
    unanswered()
    venue.fault("status", status=500, path="/v3/futures/isolated/trades/running", next=10)

    assert reconciling.settle_all() == []

    assert Execution.objects.get().state == "unknown"


@pytest.mark.parametrize(
    ("ago_s", "state"),
    [
        pytest.param(10, "unknown", id="the request may still arrive"),
        pytest.param(120, "quarantined", id="nobody can tell any more"),
    ],
)
def test_a_top_up_of_a_position_the_exchange_does_not_show(
    guard: MarginGuard, client: Client, ago_s: int, state: str
) -> None:
    client.close(open_long(client).id)
    open_long(client)
    decided_at = timezone.now() - timedelta(seconds=ago_s)
    execution(guard, position_id="gone", state="unknown", decided_at=decided_at)

    settled = reconciling.settle_all()

    assert Execution.objects.get().state == state
    assert [each.state for each in settled] == [state] * (state == "quarantined")


@pytest.mark.django_db(transaction=True)
def test_what_a_worker_holds_is_left_to_it(long: Position, guard: MarginGuard) -> None:
    execution(guard, position_id=long.id, decided_at=timezone.now() - timedelta(minutes=2))

    with held_elsewhere(long.id):
        assert reconciling.settle_all() == []

    assert Execution.objects.get().state == "intended"
