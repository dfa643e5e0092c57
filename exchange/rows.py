"""Lists of the exchange, read row by row: one that cannot be read spoils no other, and is not gone."""

from collections.abc import Callable, Iterable, Sequence
from typing import Protocol, Self, TypeVar

from exchange.errors import OperatorNeededError, storable
from exchange.fields import Fields, kind_of, unreadable
from exchange.unreadable import Unreadable

_LONGEST_ID = 64


class _Named(Protocol):
    @property
    def id(self) -> str: ...


Item = TypeVar("Item")
Named = TypeVar("Named", bound=_Named)


class Rows(tuple[Item, ...]):
    """The rows of a list that could be read; `unreadable` are the others.

    That something is missing among the rows says nothing: whoever wants to know asks one of the
    methods, which raise OperatorNeededError where an unreadable row may be what is asked for.
    """

    unreadable: tuple[Unreadable, ...]

    def __new__(cls, read: Iterable[Item] = (), unreadable: Iterable[Unreadable] = ()) -> Self:
        rows = super().__new__(cls, read)
        rows.unreadable = tuple(unreadable)
        return rows

    def find(self: "Rows[Named]", row_id: str) -> Named | None:
        """Return the row; None where it surely does not stand in the list."""
        found = next((row for row in self if row.id == row_id), None)
        if found is None:
            self._expect_not(lambda row: row.id == row_id)
        return found

    def shows(self: "Rows[Named]", row_id: str) -> bool:
        """Whether the row stands in the list, readable or not."""
        return any(row.id == row_id for row in self.unreadable) or self.find(row_id) is not None

    def whole(self) -> Self:
        """Return the rows of a list that must have no gap."""
        self._expect_not(lambda _: True)
        return self

    def expect_all_named(self) -> None:
        """Raise where a row may be any, for it has no id."""
        self._expect_not(lambda _: False)

    def _expect_not(self, is_it: Callable[[Unreadable], bool]) -> None:
        for row in self.unreadable:
            if row.id is None or is_it(row):
                raise OperatorNeededError(row.fault)


def rows_of(
    documents: Sequence[object], item: Callable[[Fields], Item], where: str, path: str = ""
) -> Rows[Item]:
    """Return the rows that `item` makes of the objects at `path` of an answer."""
    read: list[Item] = []
    unreadable: list[Unreadable] = []
    for index, document in enumerate(documents):
        try:
            read.append(item(Fields.of(document, where, f"{path}[{index}]")))
        except OperatorNeededError as error:
            unreadable.append(_unreadable(document, str(error)))
    return Rows(read, unreadable)


def rows(document: object, item: Callable[[Fields], Item], where: str) -> Rows[Item]:
    """Return the rows of an answer that is an array.

    Raises:
        OperatorNeededError: it is none.
    """
    if not isinstance(document, list):
        raise unreadable(where, f"the answer is not an array but {kind_of(document)}")
    return rows_of(document, item, where)


def inner_rows(fields: Fields, name: str, item: Callable[[Fields], Item]) -> Rows[Item]:
    """Return the rows of an array that stands in a field.

    Raises:
        UnreadableFieldError: there is no array.
    """
    return rows_of(fields.items(name), item, fields.where, fields.named(name))


def _unreadable(document: object, fault: str) -> Unreadable:
    row_id = document.get("id") if isinstance(document, dict) else None
    if not isinstance(row_id, str) or not 0 < len(row_id) <= _LONGEST_ID:
        return Unreadable(id=None, label=None, fault=fault)
    label = document.get("clientId") if isinstance(document, dict) else None
    return Unreadable(
        id=storable(row_id), label=label if isinstance(label, str) and label else None, fault=fault
    )
