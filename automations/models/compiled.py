"""The statements of Django's ORM, built once: that takes it longer than PostgreSQL takes to answer.

For what stands between a tick and its order, and for what each order leaves behind.
"""

from collections.abc import Callable, Iterator, Sequence
from functools import cache, cached_property
from typing import Any, Final, Generic, TypeVar

from django.db import DEFAULT_DB_ALIAS, connection
from django.db.models import Model, QuerySet
from django.db.models.query import get_related_populators

from automations.models.prepared import execute, expect

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
        expect(lambda: self._built.sql)

    def __call__(self, *arguments: int | str) -> list[Row]:
        """Ask PostgreSQL; return what it finds, as the queryset would."""
        built, given = self._built, dict(zip(self._examples, arguments, strict=True))
        with connection.cursor() as cursor:
            execute(cursor, built.sql, [given.get(each, each) for each in built.parameters])
            return list(built.instances(cursor.fetchall()))

    def first(self, *arguments: int | str) -> Row | None:
        """Ask likewise; the queryset says which is the first."""
        return next(iter(self(*arguments)), None)

    @cached_property
    def _built(self) -> "_Built":
        built = _Built(self._make(*self._examples))
        if missing := [each for each in self._examples if each not in built.parameters]:
            raise TypeError(f"{missing} went into the queryset, and does not come out of it")
        return built


class _Built:
    """What Django makes of a queryset: the SQL, and how a row becomes an instance."""

    def __init__(self, queryset: QuerySet[Any, Any]) -> None:
        self._compiler: Any = queryset.query.get_compiler(DEFAULT_DB_ALIAS)
        self.sql: str
        self.parameters: tuple[Any, ...]
        self.sql, self.parameters = self._compiler.as_sql()
        klass, select = self._compiler.klass_info, self._compiler.select
        self._model: type[Model] = klass["model"]
        self._columns = slice(klass["select_fields"][0], klass["select_fields"][-1] + 1)
        self._names = [column[0].target.attname for column in select[self._columns]]
        self._converters = self._compiler.get_converters([column[0] for column in select])
        self._related: list[Any] = get_related_populators(klass, select, DEFAULT_DB_ALIAS)  # type: ignore[call-arg]  # of another version

    def instances(self, rows: list[tuple[Any, ...]]) -> Iterator[Any]:
        """Make instances as Django's own iterable does right after the query."""
        for row in self._compiler.apply_converters(rows, self._converters):
            instance = self._model.from_db(DEFAULT_DB_ALIAS, self._names, row[self._columns])
            for each in self._related:
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
