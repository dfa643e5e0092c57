"""Beat's leader: one at a time, each slot sent once, and nothing made up for after a pause."""

import json
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta
from typing import Any
from urllib.parse import urlsplit

import pytest
from django.conf import settings
from django.db import connection
from django.utils import timezone
from django_celery_beat.models import IntervalSchedule, PeriodicTask, PeriodicTasks

from accounts.gateway import redis_client
from benchmarks.proxy import Proxy, Way
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


CLAIM = '"total_run_count" = ('
"""In the statement that writes a slot down."""


@contextmanager
def just_before(part: str, happens: Callable[[], object], *, times: int = 1) -> Iterator[None]:
    """Let something happen just before a statement with this part, the first `times` times."""
    left = [times]

    def around(execute: Any, sql: str, *rest: Any) -> Any:
        if left[0] and part in sql:
            left[0] -= 1
            happens()
        return execute(sql, *rest)

    with connection.execute_wrapper(around):
        yield


def make_due(name: str) -> None:
    PeriodicTask.objects.filter(name=name).update(last_run_at=timezone.now() - timedelta(minutes=1))


def test_changes_that_come_while_it_reads_silence_no_task(beats: Beats) -> None:
    """A task that was sent between two of them was known by a time that its row never had again."""
    beat = beats.one()
    tick(beat)
    make_due("first sweep")
    changes = 'FROM "django_celery_beat_periodictasks" WHERE'
    PeriodicTasks.update_changed()
    with just_before(changes, PeriodicTasks.update_changed, times=2):
        tick(beat)
    wait_until(lambda: beat.tick() and sent()["first sweep"] == 2, what="it is sent")

    make_due("first sweep")

    wait_until(lambda: beat.tick() and sent()["first sweep"] == 3, within_s=5, what="so is the next")


def test_a_slot_that_another_sent_does_not_end_the_task_here(beats: Beats) -> None:
    beat = beats.one()
    tick(beat)
    make_due("first sweep")

    def sent_elsewhere() -> None:
        PeriodicTask.objects.filter(name="first sweep").update(
            last_run_at=timezone.now() - timedelta(seconds=9)
        )

    with just_before(CLAIM, sent_elsewhere):
        wait_until(lambda: beat.tick() and sent()["first sweep"] == 2, what="the one after is ours")


def test_a_database_that_goes_away_meanwhile_delays_a_slot_and_ends_nothing(
    beats: Beats, caplog: pytest.LogCaptureFixture
) -> None:
    beat = beats.one()

    def its_connection_is_cut() -> None:
        with connection.cursor() as cursor:
            cursor.execute("SELECT pg_terminate_backend(pg_backend_pid())")

    with just_before(CLAIM, its_connection_is_cut):
        beat.tick()
    assert "beat sends nothing" in caplog.text
    assert "Traceback" not in caplog.text

    wait_until(lambda: beat.tick() and sum(sent().values()) == 2, what="both are sent")


@contextmanager
def on_a_bad_line(beat: LeaderScheduler) -> Iterator[Proxy]:
    """Let the beat's messages go to Redis by a proxy."""
    broker = urlsplit(settings.CELERY_BROKER_URL)
    assert broker.hostname
    assert broker.port
    with Proxy(broker.hostname, broker.port) as proxy:
        ours = broker._replace(netloc=broker.netloc.replace(f":{broker.port}", f":{proxy.port}"))
        beat.connection = app.connection_for_write(url=ours.geturl())
        yield proxy


@pytest.mark.parametrize("lost", ["asks", "answers"])
def test_a_message_that_fails_after_its_slot_is_claimed_is_sent_soon_and_once(
    beats: Beats, lost: str, caplog: pytest.LogCaptureFixture
) -> None:
    """It did not arrive, or nobody knows that it did."""
    beat = beats.one()
    with on_a_bad_line(beat) as proxy:
        beat.producer.channel.client.ping()
        with just_before(CLAIM, lambda: proxy.behave(**{lost: Way.RESET})):
            beat.tick()
        assert "beat sends nothing" in caplog.text
        proxy.behave()

        wait_until(lambda: beat.tick() and len(sent()) == 2, within_s=5, what="both are sent")
        for _ in range(20):
            beat.tick()

    assert sent() == {"first sweep": 1, "second sweep": 1}
    assert set(PeriodicTask.objects.values_list("total_run_count", flat=True)) == {1}


def test_such_a_slot_is_given_back_once_the_database_is_there_again(beats: Beats) -> None:
    beat = beats.one()
    with on_a_bad_line(beat) as proxy:
        beat.producer.channel.client.ping()
        with just_before(CLAIM, lambda: proxy.behave(asks=Way.RESET)):
            beat.tick()
        proxy.behave()

        def its_connection_is_cut() -> None:
            with connection.cursor() as cursor:
                cursor.execute("SELECT pg_terminate_backend(pg_backend_pid())")

        with just_before('"total_run_count" - ', its_connection_is_cut):
            beat.tick()
        wait_until(lambda: beat.tick() and len(sent()) == 2, within_s=5, what="both are sent")

    assert sent() == {"first sweep": 1, "second sweep": 1}


def test_a_clock_that_was_set_back_silences_no_task(beats: Beats) -> None:
    every, _ = IntervalSchedule.objects.get_or_create(every=1, period="seconds")
    PeriodicTask.objects.update(interval=every, last_run_at=timezone.now() + timedelta(hours=1))
    beat = beats.one()

    wait_until(lambda: beat.tick() and len(sent()) == 2, within_s=5, what="both are sent")


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
