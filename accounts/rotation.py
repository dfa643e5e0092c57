"""Sealing every account's credentials with the newest key, while everything runs."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from django.db.models import QuerySet

from accounts import crypto
from accounts.crypto import SealBrokenError
from accounts.models import Account, held_keys

Report = Callable[[int, int], None]
"""Is told how many accounts were looked at, of how many."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Need:
    """An account that needs another key than the newest, or that no key here opens."""

    account: Account
    why: str


def rotate(report: Report = lambda _done, _of: None) -> int:
    """Seal anew what is not sealed with the newest key; return how many accounts that were.

    Each is a statement of its own, on condition that nobody entered other credentials meanwhile: what
    was done stays done wherever this ends, and the next run goes on from there. One that cannot be
    opened is left as it is: `needs` says why.
    """
    waiting = list(_not_newest().values_list("pk", flat=True))
    done = 0
    for number, pk in enumerate(waiting, start=1):
        for account in _not_newest().filter(pk=pk):  # none where it was deleted, or done by another
            done += _seal_anew(account)
        report(number, len(waiting))
    return done


def seal_older() -> int:
    """Seal to its place what a version sealed that knew none; return how many accounts that were."""
    older = Account.objects.exclude(credentials_sealed__startswith=crypto.FORM)
    return sum(_seal_anew(account) for account in older.iterator())


def needs() -> Iterator[Need]:
    """Yield the accounts that the newest key alone does not open, by opening every one."""
    keys = held_keys()
    newest = crypto.newest_alone(keys)
    for account in Account.objects.order_by("pk").iterator():
        try:
            account.credentials(newest)
        except SealBrokenError as broken:
            used = crypto.sealed_with(account.credentials_sealed)
            if used == keys.sealing:
                yield Need(account=account, why=str(broken))
            else:
                yield Need(account=account, why=_why_not_done(account, used))


def _why_not_done(account: Account, used: str | None) -> str:
    name = "the older CREDENTIAL_KEYS" if used is None else f"the key {used:.20}"
    try:
        account.credentials()
    except SealBrokenError as broken:
        return f"it needs {name}, and cannot be opened: {broken}"
    return f"it needs {name}"


def _not_newest() -> QuerySet[Account]:
    newest = crypto.prefix(held_keys().sealing)
    return Account.objects.exclude(credentials_sealed__startswith=newest).order_by("pk")


def _seal_anew(account: Account) -> bool:
    try:
        return account.seal_anew()
    except SealBrokenError:
        return False
