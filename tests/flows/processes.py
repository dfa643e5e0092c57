"""The project's own programs as processes of a test, ended with it."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any, Final

import requests
from django.conf import settings
from django.db import connection

from exchange.auth import Credentials
from exchange.config import Endpoints

ROOT: Final = Path(__file__).parents[2]
CELERY: Final = (sys.executable, "-m", "celery", "--quiet", "-A", "hubdefisats")
WORKER: Final = (*CELERY, "worker", "--concurrency", "2")
BEAT: Final = (*CELERY, "beat", "--pidfile=", "--max-interval=1")
STREAM: Final = (sys.executable, "manage.py", "stream")


class Paper:
    """A paper exchange process, told and asked over its control port."""

    def __init__(self, announced: Mapping[str, Any]) -> None:
        self.api_url = str(announced["rest"]).removesuffix("/v3")
        self.stream_url = str(announced["stream"]).removesuffix("/v1")
        self._control = announced["control"]
        self._accounts = announced["accounts"]

    def credentials(self, number: int) -> Credentials:
        account = self._accounts[number]
        return Credentials(**{name: account[name] for name in ("key", "secret", "passphrase")})

    def set_price(self, price: int) -> None:
        requests.post(f"{self._control}/price", json={"price": price}, timeout=5).raise_for_status()

    def push(self, topic: str, value: int) -> None:
        """Push one frame with a wrong value; the market itself does not move."""
        wrong = {"topic": topic, "value": value}
        requests.post(f"{self._control}/push", json=wrong, timeout=5).raise_for_status()

    def writes(self) -> int:
        """Return how many writes came, whatever became of them."""
        return len(requests.get(f"{self._control}/ledger", timeout=5).json()["writes"])

    def fault(self, **fields: Any) -> None:
        requests.post(f"{self._control}/faults", json=fields, timeout=5).raise_for_status()

    def effects(self, path: str) -> list[dict[str, Any]]:
        """Return the writes that truly changed something."""
        writes = requests.get(f"{self._control}/ledger", timeout=5).json()["writes"]
        return [write for write in writes if write["path"] == path and write["applied"]]


@contextmanager
def paper_exchange() -> Iterator[Paper]:
    """Run one whose price moves only when told, with the exchange's own limits."""
    command = (sys.executable, "-m", "exchange.simulator", "--port", "0", "--control-port", "0")
    with _started((*command, "--prices", "manual"), {}, stdout=subprocess.PIPE) as process:
        assert process.stdout
        yield Paper(json.loads(process.stdout.readline()))


@contextmanager
def program(
    *command: str, paper: Paper | Endpoints, log: IO[str] | None = None, **changes: str
) -> Iterator[subprocess.Popen[str]]:
    """Run one program of the stack on this test's database, Redis and paper exchange.

    Its standard error goes to `log`, or to the test's own; `changes` are further variables.
    """
    database = connection.settings_dict
    variables = {
        "DATABASE_URL": f"postgresql://{database['USER']}@/{database['NAME']}?host={database['HOST']}",
        "REDIS_URL": settings.REDIS_URL,
        "LN_MARKETS_NETWORK": "paper",
        "LN_MARKETS_API_URL": paper.api_url,
        "LN_MARKETS_STREAM_URL": paper.stream_url,
    }
    with _started(command, variables | changes, stderr=log) as process:
        yield process


@contextmanager
def _started(
    command: tuple[str, ...],
    variables: dict[str, str],
    *,
    stdout: int | None = None,
    stderr: IO[str] | None = None,
) -> Iterator[subprocess.Popen[str]]:
    # A session of its own: what the program starts in turn ends with it, whatever happens.
    with subprocess.Popen(
        command,
        env=os.environ | variables,
        cwd=ROOT,
        stdout=stdout,
        stderr=stderr,
        text=True,
        start_new_session=True,
    ) as process:
        try:
            yield process
            assert process.poll() in {None, -signal.SIGKILL}, f"{command} ended before its time"
        finally:
            process.terminate()
            try:
                process.wait(15)
            except subprocess.TimeoutExpired:
                os.killpg(process.pid, signal.SIGKILL)
                raise
