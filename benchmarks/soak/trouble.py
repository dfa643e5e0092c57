"""Everything that goes wrong in a soak, for real: each kind breaks something, and mends it later."""

import os
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from typing import Any, Final, TypeVar

import psutil
import psycopg2
import redis as redis_client
import requests

from benchmarks.proxy import Proxy, Way
from hubdefisats.stack.assembly import Stack

KILLED: Final = ("web", "flower", "urgent-1", "urgent-2", "worker", "beat", "stream")
_STATUSES: Final = (400, 401, 403, 429, 500, 502, 503, 504)
_PUSHES: Final = (
    "missing", "late", "duplicate", "out_of_order", "garbage", "null_price", "spike", "future",
    "frozen",
)  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class Ground:
    """What there is to break."""

    stack: Stack
    folder: Path
    control: str
    proxy: Proxy
    redis_url: str
    database_url: str
    keys: tuple[str, ...]
    draws: Random = field(repr=False)

    def pid(self, name: str) -> int:
        """Return the process of a part.

        Raises:
            LookupError: it does not run now.
        """
        if name == "postgres":
            return _first_number(self.folder / "postgres" / "postmaster.pid")
        if name == "redis":
            with redis_client.Redis.from_url(self.redis_url, socket_timeout=2) as client:
                return int(client.info("server")["process_id"])
        return self.stack.supervisor.pids()[name]

    def order(self, **fault: Any) -> None:
        requests.post(f"{self.control}/faults", json=fault, timeout=10).raise_for_status()

    def end_orders(self) -> None:
        requests.delete(f"{self.control}/faults", timeout=10).raise_for_status()


Found = TypeVar("Found")
Fault = Callable[[Ground], None]
"""Returns when what was broken is left to mend itself."""


def kinds() -> dict[str, Fault]:
    """Return what may go wrong, by name."""
    found: dict[str, Fault] = {f"kill {name}": _kills(name) for name in (*KILLED, "postgres", "redis")}
    found |= {f"freeze {name}": _freezes(name) for name in KILLED}
    found |= {
        "kill both urgent": _kills("urgent-1", "urgent-2"),
        "terminate a worker": _terminates,
        "freeze redis": _freezes("redis"),
        "flush redis": _flush_redis,
        "fill redis": _fill_redis,
        "freeze postgres": _freezes("postgres"),
        "crash a postgres backend": _crash_backend,
        "end every postgres session": _end_sessions,
        "double all messages": _double_messages,
        "refuse connections": lambda ground: _on_the_way(ground, refuses=True),
        "reset connections": lambda ground: ground.proxy.cut_all(),
    }
    found |= {f"{way} requests": _way("asks", way) for way in _BAD}
    found |= {f"{way} answers": _way("answers", way) for way in _BAD}
    found |= {f"status {status}": _fails(kind="status", status=status) for status in _STATUSES}
    found |= {kind.replace("_", " "): _fails(kind=kind) for kind in ("drop", "lost_answer")}
    found |= {kind.replace("_", " "): _fails(kind=kind, ms=800) for kind in ("delay", "late_answer")}
    found |= {f"pushes {kind.replace('_', ' ')}": _pushes(kind) for kind in _PUSHES}
    found |= {f"streams {kind.replace('_', ' ')}": _cuts(kind) for kind in ("cut", "half_open")}
    return found


_BAD: Final = (Way.DELAY, Way.HALVE, Way.RESET, Way.STALL)


def _kills(*names: str) -> Fault:
    def kill(ground: Ground) -> None:
        for pid in [ground.pid(name) for name in names]:
            os.kill(pid, signal.SIGKILL)

    return kill


def _freezes(name: str) -> Fault:
    """Stop it, with all that it started, for 3 to 9 s: it neither answers nor closes anything."""

    def freeze(ground: Ground) -> None:
        process = psutil.Process(ground.pid(name))
        family = [process, *process.children(recursive=True)]
        with _each(family, "suspend", "resume"):
            _pause(ground, 3, 9)

    return freeze


