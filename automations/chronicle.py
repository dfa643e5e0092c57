"""The journal as a whole: whether its chains are intact, and cutting what is safe in files."""

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from typing import Final

from django.db import connection, transaction
from django.db.models import QuerySet

from accounts.models import Account
from automations import journal
from automations.models import JournalChain, JournalEntry

PRUNED: Final = "journal_pruned"
_AT_ONCE: Final = 2000


class NotPrunableError(Exception):
    """Pruning would lose something; nothing was cut."""


def verify(account: Account) -> str | None:
    """Return what is wrong with the account's journal, in a sentence; None: it is intact.

    Others may write meanwhile. Must not run inside a transaction.
    """
    with _standing_still():
        return first_fault(account.pk)


def first_fault(account_id: int) -> str | None:
    """Return the same inside a transaction that sees no changes by others.

    The chain's row tells the oldest hash and the newest, the entries between must link up without a
    gap, and the newest pruning entry, sealed like any other, must tell of the same cut as the row. So
    nothing can be changed, put in or taken out at any place without a trace. Who can write to all of
    the database can forge all of it; against that stand the files that were exported before.
    """
    chain = JournalChain.objects.filter(pk=account_id).first() or JournalChain(pk=account_id)
    follows, count, cut = chain.pruned_hash, chain.pruned_length, ""
    entry = None
    for entry in _entries(account_id).iterator(_AT_ONCE):
        fault = _fault(entry, follows, chain)
        if fault is not None:
            return f"entry {entry.pk} ({entry}) {fault}"
        follows, count = entry.hash, count + 1
        cut = entry.data["through"] if entry.event == PRUNED else cut
    if (follows, count) != (chain.newest_hash, chain.length):
        if entry is None:
            return f"all {chain.length - chain.pruned_length} entries are gone"
        return f"entry {entry.pk} ({entry}) is not the end: what came after is gone, or it was changed"
    if cut != chain.pruned_hash:
        return "the oldest entries are gone, and no pruning entry tells of that"
    return None


def prune(account: Account, until: datetime, now: datetime) -> int:
    """Cut the chain's beginning, up to its first entry that is not before `until`; return how many.

    What was cut is sealed into a new entry. Must not run inside a transaction.

    Raises:
        NotPrunableError: some of it is in no exported file yet, or the chain is broken.
    """
    fault = verify(account)
    if fault is not None:
        raise NotPrunableError(f"a broken journal is evidence and stays whole: {fault}")
    with transaction.atomic():
        journal.lock_chain(account.pk)
        cut = _beginning(account.pk, until)
        last = cut.last()
        if last is None or not cut.exclude(event=PRUNED).exists():
            return 0  # what only tells of earlier cuts is not worth another
        chain = JournalChain.objects.get(pk=account.pk)
        if last.pk > chain.exported_id:
            missing = cut.filter(pk__gt=chain.exported_id)
            raise NotPrunableError(
                f"{missing.count()} entries from {missing[0].timestamp.isoformat()} on are in no file"
                " yet: export them with --output, from the oldest on"
            )
        count = _delete(cut)
        chain.pruned_hash, chain.pruned_length = last.hash, chain.pruned_length + count
        chain.save(update_fields=["pruned_hash", "pruned_length"])
        journal.append(_pruning(chain, count, until, now))
    return count


@contextmanager
def _standing_still() -> Iterator[None]:
    """See the journal as it is now, while others go on writing."""
    with transaction.atomic(durable=True):
        with connection.cursor() as cursor:
            cursor.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY")
        yield


def _entries(account_id: int) -> QuerySet[JournalEntry]:
    return JournalEntry.objects.filter(account_id=account_id).order_by("id")


def _fault(entry: JournalEntry, follows: str, chain: JournalChain) -> str | None:
    if follows == chain.newest_hash:
        return "comes after the journal's end: it was put there by somebody else"
    if entry.previous_hash != follows:
        return "does not follow what stands before it: something there was removed or changed"
    if entry.hash != entry.computed_hash():
        return "was changed after it was written"
    return None


def _beginning(account_id: int, until: datetime) -> QuerySet[JournalEntry]:
    """Return the entries before the first that is not older; stamps may be out of order by a moment."""
    entries = _entries(account_id)
    kept = entries.filter(timestamp__gte=until).first()
    return entries if kept is None else entries.filter(pk__lt=kept.pk)


def _delete(cut: QuerySet[JournalEntry]) -> int:
    """Delete what the database otherwise refuses to let go."""
    with connection.cursor() as cursor:
        cursor.execute("SET LOCAL hubdefisats.prunes_journal = 'on'")
        count, _ = cut.delete()
        cursor.execute("SET LOCAL hubdefisats.prunes_journal = 'off'")
    return count


def _pruning(chain: JournalChain, count: int, until: datetime, now: datetime) -> JournalEntry:
    return JournalEntry(
        account_id=chain.pk,
        event=PRUNED,
        type="journal",
        message=f"{count} entries from before {until.isoformat()} were pruned; they had been exported",
        data={"entries": count, "inAll": chain.pruned_length, "through": chain.pruned_hash},
        timestamp=now,
    )
