"""Two beats: one leads and sends, it is killed, and the other goes on without sending a slot twice."""

import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from django.utils import timezone
from django_celery_beat.models import IntervalSchedule, PeriodicTask

from accounts.gateway import redis_client
from tests.flows.processes import BEAT, Paper, program
from tests.waiting import wait_until

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.timeout(120)]
EVERY_S = 2


@pytest.fixture
def paper() -> Paper:
    """Nobody asks the exchange."""
    nowhere = {"rest": "http://127.0.0.1:1/v3", "stream": "ws://127.0.0.1:1/v1"}
    return Paper({**nowhere, "control": None, "accounts": []})


@pytest.fixture
def task(redis_url: str) -> PeriodicTask:  # noqa: ARG001 - empties the queue
    PeriodicTask.objects.all().delete()
    every, _ = IntervalSchedule.objects.get_or_create(every=EVERY_S, period="seconds")
    return PeriodicTask.objects.create(
        name="sweep", task="automations.tasks.sweep_entries", interval=every, last_run_at=timezone.now()
    )


def sent() -> int:
    return int(redis_client().llen("maintenance"))


@contextmanager
def beat(paper: Paper) -> Iterator[subprocess.Popen[str]]:
    """Run one; where what is said of it does not come true, have it say what it does instead."""
    with program(*BEAT, paper=paper, PYTHONFAULTHANDLER="1") as running:
        try:
            yield running
        except AssertionError:
            running.send_signal(signal.SIGABRT)  # which says where each of its threads is
            running.wait(10)
            raise


def test_a_killed_beat_is_replaced_by_the_other(task: PeriodicTask, paper: Paper) -> None:
    begun_s = time.monotonic()
    with beat(paper) as leader:
        wait_until(lambda: sent() >= 1, within_s=40, what="the first sends")
        with beat(paper):
            counted = sent()
            wait_until(lambda: sent() >= counted + 2, within_s=40, what="it goes on beside another")

            leader.send_signal(signal.SIGKILL)
            leader.wait(10)
            counted = sent()
            wait_until(lambda: sent() >= counted + 2, within_s=40, what="the other goes on")
        lasted_s = time.monotonic() - begun_s
    task.refresh_from_db()
    assert sent() <= task.total_run_count, "each was written down before it was sent"
    assert sent() >= task.total_run_count - 1, "at most the one that the killed beat was about to send"
    assert sent() <= lasted_s / EVERY_S + 1, "no slot was sent twice"
