"""What a real worker makes of messages at once, doubled, failed or cut off, and what it says."""

import re
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import datetime
from typing import Any

import pytest
import requests
from django.db import connection, transaction
from django.utils import timezone
from kombu import Connection

from accounts.gateway import client_for
from accounts.models import Account
from automations.models import Execution, GuardStep, MarginGuard
from exchange.config import USUAL_TIMEOUTS
from exchange.position import Position
from hubdefisats.celery import app
from tests.automations.acting import ADD_MARGIN, CLOSE, rest_until_ready, states
from tests.flows.conftest import Story
from tests.waiting import wait_until

pytestmark = pytest.mark.timeout(120)


def guard(story: Story, position: Position, *, does: str = "add_fixed") -> MarginGuard:
    """Act on one position when half of its margin is lost."""
    made = MarginGuard.objects.create(
        enabled=True,
        account=story.account,
        name=f"guard {MarginGuard.objects.count()}",
        only_positions=[position.id],
        cooldown_s=600,
    )
    amount = 20_000 if does == GuardStep.Does.ADD_FIXED else None
    made.steps.create(threshold_percent=50, does=does, amount_sats=amount)
    return made


@contextmanager
def nobody_commits(account: Account) -> Iterator[None]:
    """Let everyone who wants to act for the account wait, right before the intent."""
    with transaction.atomic():
        Account.objects.select_for_update().get(pk=account.pk)
        yield


