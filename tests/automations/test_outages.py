"""Which errors say that something is away: as the real PostgreSQL and the real Redis raise them."""

import logging

import psycopg2
import pytest
from django.db import DatabaseError, connection, transaction
from kombu.exceptions import OperationalError as QueueError
from pytest_django.fixtures import Settings
from redis.exceptions import RedisError

from accounts.gateway import redis_client
from accounts.models import Account, Installation
from automations.models import MarginGuard
from automations.outages import (
    DATABASE_ERRORS,
    Complaint,
    database_is_away,
    is_outage,
    redis_is_away,
)
from tests.automations.streams import read_only_database, streaming, wait_for
from tests.waiting import wait_until


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize(
    ("state", "away"),
    [
        pytest.param("08006", True, id="connection failure"),
        pytest.param("25006", True, id="read only, as after a failover"),
        pytest.param("26000", True, id="a prepared statement that is gone"),
        pytest.param("40P01", True, id="deadlock"),
        pytest.param("42501", True, id="no right any more"),
        pytest.param("53100", True, id="disk full"),
        pytest.param("53300", True, id="too many connections"),
        pytest.param("55P03", True, id="lock not free"),
        pytest.param("57014", True, id="out of time"),
        pytest.param("57P02", True, id="crash of another backend"),
        pytest.param("57P03", True, id="cannot connect now"),
        pytest.param("58030", True, id="I/O error"),
        pytest.param("XX000", True, id="a fault of its own"),
        pytest.param("22003", False, id="number out of range"),
        pytest.param("23505", False, id="not unique"),
        pytest.param("23514", False, id="a constraint"),
        pytest.param("42601", False, id="no SQL"),
        pytest.param("42P01", False, id="no such table"),
        pytest.param("P0001", False, id="raised by a trigger of ours"),
    ],
)
def test_what_the_server_says_is_known_by_its_state(state: str, *, away: bool) -> None:
    with pytest.raises(DATABASE_ERRORS) as raised, connection.cursor() as cursor:
        cursor.execute(f"DO $$ BEGIN RAISE 'for the test' USING ERRCODE = '{state}'; END $$")

    assert database_is_away(raised.value) is away
    assert is_outage(raised.value) is away
    assert database_is_away(raised.value.__cause__ or raised.value) is away, "the driver's own"


@pytest.mark.django_db(transaction=True)
def test_a_connection_that_is_closed_is_away() -> None:
    connection.ensure_connection()
    connection.connection.close()
    try:
        with pytest.raises(DATABASE_ERRORS) as raised, connection.cursor() as cursor:
            cursor.execute("SELECT 1")
    finally:
        connection.close()

    assert database_is_away(raised.value)


@pytest.mark.django_db(transaction=True)
def test_a_transaction_that_lost_its_connection_is_away() -> None:
    def lose_it() -> None:
        with transaction.atomic():
            connection.close()
            Installation.current()

    with pytest.raises(DATABASE_ERRORS) as raised:
        lose_it()

    assert database_is_away(raised.value)


@pytest.mark.django_db(transaction=True)
def test_a_plan_that_a_migration_made_old_is_away() -> None:
    with connection.cursor() as cursor:
        cursor.execute("CREATE TEMPORARY TABLE t (a int)")
        cursor.execute("PREPARE p AS SELECT * FROM t")
        cursor.execute("ALTER TABLE t ADD COLUMN b int")
        with pytest.raises(DATABASE_ERRORS) as raised:
            cursor.execute("EXECUTE p")
    connection.close()

    assert database_is_away(raised.value)


@pytest.mark.django_db(transaction=True)
def test_a_row_that_is_gone_says_nothing_about_the_database() -> None:
    gone = Account(pk=1, name="gone")
    with pytest.raises(DatabaseError) as raised:
        gone.save(update_fields=["name"])

    assert not database_is_away(raised.value)


