"""What is left open where nothing can be told: by whom, how long, and what becomes of it."""

import threading
from datetime import timedelta

import pytest
from django.db import connection
from django.utils import timezone

from automations import reconciling
from automations.locking import position_lock
from automations.models import Execution, MarginGuard
from exchange.client import Client
from exchange.position import Position, PositionId
from tests.automations.conftest import open_long
from tests.automations.test_models import execution


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
    held, done = threading.Event(), threading.Event()

    def work() -> None:
        with position_lock(PositionId(long.id)) as mine:
            assert mine
            held.set()
            done.wait(10)
        connection.close()

    worker = threading.Thread(target=work)
    worker.start()
    try:
        assert held.wait(5)
        assert reconciling.settle_all() == []
    finally:
        done.set()
        worker.join(5)

    assert Execution.objects.get().state == "intended"
