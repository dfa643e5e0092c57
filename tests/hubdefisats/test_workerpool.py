"""The worker's pool, with a real worker and tasks that take their time."""

import subprocess
import sys
from collections.abc import Iterator

import pytest
import redis

from hubdefisats.workerpool import EXIT_STATUS
from tests.waiting import wait_until

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.timeout(90)]


@pytest.fixture
def worker(services: dict[str, str]) -> Iterator[subprocess.Popen[str]]:
    command = (sys.executable, "-m", "celery", "--quiet", "-A", "tests.hubdefisats.overtime", "worker")
    variables = services | {"DJANGO_SETTINGS_MODULE": "hubdefisats.settings", "LOG_LEVEL": "INFO"}
    with subprocess.Popen(command, env=variables, stderr=subprocess.PIPE, text=True) as process:
        try:
            yield process
        finally:
            process.terminate()


def send(*seconds: float) -> None:
    from tests.hubdefisats.overtime import rest  # noqa: PLC0415 - it reads Redis's address

    for each in seconds:
        rest.apply_async((each,))


def test_a_task_beyond_its_time_is_told_with_its_place_and_then_ends_the_worker(
    worker: subprocess.Popen[str],
) -> None:
    send(60)

    _, said = worker.communicate(timeout=60)

    assert worker.returncode == EXIT_STATUS
    slow, ends = [line for line in said.splitlines() if "hubdefisats.workerpool" in line]
    assert "ERROR hubdefisats.workerpool task is slow" in slow
    assert 'at="rest:' in slow
    assert "CRITICAL hubdefisats.workerpool task would not end" in ends


def test_a_worker_that_is_asked_to_stop_ends_what_it_began_and_gives_back_the_rest(
    worker: subprocess.Popen[str], redis_url: str
) -> None:
    send(*[0.2] * 6)
    with redis.Redis.from_url(redis_url) as client:
        wait_until(lambda: client.llen("celery") < 6, what="it began")
        worker.terminate()

        _, said = worker.communicate(timeout=60)

        assert worker.returncode == 0
        assert said.count("succeeded") > 0
        assert said.count("succeeded") + client.llen("celery") == 6
    assert "hubdefisats.workerpool" not in said