def test_an_answer_that_broke_off_has_no_state_and_is_away() -> None:
    assert database_is_away(psycopg2.DatabaseError("server closed the connection unexpectedly"))
    assert not database_is_away(psycopg2.ProgrammingError("can't adapt type 'set'"))
    assert not database_is_away(ValueError("x"))


@pytest.mark.parametrize(
    ("said", "away"),
    [
        pytest.param("LOADING Redis is loading the dataset in memory", True),
        pytest.param("READONLY You can't write against a read only replica.", True),
        pytest.param("OOM command not allowed when used memory > 'maxmemory'.", True),
        pytest.param("NOAUTH Authentication required.", True),
        pytest.param("WRONGPASS invalid username-password pair", True),
        pytest.param("NOPERM this user has no permissions", True),
        pytest.param("MASTERDOWN Link with MASTER is down", True),
        pytest.param("MISCONF Redis is configured to save RDB snapshots", True),
        pytest.param("BUSY Redis is busy running a script", True),
        pytest.param("CLUSTERDOWN The cluster is down", True),
        pytest.param("MOVED 3999 127.0.0.1:6381", True),
        pytest.param("TRYAGAIN Multiple keys request during rehashing", True),
        pytest.param("EXECABORT Transaction discarded", True),
        pytest.param("NOREPLICAS Not enough good replicas to write", True),
        pytest.param("UNBLOCKED force unblock from blocking operation", True),
        pytest.param("ERR max number of clients reached", True),
        pytest.param("ERR Error running script: @user_script: 8: -OOM command not allowed", True),
        pytest.param("WRONGTYPE Operation against a key holding the wrong kind of value", False),
        pytest.param("ERR unknown command", False),
        pytest.param("ERR value is not an integer or out of range", False),
    ],
)
def test_what_redis_says_is_known_by_its_code(
    redis_url: str,  # noqa: ARG001 - its database is this test's
    said: str,
    *,
    away: bool,
) -> None:
    with pytest.raises(RedisError) as raised:
        redis_client().eval("return redis.error_reply(ARGV[1])", 0, said)

    assert redis_is_away(raised.value) is away
    assert is_outage(raised.value) is away


@pytest.mark.parametrize(
    ("error", "away"),
    [
        pytest.param(QueueError("no broker"), True),
        pytest.param(ConnectionResetError(), True),
        pytest.param(TimeoutError(), True),
        pytest.param(KeyError("x"), False),
        pytest.param(ValueError("x"), False),
    ],
)
def test_so_are_other_libraries_errors(error: Exception, *, away: bool) -> None:
    assert is_outage(error) is away


def test_an_outage_is_told_once_a_second_and_its_end_once(caplog: pytest.LogCaptureFixture) -> None:
    now_s = [100.0]
    complaint = Complaint(logging.getLogger("test"), "nothing is sent", clock=lambda: now_s[0])

    for _ in range(30):
        complaint.utter(QueueError("no\nbroker"))
        now_s[0] += 0.1
    complaint.end()
    complaint.end()

    said = [(record.getMessage(), getattr(record, "why", "")) for record in caplog.records]
    assert said == [("nothing is sent", "no broker")] * 3 + [("nothing is sent: over", "")]


@pytest.mark.django_db(transaction=True)
@pytest.mark.usefixtures("guard", "long")
def test_a_database_that_takes_no_writes_ends_no_process(
    settings: Settings, caplog: pytest.LogCaptureFixture
) -> None:
    settings.STREAM_LEASE_S = 100
    with streaming():
        wait_for(accounts=1, triggers=1)

        with read_only_database():
            wait_until(lambda: "read-only transaction" in reasons(caplog), what="it is noticed")
            wait_for(accounts=1, triggers=1)

        MarginGuard.objects.update(enabled=False)
        wait_for(accounts=0, triggers=0)


def reasons(caplog: pytest.LogCaptureFixture) -> str:
    return " ".join(str(getattr(record, "why", "")) for record in caplog.records)
