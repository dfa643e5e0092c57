"""Suspending an account whose key the exchange refused: at once, and told once."""

from django.db import transaction
from django.utils import timezone

from accounts.models import Account
from automations import journal


def suspend(account: Account, why: str) -> bool:
    """Stop acting for the account until its connection is tested again.

    Returns:
        whether it acted until now; only then its journal says so.
    """
    with transaction.atomic():
        journal.lock_chain(account.pk)
        same = Account.objects.filter(pk=account.pk, credentials_sealed=account.credentials_sealed)
        acted = same.filter(verified_at__isnull=False).exists()
        account.suspend(why)
        if acted:
            journal.record_about(account, journal.KEY_REFUSED, message=why, now=timezone.now())
    return acted
