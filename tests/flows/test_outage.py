"""The exchange is away while an outcome is unknown: it is settled as soon as the exchange is back."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from importlib import import_module
from urllib.parse import urlsplit

import pytest
from django.utils import timezone
from django_celery_beat.models import IntervalSchedule, PeriodicTask

from benchmarks.proxy import Proxy, Way
from exchange.simulator.running import Simulator
from tests.automations.acting import ADD_MARGIN, states
from tests.exchange.places import endpoints_of
from tests.flows.conftest import Story
from tests.flows.processes import BEAT, program
from tests.flows.test_delivery import guard
from tests.flows.worker import Worker
from tests.waiting import wait_until

pytestmark = pytest.mark.timeout(120)

SETTLED_WITHIN_S = 5.0
AWAY_S = 6.0
"""More than one time between two attempts to settle."""


@pytest.fixture(scope="module")
def line(exchange: Simulator) -> Iterator[Proxy]:
    """The worker's only way to the exchange."""
    address = urlsplit(endpoints_of(exchange).api_url)
    assert address.hostname
    assert address.port
    with Proxy(address.hostname, address.port) as proxy:
        yield proxy


@pytest.fixture(scope="module")
def worker(
    exchange: Simulator,
    line: Proxy,
    django_db_setup: None,  # noqa: ARG001 - the worker finds this database
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Worker]:
    log = tmp_path_factory.mktemp("worker") / "stderr"
    by_proxy = replace(endpoints_of(exchange), api_url=f"http://127.0.0.1:{line.port}")
    with Worker(by_proxy, log) as running:
        yield running


@contextmanager
def beat(story: Story) -> Iterator[None]:
    """Let what is left open be settled as often as the schedule has it."""
    PeriodicTask.objects.all().delete()
    every_s = import_module("automations.migrations.0015_schedule_watching_protection").EVERY_S
    every, _ = IntervalSchedule.objects.get_or_create(every=every_s, period="seconds")
    PeriodicTask.objects.create(
        name="reconcile",
        task="automations.tasks.reconcile",
        interval=every,
        last_run_at=timezone.now(),
        expire_seconds=every_s - 1,
    )
    with program(*BEAT, paper=endpoints_of(story.exchange)):
        yield


@pytest.mark.parametrize("away", ["refuses", "hangs"])
def test_an_unknown_outcome_is_settled_within_5_s_of_the_exchange_s_return(
    story: Story, line: Proxy, away: str
) -> None:
    position = story.open()
    mine = guard(story, position)
    story.move(95_000)
    story.exchange.fault("late_answer", path=ADD_MARGIN, ms=60_000)
    with beat(story):
        story.worker.look(mine.pk, position.id)
        wait_until(story.effects, what="the exchange did it")
        begun = time.monotonic()
        if away == "refuses":
            line.behave(refuses=True)
        else:
            line.behave(asks=Way.STALL)
        line.cut_all()
        wait_until(lambda: states() == ["unknown"], what="no answer came")
        wait_until(lambda: time.monotonic() > begun + AWAY_S, what="it was away for some time")
        assert states() == ["unknown"]

        back = time.monotonic()
        line.behave()
        wait_until(lambda: states() == ["confirmed"], within_s=30, what="it is settled")

        assert time.monotonic() - back <= SETTLED_WITHIN_S
    assert len(story.effects()) == 1
