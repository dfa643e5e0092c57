"""Statements that are planned once answer as any other."""

from collections.abc import Callable
from typing import Any

import pytest
from django.db import connection, transaction

from automations.models.prepared import execute

pytestmark = pytest.mark.django_db


def asked(sql: str, values: Any, **more: str) -> list[tuple[Any, ...]]:
    with connection.cursor() as cursor:
        execute(cursor, sql, values, **more)
        rows: list[tuple[Any, ...]] = cursor.fetchall()
    return rows


def prepared() -> list[str]:
    with connection.cursor() as cursor:
        cursor.execute("SELECT statement FROM pg_prepared_statements")
        return [statement for (statement,) in cursor.fetchall()]


def test_values_are_taken_in_order() -> None:
    sql = "SELECT %s::int - %s::int AS difference"

    assert asked(sql, [7, 2]) == [(5,)]
    assert asked(sql, [2, 7]) == [(-5,)]
    assert sum("AS difference" in each for each in prepared()) == 1


def test_values_are_taken_by_their_names_as_often_as_they_are_named() -> None:
    sql = "SELECT %(one)s::int, %(two)s::int, %(one)s::int + 1"

    assert asked(sql, {"two": 2, "one": 1}) == [(1, 2, 2)]
    assert asked(sql, {"two": None, "one": 10}) == [(10, None, 11)]


def test_a_statement_may_be_sent_before_it_with_the_same_values() -> None:
    with transaction.atomic():
        found = asked(
            "SELECT current_setting('application_name'), %(name)s::text",
            {"name": "tested"},
            first="SET LOCAL application_name = %(name)s;",
        )

    assert found == [("tested", "tested")]


def gone() -> None:
    connection.close()


def rolled_back() -> None:
    with transaction.atomic():
        asked("SELECT %s::int AS again", [1])
        transaction.set_rollback(True)


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize(
    "before", [pytest.param(gone, id="new connection"), pytest.param(rolled_back, id="rollback")]
)
def test_it_is_prepared_anew_where_it_has_to_be(before: Callable[[], None]) -> None:
    asked("SELECT %s::int AS again", [1])

    before()

    assert asked("SELECT %s::int AS again", [2]) == [(2,)]