@contextmanager
def _each(family: list[psutil.Process], before: str, after: str) -> Iterator[None]:
    for does in (before, after):
        for process in family:
            with suppress(psutil.Error):
                getattr(process, does)()
        if does == before:
            yield


def _terminates(ground: Ground) -> None:
    """Ask a worker to end in the midst of its work, as when a new version is installed."""
    os.kill(ground.pid(ground.draws.choice(["urgent-1", "urgent-2", "worker"])), signal.SIGTERM)


def _flush_redis(ground: Ground) -> None:
    with redis_client.Redis.from_url(ground.redis_url) as client:
        client.flushall()


def _fill_redis(ground: Ground) -> None:
    """Let it refuse all that needs memory."""
    with redis_client.Redis.from_url(ground.redis_url) as client:
        client.config_set("maxmemory", "1mb")
        try:
            _pause(ground, 3, 8)
        finally:
            client.config_set("maxmemory", "0")


def _crash_backend(ground: Ground) -> None:
    """Kill one backend: PostgreSQL then ends all others, and recovers."""
    backends = psutil.Process(ground.pid("postgres")).children()
    chosen = [each for each in backends if "hubdefisats" in " ".join(each.cmdline())]
    if chosen:
        ground.draws.choice(chosen).kill()


def _end_sessions(ground: Ground) -> None:
    connection = psycopg2.connect(ground.database_url)
    connection.autocommit = True
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
            " WHERE datname = current_database() AND pid <> pg_backend_pid()"
        )
    connection.close()


def anew(ask: Callable[[], Found]) -> Found:
    """Ask the database on a connection of its own: the one before may be gone."""
    from django.db import connection  # noqa: PLC0415 - Django is ready only now

    connection.close()
    return ask()


def _double_messages(ground: Ground) -> None:
    """Put a copy of each waiting message behind it, and four looks at everything besides."""
    from automations import tasks  # noqa: PLC0415 - Django is ready only now
    from automations.models import KnownPosition, MarginGuard  # noqa: PLC0415

    with redis_client.Redis.from_url(ground.redis_url) as client:
        for queue in ("urgent", "automation-execute"):
            for raw in client.lrange(queue, 0, -1):
                client.lpush(queue, raw)
    known = anew(lambda: list(KnownPosition.objects.values_list("account_id", "position_id")))
    guards = dict(MarginGuard.objects.values_list("account_id", "pk"))
    for account_id, position_id in ground.draws.sample(known, min(10, len(known))):
        if account_id in guards:
            for _ in range(4):
                tasks.send(guards[account_id], position_id, urgent=True)


def _way(direction: str, way: Way) -> Fault:
    return lambda ground: _on_the_way(ground, **{direction: way})


def _on_the_way(ground: Ground, **conduct: Any) -> None:
    ground.proxy.behave(**conduct)
    try:
        _pause(ground, 1, 6)
    finally:
        ground.proxy.behave()


def _fails(**fault: Any) -> Fault:
    """Let the exchange fail so with half of the requests, of one account or of all."""

    def fail(ground: Ground) -> None:
        whose = {"account": ground.draws.choice(ground.keys)} if ground.draws.random() < 0.3 else {}
        seed = ground.draws.randrange(1_000)
        ground.order(**fault, **whose, probability=0.5, seed=seed)
        _then_end_orders(ground)

    return fail


def _pushes(kind: str) -> Fault:
    def push(ground: Ground) -> None:
        ground.order(kind=kind, **({} if kind == "frozen" else {"next": ground.draws.randint(1, 10)}))
        _then_end_orders(ground)

    return push


def _cuts(kind: str) -> Fault:
    return lambda ground: ground.order(kind=kind)


def _then_end_orders(ground: Ground) -> None:
    try:
        _pause(ground, 1, 6)
    finally:
        ground.end_orders()


def _pause(ground: Ground, least_s: float, most_s: float) -> None:
    time.sleep(ground.draws.uniform(least_s, most_s))


def _first_number(file: Path) -> int:
    try:
        return int(file.read_text().split()[0])
    except (OSError, ValueError, IndexError) as error:
        raise LookupError(f"{file.name} names no process") from error
