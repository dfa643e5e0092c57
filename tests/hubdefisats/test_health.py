"""The health pages, asked over HTTP, with every other part real."""

import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from datetime import timedelta

import pytest
import redis
import requests
from django.utils import timezone
from django_celery_beat.models import IntervalSchedule, PeriodicTask

from automations import heartbeat
from automations.streaming import HEARTBEAT_KEY
from hubdefisats.beat import Leadership
from hubdefisats.embedded import free_port
from hubdefisats.stack import programs
from tests.waiting import wait_until


@contextmanager
def _running(*command: str, variables: dict[str, str]) -> Iterator[None]:
    process = subprocess.Popen(command, env=variables, stderr=subprocess.DEVNULL)
    try:
        yield
    finally:
        process.terminate()
        process.wait(10)


def _parts(url: str) -> dict[str, str]:
    parts: dict[str, str] = requests.get(f"{url}/health/ready", timeout=5).json()["parts"]
    return parts


@pytest.fixture
def web(services: dict[str, str]) -> Iterator[str]:
    port = free_port()
    uvicorn = ("uvicorn", "hubdefisats.asgi:application", "--lifespan", "off", "--port", str(port))
    with _running(sys.executable, "-m", *uvicorn, variables=services):
        wait_until(lambda: _serves(port), what="the web process serves")
        yield f"http://127.0.0.1:{port}"


def _serves(port: int) -> bool:
    try:
        return requests.get(f"http://127.0.0.1:{port}/health/live", timeout=5).ok
    except requests.ConnectionError:
        return False


@pytest.mark.timeout(120)
def test_a_stack_is_ready_once_every_part_is(
    web: str, services: dict[str, str], redis_url: str
) -> None:
    assert _parts(web) == {
        "database": "ready",
        "redis": "ready",
        "urgent": "no answer",
        "worker": "no answer",
        "stream": "no heartbeat",
        "beat": "no answer",
    }
    with ExitStack() as parts:
        parts.enter_context(_running(*programs.BEAT.command, variables=services))
        wait_until(lambda: _parts(web)["beat"] == "ready", within_s=20, what="beat answers")
        parts.enter_context(_running(*programs.WORKER.command, variables=services))
        wait_until(lambda: _parts(web)["worker"] == "ready", what="the worker answers")
        assert _parts(web)["urgent"] == "no answer"
        parts.enter_context(_running(*programs.urgent()[0].command, variables=services))
        with redis.Redis.from_url(redis_url) as client:
            client.set(HEARTBEAT_KEY, "1", ex=60)

        wait_until(
            lambda: requests.get(f"{web}/health/ready", timeout=5).status_code == 200,
            within_s=20,
            what="all parts are ready",
        )
        assert set(_parts(web).values()) == {"ready"}

        polled = {"prices": "polled", "sight": {"live": 0, "polled": 3, "dark": []}}
        with redis.Redis.from_url(redis_url) as client:
            client.delete(HEARTBEAT_KEY)
            heartbeat.beat(client, 1, {"accounts": 3, "markets": {"paper": polled}})
        answer = requests.get(f"{web}/health/ready", timeout=5)
        assert (answer.status_code, answer.json()["parts"]["stream"]) == (503, "prices polled: paper")
        assert answer.json()["stream"]["accounts"] == {"live": 0, "polled": 3, "dark": 0}


@pytest.mark.timeout(120)
def test_a_beat_that_ticks_and_sends_nothing_is_told(web: str, services: dict[str, str]) -> None:
    every, _ = IntervalSchedule.objects.get_or_create(every=2, period="seconds")
    late = timezone.now() - timedelta(seconds=60)
    PeriodicTask.objects.create(
        name="sweep", task="automations.tasks.sweep_entries", interval=every, last_run_at=late
    )
    leader = Leadership()
    assert leader.holds()
    with _running(*programs.BEAT.command, variables=services):
        wait_until(
            lambda: _parts(web)["beat"] == "beat sends nothing", what="another leads, and sends nothing"
        )
        leader.give_up()
        wait_until(lambda: _parts(web)["beat"] == "ready", what="it leads, and sends")


def test_without_its_services_the_web_lives_and_says_what_is_gone(services: dict[str, str]) -> None:
    port = free_port()
    nowhere = services | {
        "DATABASE_URL": "postgresql://a:hunter2@127.0.0.1:1/x",
        "REDIS_URL": "redis://:hunter2@127.0.0.1:1",
    }
    uvicorn = ("uvicorn", "hubdefisats.asgi:application", "--lifespan", "off", "--port", str(port))
    with _running(sys.executable, "-m", *uvicorn, variables=nowhere):
        wait_until(lambda: _serves(port), what="the web process serves")
        answer = requests.get(f"http://127.0.0.1:{port}/health/ready", timeout=5)

    assert answer.status_code == 503
    assert answer.json() == {
        "ready": False,
        "parts": {
            "database": "OperationalError",
            **dict.fromkeys(("redis", "urgent", "worker", "stream", "beat"), "ConnectionError"),
        },
    }


def test_the_front_page_leads_to_the_admin(web: str) -> None:
    page = requests.get(web, timeout=10)

    assert page.url.startswith(f"{web}/admin/login/")
    assert page.status_code == 200
    assert requests.get(f"{web}/static/unfold/css/styles.css", timeout=10).ok
