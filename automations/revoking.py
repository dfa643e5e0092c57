"""Keys may have leaked: everything off and everybody out, at once or not at all."""

from dataclasses import dataclass
from datetime import datetime

from django.contrib.auth.models import User
from django.contrib.sessions.models import Session
from django.db import transaction
from django.utils import timezone

from accounts.models import Account
from automations import journal
from automations.models import Execution, KnownPosition


@dataclass(frozen=True, slots=True, kw_only=True)
class Revoked:
    """What was done, or would be."""

    accounts: tuple[Account, ...]
    """Those that are switched off; their keys are to be deleted at the exchange."""
    positions: int
    """That run, as far as anybody knows, and are not protected from then on."""
    sessions: int
    users: int
    """Whose links for a new password are void."""
    under_way: int
    """Actions of which it is not known what came of them: their requests may have left already."""


def foresee() -> Revoked:
    """Return what `revoke` would do now, and do nothing."""
    return _revoked(tuple(Account.objects.select_related("owner").order_by("pk")))


def revoke(reason: str) -> Revoked:
    """Switch every account off, end all sessions, void all tokens, and tell every owner.

    All of it in one transaction, with the entries of the journals. No account acts again before a
    person switches it on and its connection was tested; what is sealed stays, so that nothing is lost
    where it was a false alarm.
    """
    now = timezone.now()
    with transaction.atomic():
        ids = list(Account.objects.order_by("pk").values_list("pk", flat=True))
        for pk in ids:  # in one order, so that two who revoke at once wait and do not block each other
            journal.lock_chain(pk)
        accounts = tuple(Account.objects.select_related("owner").filter(pk__in=ids).order_by("pk"))
        done = _revoked(accounts)
        for account in accounts:
            _switch_off(account, reason, now)
        Session.objects.all().delete()
        # Links for a new password are made of the last signing-in, among others.
        User.objects.update(last_login=now)
    return done


def _switch_off(account: Account, reason: str, now: datetime) -> None:
    fault = f"Switched off, for keys may have leaked: {reason}. Enter a new key."
    Account.objects.filter(pk=account.pk).update(
        is_active=False, verified_at=None, recheck_at=None, refusals=0, fault=fault[:500]
    )
    message = f"somebody who runs this installation switched all accounts off: {reason}"
    journal.record_about(account, journal.KEY_REVOKED, message=message, now=now)


def _revoked(accounts: tuple[Account, ...]) -> Revoked:
    return Revoked(
        accounts=accounts,
        positions=KnownPosition.objects.running().count(),
        sessions=Session.objects.count(),
        users=User.objects.count(),
        under_way=Execution.objects.unsettled().count(),
    )
