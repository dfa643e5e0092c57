"""Redis in its bad states: programs go on, say so in few lines, and come back by themselves."""

import re
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from subprocess import Popen
from typing import Final

import pytest
import redis
import requests
from django_celery_beat.models import IntervalSchedule, PeriodicTask
from psutil import Process

from hubdefisats import embedded
from tests.flows.processes import BEAT, WORKER, Paper, program
from tests.waiting import wait_until

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.timeout(120)]

AWAY_S: Final = 2.0
_FIRST: Final = 3
"""Lines about the beginning and the end of an outage, beside those that it repeats."""


class Server:
    """A Redis of this test alone, and its bad states: a call begins one, its answer ends it."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.client = redis.Redis.from_url(url, socket_timeout=5)
        self.process = Process(self.client.info("server")["process_id"])

    def without_memory(self) -> Callable[[], object]:
        self.client.config_set("maxmemory", 1)
        return lambda: self.client.config_set("maxmemory", 0)

    def read_only(self) -> Callable[[], object]:
        """As after a failover that left us with the replica; its master does not answer either."""
        self.client.replicaof("127.0.0.1", 1)
        return lambda: self.client.replicaof("NO", "ONE")

    def closed_to_us(self) -> Callable[[], object]:
        self.client.config_set("requirepass", "another")
        for kind in ("normal", "pubsub"):
            self.client.client_kill_filter(_type=kind, skipme=True)
        return lambda: self.client.config_set("requirepass", "pw")

    def frozen(self) -> Callable[[], object]:
        self.process.suspend()
        resume: Callable[[], object] = self.process.resume
        return resume


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    with embedded.redis_server(tmp_path, "pw") as url:
        yield Server(url)


@pytest.fixture
def task() -> PeriodicTask:
    PeriodicTask.objects.all().delete()
    every, _ = IntervalSchedule.objects.get_or_create(every=1, period="seconds")
    return PeriodicTask.objects.create(
        name="sweep", task="automations.tasks.sweep_entries", interval=every
    )


def done(log: Path) -> int:
    return log.read_text().count("succeeded in")


def goes_on(log: Path) -> None:
    before = done(log)
    wait_until(lambda: done(log) >= before + 2, within_s=30, what="tasks are sent and done again")


@pytest.mark.usefixtures("task")
def test_no_state_of_redis_ends_a_program_or_floods_its_log(server: Server, tmp_path: Path) -> None:
    nowhere = {"rest": "http://127.0.0.1:1/v3", "stream": "ws://127.0.0.1:1/v1"}
    paper = Paper({**nowhere, "control": None, "accounts": []})
    port = embedded.free_port()
    web = ("uvicorn", "hubdefisats.asgi:application", "--lifespan", "off", "--port", str(port))
    alone = ("--without-gossip", "--without-mingle")
    commands = {"beat": BEAT, "worker": (*WORKER, *alone), "web": (sys.executable, "-m", *web)}
    logs = {name: tmp_path / name for name in commands}
    running: dict[str, Popen[str]] = {}
    with ExitStack() as parts:
        for name, command in commands.items():
            said_to = parts.enter_context(logs[name].open("w"))
            running[name] = parts.enter_context(
                program(
                    *command, paper=paper, log=said_to, REDIS_URL=server.url, REDIS_PATIENCE_MS="250"
                )
            )
        wait_until(lambda: done(logs["worker"]), within_s=40, what="a task is sent and done")
        for begin in (server.without_memory, server.read_only, server.closed_to_us, server.frozen):
            said = {name: log.stat().st_size for name, log in logs.items()}
            end = begin()
            away_until = time.monotonic() + AWAY_S
            ready = requests.get(f"http://127.0.0.1:{port}/health/ready", timeout=20)
            time.sleep(max(0.0, away_until - time.monotonic()))
            away_s = AWAY_S + time.monotonic() - away_until
            for name, log in logs.items():
                lines = [
                    line
                    for line in log.read_text()[said[name] :].splitlines()
                    if not re.search(" (succeeded in|received|sending) ?", line)
                ]
                assert len(lines) <= away_s + _FIRST, (begin.__name__, name, lines)
                assert running[name].poll() is None, (begin.__name__, name)
            assert ready.status_code == 503, (begin.__name__, ready.text)
            end()
            goes_on(logs["worker"])
    assert "Traceback" not in "".join(log.read_text() for log in logs.values())
