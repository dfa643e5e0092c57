"""The journal in files: what a line holds, and what counts as safely written down there."""

import csv
import hashlib
import io
import json
import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from pathlib import Path
from typing import Any, Final

from django.db.models import QuerySet

from automations.models import JournalChain, JournalEntry

_AT_ONCE: Final = 2000
_COLUMNS: Final = (
    "id", "timestamp", "event", "accountId", "automationId", "executionId", "positionId", "type",
    "message", "data", "sealed", "previousHash", "hash",
)  # fmt: skip
_STARTS_A_FORMULA: Final = frozenset("=+-@\uff1d\uff0b\uff0d\uff20'")
"""What a spreadsheet takes for a formula, wide forms too; and the mark that says it is none."""


class Format(StrEnum):
    CSV = "csv"
    JSONL = "jsonl"


@dataclass(frozen=True, slots=True, kw_only=True)
class Scope:
    """Which entries: of one account or all, from `since` on, before `until`.

    Raises:
        ValueError: nothing can lie between the two.
    """

    account_id: int | None = None
    since: datetime | None = None
    until: datetime | None = None

    def __post_init__(self) -> None:
        if self.since and self.until and self.since >= self.until:
            raise ValueError("the period must begin before it ends")

    def entries(self) -> QuerySet[JournalEntry]:
        found = JournalEntry.objects.all()
        if self.account_id is not None:
            found = found.filter(account_id=self.account_id)
        if self.since is not None:
            found = found.filter(timestamp__gte=self.since)
        return found if self.until is None else found.filter(timestamp__lt=self.until)

    def first_left_out(self, later: QuerySet[JournalEntry]) -> JournalEntry | None:
        """Return the first of an account's entries that is not of the period."""
        left_out = later.none()
        if self.since is not None:
            left_out |= later.filter(timestamp__lt=self.since)
        if self.until is not None:
            left_out |= later.filter(timestamp__gte=self.until)
        return left_out.order_by("id").first()


@dataclass(frozen=True, slots=True, kw_only=True)
class Exported:
    """A file that is on the disk."""

    entries: int
    sha256: str


def lines(entries: Iterable[JournalEntry], form: Format) -> Iterator[str]:
    """Yield the entries as lines; the same entries are the same bytes, every time.

    A line holds all that its hash was made of, so that a chain can be verified from files alone.
    """
    match form:
        case Format.CSV:
            yield from _csv(entries)
        case Format.JSONL:
            for entry in entries:
                yield f"{json.dumps(_fields(entry))}\n"


def in_order(entries: QuerySet[JournalEntry]) -> Iterator[JournalEntry]:
    """Yield account by account, each in the order of its chain, all as they stand at this moment."""
    return entries.order_by("account_id", "id").iterator(_AT_ONCE)


def export(scope: Scope, form: Format, path: Path) -> Exported:
    """Write a new file and, once the disk has it, remember what need not be kept here any more.

    Raises:
        OSError: it could not be written, or the name is taken: the older file may hold what was
            pruned since.
    """
    newest: dict[int, int] = {}
    count = 0

    def seen() -> Iterator[JournalEntry]:
        nonlocal count
        for entry in in_order(scope.entries()):
            newest[entry.account_id] = entry.pk
            count += 1
            yield entry

    sha256 = _write(path, lines(seen(), form))
    for account_id, last_id in newest.items():
        _remember(account_id, last_id, scope)
    return Exported(entries=count, sha256=sha256)


def _write(path: Path, text: Iterable[str]) -> str:
    """Write all of it to the disk or leave no file; return the SHA-256 of its bytes."""
    digest = hashlib.sha256()
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
        try:
            for line in text:
                digest.update(line.encode())
                file.write(line.encode())
            file.flush()
            os.fsync(file.fileno())
        except BaseException:
            path.unlink()
            raise
    return digest.hexdigest()


def _remember(account_id: int, last_id: int, scope: Scope) -> None:
    """Move the mark up to which everything is in a file; an entry that was left out stops it."""
    chain = JournalChain.objects.get(pk=account_id)
    later = JournalEntry.objects.filter(account_id=account_id, pk__gt=chain.exported_id)
    left_out = scope.first_left_out(later)
    mark = last_id if left_out is None else min(last_id, left_out.pk - 1)
    # By condition, for another export may have gone further meanwhile.
    JournalChain.objects.filter(pk=account_id, exported_id__lt=mark).update(exported_id=mark)


def _fields(entry: JournalEntry) -> dict[str, Any]:
    shown = entry.as_json()
    fields = shown | {
        "id": entry.pk,
        "event": entry.event,
        "accountId": entry.account_id,
        "executionId": entry.execution_id,
        "positionId": entry.position_id,
        "data": _in_order(shown["data"]),
        # As the hash was made of it: decimals are texts, and the type is the kind's.
        "sealed": _in_order({"type": entry.type, "data": entry.data}),
        "previousHash": entry.previous_hash,
        "hash": entry.hash,
    }
    return {column: fields[column] for column in _COLUMNS}


def _in_order(data: dict[str, Any]) -> Any:
    """Return the same with sorted keys; the database has an order of its own."""
    return json.loads(json.dumps(data, sort_keys=True))


def _csv(entries: Iterable[JournalEntry]) -> Iterator[str]:
    row = io.StringIO()
    writer = csv.writer(row, lineterminator="\n")

    def taken(cells: Iterable[object]) -> str:
        writer.writerow(cells)
        text = row.getvalue()
        row.seek(0)
        row.truncate()
        return text

    yield taken(_COLUMNS)
    for entry in entries:
        fields = _fields(entry)
        fields |= {name: json.dumps(fields[name]) for name in ("data", "sealed")}
        yield taken(_harmless(cell) for cell in fields.values())


def _harmless(cell: object) -> object:
    """Put `'` before what a spreadsheet would compute, and before what starts so: it can be undone."""
    if isinstance(cell, str) and cell.lstrip()[:1] in _STARTS_A_FORMULA:
        return f"'{cell}"
    return cell
