"""Lists that come in pages: walked from the newest on, each item once (API notes, 3.2)."""

from collections.abc import Callable, Hashable
from dataclasses import dataclass
from datetime import datetime
from typing import Final, Generic, TypeVar

from exchange.fields import Fields, iso_text
from exchange.rows import Rows, inner_rows
from exchange.unreadable import Unreadable

Item = TypeVar("Item")

LARGEST_PAGE: Final = 1000


@dataclass(frozen=True, slots=True)
class Page(Generic[Item]):
    items: Rows[Item]
    next_cursor: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Span:
    """Which part of a list is wanted: aware times, both optional, and how many items at most."""

    since: datetime | None = None
    until: datetime | None = None
    most: int = LARGEST_PAGE

    def query(self) -> dict[str, str]:
        query = {"from": self.since, "to": self.until}
        return {name: iso_text(moment) for name, moment in query.items() if moment is not None}


LATEST: Final = Span()
"""The newest page."""


def page_of(item: Callable[[Fields], Item]) -> Callable[[object, str], Page[Item]]:
    """Return the reader of one page of such items."""

    def read(document: object, where: str) -> Page[Item]:
        fields = Fields.of(document, where)
        return Page(inner_rows(fields, "data", item), fields.text_or_none("nextCursor"))

    return read


def collect(
    ask: Callable[[dict[str, str]], Page[Item]], span: Span, *, key: Callable[[Item], Hashable]
) -> Rows[Item]:
    """Return the items of `span`, newest first; `key` tells one that came on two pages.

    Also those that cannot be read. Ends with the last page, with `span.most` items, or with a page that
    brings nothing new.
    """
    found: dict[Hashable, Item] = {}
    unreadable: dict[str, Unreadable] = {}
    query = span.query()
    while len(found) < span.most:
        query["limit"] = str(min(LARGEST_PAGE, span.most - len(found)))
        page = ask(query)
        before = len(found) + len(unreadable)
        for item in page.items:
            found.setdefault(key(item), item)
        for row in page.items.unreadable:
            unreadable.setdefault(row.id or row.fault, row)
        if page.next_cursor is None or len(found) + len(unreadable) == before:
            break
        query["cursor"] = page.next_cursor
    return Rows(list(found.values())[: span.most], unreadable.values())
