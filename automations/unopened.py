"""Accounts whose stored key no key of this installation opens: told once, and when it opens again."""

import logging
from datetime import datetime

from django.db import transaction
from django.db.models import QuerySet
from django.utils import timezone

from accounts.crypto import SealBrokenError
from accounts.gateway import opened
from accounts.models import Account
from automations import journal
from automations.models import Notification
from exchange.errors import ExchangeError

logger = logging.getLogger(__name__)


def look(now: datetime) -> None:
    """Open every account that acts, and tell owners of those that stay closed or open again.

    Nothing is sent for a closed one, and nothing else about it changes: it acts again as soon as the
    processes have the right key.
    """
    closed = set(_told().values_list("account_id", flat=True))
    for account in Account.objects.acting().only("name", "owner", "network", "credentials_sealed"):
        try:
            opened(account)
        except SealBrokenError as broken:
            if account.pk not in closed:
                tell(account, broken, now)
        except ExchangeError:  # of a network that is not known here
            continue
        else:
            if account.pk in closed:
                _tell_opened(account, now)


def tell(account: Account, broken: SealBrokenError, now: datetime | None = None) -> None:
    """Tell the owner that nothing on the account is protected, unless he knows."""
    if _told().filter(account=account).exists():
        return
    with transaction.atomic():
        journal.lock_chain(account.pk)
        if _told().filter(account=account).exists():
            return
        journal.record_about(
            account, journal.KEY_UNOPENED, message=str(broken), now=now or timezone.now()
        )
    extra = {"account": account.pk, "account_name": account.name, "why": str(broken)}
    logger.error(journal.KEY_UNOPENED, extra=extra)


def _tell_opened(account: Account, now: datetime) -> None:
    with transaction.atomic():
        journal.lock_chain(account.pk)
        if _told().filter(account=account).exists():
            message = "the stored key can be opened again"
            journal.record_about(account, journal.KEY_OPENED, message=message, now=now)


def _told() -> QuerySet[Notification]:
    return Notification.objects.filter(ends=True, entry__event=journal.KEY_UNOPENED)