def waiting() -> int:
    """Return how many others wait for a lock in this database, now."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_stat_clear_snapshot()")
        cursor.execute(
            "SELECT count(*) FROM pg_stat_activity"
            " WHERE datname = current_database() AND wait_event_type = 'Lock'"
        )
        return int(cursor.fetchone()[0])


def test_five_automations_really_run_at_once(story: Story) -> None:
    pairs = [(guard(story, position), position) for position in (story.open() for _ in range(5))]
    story.move(95_000)

    with nobody_commits(story.account):
        asked = [story.worker.look(mine.pk, position.id) for mine, position in pairs]
        wait_until(lambda: waiting() == 5, what="five were about to act at the same time")

    assert [story.worker.answers(it) for it in asked] == [[{"status": "confirmed"}]] * 5
    assert len(story.effects()) == 5


def test_two_automations_never_act_on_one_position_at_once(story: Story) -> None:
    position = story.open()
    one, other = guard(story, position), guard(story, position)
    story.move(95_000)

    with nobody_commits(story.account):
        first = story.worker.look(one.pk, position.id)
        wait_until(lambda: waiting() == 1, what="the first was about to act")
        second = story.worker.look(other.pk, position.id)
        assert story.worker.answers(second) == [{"status": "another worker has it"}]

    assert story.worker.answers(first) == [{"status": "confirmed"}]
    assert len(story.effects()) == 1


def test_one_message_delivered_five_times_has_one_effect(story: Story) -> None:
    position = story.open()
    mine = guard(story, position)
    story.move(95_000)

    with nobody_commits(story.account):
        asked = [story.worker.look(mine.pk, position.id, task_id="one") for _ in range(5)]
        answers = story.worker.answers(asked[0], 4)
        assert answers == [{"status": "another worker has it"}] * 4

    assert story.worker.answers(asked[0], 5)[4] == {"status": "confirmed"}
    assert len(story.effects()) == 1


def test_refused_connections_are_tried_three_times_each_after_a_longer_wait(story: Story) -> None:
    position = story.open()
    mine = guard(story, position)
    story.move(95_000)

    def waits() -> list[float]:
        line = rf"\[{asked}\] retry: Retry in ([\d.]+)s: TransientError"
        return [float(wait) for wait in re.findall(line, story.worker.said())]

    begun = time.monotonic()
    story.exchange.fault("refuse", ms=60_000)
    wait_until(
        lambda: time.monotonic() > begun + USUAL_TIMEOUTS.idle_s,
        what="the connections of other stories are kept no more",
    )
    asked = story.worker.look(mine.pk, position.id)
    try:
        wait_until(lambda: len(waits()) == 2, what="two attempts were refused")
    finally:
        story.exchange.clear_faults()

    assert story.worker.answers(asked) == [{"status": "confirmed"}]
    first, second = waits()
    assert 2 <= first <= 3
    assert 4 <= second <= 6
    assert len(story.effects()) == 1


def test_what_a_killed_worker_left_open_is_settled_before_the_next_one_acts(story: Story) -> None:
    closed, topped_up = story.open(), story.open()
    pairs = [
        (guard(story, closed, does="close_position"), closed),
        (guard(story, topped_up), topped_up),
    ]
    story.move(95_000)
    # The first is done and not answered; the second is done only after its sender is dead.
    faults: list[tuple[str, dict[str, Any]]] = [
        (CLOSE, {"kind": "late_answer", "ms": 60_000}),
        (ADD_MARGIN, {"kind": "delay", "ms": 4_000}),
    ]
    for (path, fault), (mine, position) in zip(faults, pairs, strict=True):
        story.exchange.fault(path=path, **fault)
        story.worker.look(mine.pk, position.id)
        wait_until(lambda: faults_left(story) == [], what="the request arrived")

    story.worker.kill()
    assert states() == ["sent", "sent"]
    wait_until(lambda: len(story.effects()) == 2, what="the exchange did what it was asked for")
    said = len(story.worker.said())
    asked = [story.worker.look(mine.pk, position.id) for mine, position in pairs]
    story.worker.start()
    for it in asked:
        story.worker.answers(it)

    assert states() == ["confirmed", "confirmed"]
    assert len(story.effects()) == 2
    settled, received, _ = story.worker.said()[said:].partition(" received")
    assert received
    assert settled.count("execution settled by proof") == 2


def faults_left(story: Story) -> Any:
    return requests.get(f"{story.exchange.control}/faults", timeout=5).json()


@pytest.mark.parametrize(
    ("fault", "state"),
    [
        pytest.param({"kind": "status", "status": 400}, "rejected", id="refused"),
        pytest.param({"kind": "lost_answer"}, "unknown", id="the answer lost"),
    ],
)
def test_a_failure_is_reported_in_the_execution_as_other_programs_read_it(
    story: Story, *, fault: dict[str, Any], state: str
) -> None:
    position = story.open()
    mine = guard(story, position)
    story.move(95_000)
    story.exchange.fault(**fault, path=ADD_MARGIN)

    asked = story.worker.look(mine.pk, position.id)

    assert story.worker.answers(asked) == [{"status": state}]
    execution = Execution.objects.get()
    assert execution.report
    assert execution.report == {
        "status": "error",
        "error": execution.error,
        "timestamp": execution.report["timestamp"],
        "automationId": mine.pk,
        "userId": story.account.owner_id,
        "accountId": story.account.pk,
        "accountName": story.account.name,
    }
    assert execution.error
    reported_at = datetime.fromisoformat(execution.report["timestamp"])
    assert execution.decided_at <= reported_at <= timezone.now()


def test_every_line_about_an_execution_says_whose_it_is(story: Story) -> None:
    position = story.open()
    mine = guard(story, position)
    said = len(story.worker.said())

    # Not read back, then without an answer, then settled by what the exchange shows.
    story.move(95_000)
    client_for(story.account).balance()  # so that nobody asks for it first
    story.exchange.fault("status", status=400, method="GET", path="/v3/account")
    story.worker.answers(story.worker.look(mine.pk, position.id))
    rest_until_ready(mine)
    story.move(92_000)
    client_for(story.account).balance()
    story.exchange.fault("lost_answer", path=ADD_MARGIN)
    story.worker.answers(story.worker.look(mine.pk, position.id))

    whose = f'account={story.account.pk} account_name="{story.account.name}" automation={mine.pk}'
    first, second = (f"{whose} execution={it.pk}" for it in Execution.objects.order_by("id"))
    ours = r"^\S+ [A-Z]+ (automations\.(?!delivering).*?)(?: error=.*)?$"
    lines = re.findall(ours, story.worker.said()[said:], re.MULTILINE)
    assert lines == [
        f"automations.executing execution settled {first} state=confirmed",
        f"automations.reading_back not read back {first}",
        f"automations.executing execution settled {second} state=unknown",
        f"automations.reconciling execution settled by proof {second} state=confirmed",
    ]


def test_who_watches_the_workers_hears_of_each_task(story: Story) -> None:
    heard: dict[str, list[str]] = {}

    def hear(event: dict[str, Any]) -> None:
        heard.setdefault(event.get("uuid", ""), []).append(event["type"])

    with (
        app.connection_for_read() as connection,
        app.events.Receiver(connection, handlers={"*": hear}).consumer_context() as (listening, _, _),
    ):
        drained(listening)  # it subscribes with its first wait
        asked = [story.worker.look(2**31 - 1, None) for _ in range(3)]
        wait_until(
            lambda: (
                drained(listening) and all("task-succeeded" in heard.get(each, ()) for each in asked)
            ),
            what="all three were heard of",
        )

    for each in asked:
        assert heard[each] == ["task-received", "task-started", "task-succeeded"]


def drained(connection: Connection) -> bool:
    """Take what came meanwhile."""
    with suppress(TimeoutError):
        connection.drain_events(timeout=0.2)
    return True
