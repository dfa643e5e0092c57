"""Redis in each of its bad states: programs go on, say so in few lines, and come back by themselves."""

import signal
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any, Final

import pytest
import redis
from django_celery_beat.models import IntervalSchedule, PeriodicTask
from psutil import Process

from hubdefisats import embedded
from tests.flows.processes import BEAT, STREAM, WORKER, Paper, program
from tests.waiting import wait_until

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.timeout(120)]


class Server:
    """A Redis that is this test's alone."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.client = redis.Redis.from_url(url, socket_timeout=5)
        self.process = Process(self.client.info("server")["process_id"])


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    with embedded.redis_server(tmp_path, "pw") as url:
        yield Server(url)
