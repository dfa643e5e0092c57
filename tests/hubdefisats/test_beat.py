"""Beat's leader: one at a time, each slot sent once, and nothing made up for after a pause."""

import json
from collections import Counter
from collections.abc import Iterator
from datetime import datetime, timedelta
from typing import Any

import pytest
from django.db import connection
from django.utils import timezone
from django_celery_beat.models import IntervalSchedule, PeriodicTask

from accounts.gateway import redis_client
from hubdefisats.beat import LeaderScheduler, Leadership
from hubdefisats.celery import app
from tests.waiting import wait_until

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("redis_url", "tasks")]
EVERY_S = {"first sweep": 10, "second sweep": 15}


@pytest.fixture
def tasks() -> None:
    PeriodicTask.objects.all().delete()
    for name, every_s in EVERY_S.items():
        every, _ = IntervalSchedule.objects.get_or_create(every=every_s, period="seconds")
        PeriodicTask.objects.create(
            name=name,
            task="automations.tasks.sweep_entries",
            interval=every,
            expire_seconds=every_s - 1,
            last_run_at=timezone.now() - timedelta(minutes=10),
        )


class Beats:
    """Several beats, each as one process would have it."""

    def __init__(self) -> None:
        self.made: list[LeaderScheduler] = []

    def one(self) -> LeaderScheduler:
        # As Celery makes it; what it would add of its own is about results, which nobody keeps.
        made = LeaderScheduler(app=app, lazy=True)
        self.made.append(made)
        return made


@pytest.fixture
def beats() -> Iterator[Beats]:
    beats = Beats()
    yield beats
    for each in beats.made:
        each.close()


def tick(beat: LeaderScheduler) -> None:
    """Let it send all that is due now."""
    for _ in range(10):
        beat.tick()


def messages() -> list[dict[str, Any]]:
    return [json.loads(each)["headers"] for each in redis_client().lrange("maintenance", 0, -1)]


def sent() -> Counter[str]:
    return Counter(headers["periodic_task_name"] for headers in messages())


def test_after_ten_silent_minutes_each_task_is_sent_once(beats: Beats) -> None:
    tick(beats.one())

    assert sent() == {"first sweep": 1, "second sweep": 1}
    assert set(PeriodicTask.objects.values_list("total_run_count", flat=True)) == {1}


def test_what_is_sent_expires_before_the_next(beats: Beats) -> None:
    tick(beats.one())

    for headers in messages():
        left = datetime.fromisoformat(headers["expires"]) - timezone.now()
        assert left < timedelta(seconds=EVERY_S[headers["periodic_task_name"]])


def test_only_one_of_two_sends(beats: Beats) -> None:
    first, second = beats.one(), beats.one()

    for _ in range(5):
        first.tick()
        second.tick()

    assert sent() == {"first sweep": 1, "second sweep": 1}


def test_another_takes_over_when_the_leader_is_gone_and_repeats_nothing(beats: Beats) -> None:
    first, second = beats.one(), beats.one()
    tick(first)
    tick(second)
    first.close()

    tick(second)
    assert sum(sent().values()) == 2, "the row says when each was sent"
    PeriodicTask.objects.filter(name="first sweep").update(
        last_run_at=timezone.now() - timedelta(minutes=1)
    )
    second.close()
    tick(beats.one())

    assert sent() == {"first sweep": 2, "second sweep": 1}


def test_one_that_still_believes_to_lead_sends_nothing_that_another_sent(beats: Beats) -> None:
    """Its connection ended between its look and its sending: the row decides."""
    late, other = beats.one(), beats.one()
    assert late.schedule
    late.populate_heap()
    tick(other)

    for entry in list(late.schedule.values()):
        late.reserve(entry)
        late.apply_entry(entry, producer=late.producer)

    assert sent() == {"first sweep": 1, "second sweep": 1}


def leaders_end() -> None:
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_locks"
            " WHERE locktype = 'advisory' AND pid <> pg_backend_pid()"
            " AND database = (SELECT oid FROM pg_database WHERE datname = current_database())"
        )


def test_who_lost_the_connection_leads_no_more(caplog: pytest.LogCaptureFixture) -> None:
    leader, other = Leadership(), Leadership()
    try:
        assert leader.holds()
        assert not other.holds()
        assert leader.holds()

        leaders_end()

        wait_until(other.holds, what="the lock is free, and taken")
        assert not leader.holds()
        assert "nobody can say who leads" in caplog.text
        assert not leader.holds(), "it tries again, and waits"
        other.give_up()
        wait_until(leader.holds, what="it leads again")
    finally:
        leader.give_up()
        other.give_up()
