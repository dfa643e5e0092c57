"""One holder per position, over true connections of PostgreSQL."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager

import psycopg2
import pytest
from django.db import connection

from automations.locking import position_lock
from exchange.position import PositionId
from tests.waiting import wait_until

pytestmark = pytest.mark.django_db(transaction=True)
P1, P2 = PositionId("p1"), PositionId("p2")


def obtained(position_id: PositionId) -> bool:
    """Try for the lock over a connection of one's own, as another worker would."""
    found: list[bool] = []

    def attempt() -> None:
        with position_lock(position_id) as mine:
            found.append(mine)
        connection.close()

    worker = threading.Thread(target=attempt)
    worker.start()
    worker.join(5)
    return found == [True]


@contextmanager
def another_session() -> Iterator["psycopg2.extensions.connection"]:
    parameters = connection.get_connection_params()
    session = psycopg2.connect(
        **{name: parameters[name] for name in ("dbname", "user", "host") if name in parameters}
    )
    session.autocommit = True
    try:
        yield session
    finally:
        session.close()


def end_the_session_of(holder_pid: int) -> None:
    with another_session() as session, session.cursor() as cursor:
        cursor.execute("SELECT pg_terminate_backend(%s)", [holder_pid])


def own_pid() -> int:
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_backend_pid()")
        return int(cursor.fetchone()[0])


def test_a_position_has_one_holder_at_a_time() -> None:
    with position_lock(P1) as mine:
        assert mine
        assert not obtained(P1)
        assert obtained(P2)

    assert obtained(P1)


def test_who_did_not_get_the_lock_does_not_free_it() -> None:
    with position_lock(P1):
        assert not obtained(P1)
        assert not obtained(P1)


def test_a_holder_that_fails_lets_go() -> None:
    with pytest.raises(ZeroDivisionError), position_lock(P1):
        _ = 1 / 0

    assert obtained(P1)


def test_a_holder_that_dies_lets_go_at_once() -> None:
    with position_lock(P1) as mine:
        assert mine
        end_the_session_of(own_pid())

        wait_until(lambda: obtained(P1), what="the dead holder's lock is free")

    with connection.cursor() as cursor:
        cursor.execute("SELECT 1")
        assert cursor.fetchone() == (1,), "a new connection took the place of the dead one"
