"""The stream process in a thread of a test, and what it says of itself."""

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import psycopg2
from django.db import connection

from accounts.gateway import redis_client
from accounts.models import Account
from automations.models import MarginGuard
from automations.streaming import HEARTBEAT_KEY, Streaming
from tests.waiting import wait_until


@contextmanager
def streaming() -> Iterator[Streaming]:
    """Run the stream process in a thread; it has to end by itself when told to stop."""
    stopping = threading.Event()
    process = Streaming(stopping)

    def run() -> None:
        try:
            process.run()
        finally:
            connection.close()

    thread = threading.Thread(target=run, name="streaming", daemon=True)
    thread.start()
    try:
        yield process
        assert thread.is_alive(), "it runs until it is told to stop"
    finally:
        stopping.set()
        thread.join(10)
    assert not thread.is_alive()


def heartbeat() -> dict[str, Any]:
    said = redis_client().get(HEARTBEAT_KEY)
    seen: dict[str, Any] = json.loads(said) if said else {"accounts": None, "markets": {}}
    return seen


def armed() -> int:
    """Return how many triggers are armed by a market that is live."""
    return sum(
        market["armed"] for market in heartbeat()["markets"].values() if market["state"] == "live"
    )


def wait_for(*, accounts: int, triggers: int, within_s: float = 20) -> None:
    wait_until(
        lambda: heartbeat()["accounts"] == accounts and armed() == triggers,
        within_s=within_s,
        what=f"{accounts} accounts watched, {triggers} triggers armed; last: {heartbeat()}",
    )


def guarded(account: Account) -> MarginGuard:
    guard = MarginGuard.objects.create(enabled=True, account=account, name="guard")
    guard.steps.create(threshold_percent=50, does="close_position")
    return guard


@contextmanager
def read_only_database() -> Iterator[None]:
    """Let nobody write in this test's database any more, as after a failover, but the test itself."""
    with _from_another() as (cursor, name, mine):
        cursor.execute(f'ALTER DATABASE "{name}" SET default_transaction_read_only = on')
        cursor.execute(_END_OTHERS, [name, mine])
        try:
            yield
        finally:
            cursor.execute(f'ALTER DATABASE "{name}" RESET default_transaction_read_only')
            cursor.execute(_END_OTHERS, [name, mine])


@contextmanager
def closed_database() -> Iterator[None]:
    """Let nobody in to this test's database, and end every session but the test's own."""
    with _from_another() as (cursor, name, mine):
        cursor.execute(f'ALTER DATABASE "{name}" ALLOW_CONNECTIONS false')
        cursor.execute(_END_OTHERS, [name, mine])
        try:
            yield
        finally:
            cursor.execute(f'ALTER DATABASE "{name}" ALLOW_CONNECTIONS true')


_END_OTHERS = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = %s AND pid <> %s"


@contextmanager
def _from_another() -> Iterator[tuple[Any, str, int]]:
    """Yield a cursor in another database, the name of this one, and the test's own session in it."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_backend_pid()")
        (mine,) = cursor.fetchone()
    session = psycopg2.connect(**connection.get_connection_params() | {"dbname": "postgres"})
    session.autocommit = True
    try:
        with session.cursor() as cursor:
            yield cursor, connection.settings_dict["NAME"], mine
    finally:
        session.close()
