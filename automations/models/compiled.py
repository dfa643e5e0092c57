"""The statements of Django's ORM, built once: that takes it longer than PostgreSQL takes to answer.

For what stands between a tick and its order, and for what each order leaves behind.
"""

from collections.abc import Callable, Iterator, Sequence
from functools import cache, cached_property
from typing import Any, Final, Generic, TypeVar

from django.db import DEFAULT_DB_ALIAS, connection
from django.db.models import Model, QuerySet
from django.db.models.query import get_related_populators
from django.db.models.sql.compiler import SQLCompiler

from automations.models.prepared import execute

Row = TypeVar("Row", bound=Model)

_EXAMPLES: Final[dict[type, tuple[Any, ...]]] = {
    int: (2**31 - 1, 2**31 - 2),
    str: ("the first", "the second"),
}
"""By these an argument is found again among the SQL's parameters; no queryset has them of its own."""


class Compiled(Generic[Row]):
    """A queryset with room for arguments.

    Args:
        make: returns the queryset for its arguments, each of which must come into it as it is given.
        types: of the arguments.
    """

    def __init__(self, make: Callable[..., QuerySet[Any, Any]], *types: type[int] | type[str]) -> None:
        self._make = make
        self._examples = [
            _EXAMPLES[each][types[:number].count(each)] for number, each in enumerate(types)
        ]

    def __call__(self, *arguments: int | str) -> list[Row]:
        """Ask PostgreSQL; return what it finds, as the queryset would."""
        sql, parameters, compiler = self._built
        given = dict(zip(self._examples, arguments, strict=True))
        with connection.cursor() as cursor:
            execute(cursor, sql, [given.get(each, each) for each in parameters])
            rows = cursor.fetchall()
        return list(_instances(compiler, rows)) if rows else []

    def first(self, *arguments: int | str) -> Row | None:
        """Ask likewise; the queryset says which is the first."""
        return next(iter(self(*arguments)), None)

    @cached_property
    def _built(self) -> tuple[str, tuple[Any, ...], SQLCompiler]:
        compiler = self._make(*self._examples).query.get_compiler(DEFAULT_DB_ALIAS)
        sql, parameters = compiler.as_sql()
        if missing := [each for each in self._examples if each not in parameters]:
            raise TypeError(f"{missing} went into the queryset, and does not come out of it")
        return sql, parameters, compiler


def _instances(compiler: SQLCompiler, rows: list[tuple[Any, ...]]) -> Iterator[Any]:
    """Make the instances of the rows, as Django's own iterable does right after the query."""
    klass, select = compiler.klass_info, compiler.select
    columns = klass["select_fields"]
    names = [select[column][0].target.attname for column in columns]
    related = get_related_populators(klass, select, DEFAULT_DB_ALIAS)  # type: ignore[call-arg]
    for row in compiler.results_iter([rows]):  # type: ignore[list-item]  # types of another version
        instance = klass["model"].from_db(DEFAULT_DB_ALIAS, names, row[columns[0] : columns[-1] + 1])
        for each in related:
            each.populate(row, instance)
        yield instance


def insert(rows: Sequence[Model]) -> None:
    """Write new rows of one model, of one table; give them their keys. No signal is sent."""
    fields = _inserted(type(rows[0]))
    with connection.cursor() as cursor:
        values = [_value(field, row, new=True) for row in rows for field in fields]
        execute(cursor, _insert_sql(type(rows[0]), len(rows)), values)
        keys = cursor.fetchall()
    for row, (key,) in zip(rows, keys, strict=True):
        row.pk = key
        row._state.adding, row._state.db = False, DEFAULT_DB_ALIAS  # noqa: SLF001 - documented


def update(row: Model, *names: str) -> None:
    """Write these fields of a row that is there. No signal is sent."""
    fields = _named(type(row), names)
    with connection.cursor() as cursor:
        values = [_value(field, row, new=False) for field in fields]
        execute(cursor, _update_sql(type(row), names), [*values, row.pk])


def _value(field: Any, row: Model, *, new: bool) -> Any:
    return field.get_db_prep_save(field.pre_save(row, new), connection)


def _named(model: type[Model], names: tuple[str, ...]) -> list[Any]:
    return [model._meta.get_field(name) for name in names]  # noqa: SLF001 - documented


@cache
def _inserted(model: type[Model]) -> list[Any]:
    """Return the fields whose value is not the database's to make."""
    fields = model._meta.local_concrete_fields  # noqa: SLF001 - documented
    return [field for field in fields if not field.primary_key or field.remote_field]


@cache
def _insert_sql(model: type[Model], count: int) -> str:
    columns = [f'"{field.column}"' for field in _inserted(model)]
    row = f"({', '.join(['%s'] * len(columns))})"
    return (
        f'INSERT INTO "{model._meta.db_table}" ({", ".join(columns)})'  # noqa: S608, SLF001 - our names
        f' VALUES {", ".join([row] * count)} RETURNING "{_key(model)}"'
    )


@cache
def _update_sql(model: type[Model], names: tuple[str, ...]) -> str:
    changes = ", ".join(f'"{field.column}" = %s' for field in _named(model, names))
    table = model._meta.db_table  # noqa: SLF001 - documented
    return f'UPDATE "{table}" SET {changes} WHERE "{_key(model)}" = %s'  # noqa: S608 - our names


def _key(model: type[Model]) -> str:
    key: Any = model._meta.pk  # noqa: SLF001 - documented
    column: str = key.column
    return column
