"""The use cases of an account: is its key good, and who may be acted for."""

from dataclasses import dataclass

from django.utils import timezone

from accounts.crypto import SealBrokenError
from accounts.gateway import client_for
from accounts.models import Account
from exchange.errors import ExchangeError
from exchange.money import Sats


@dataclass(frozen=True, slots=True, kw_only=True)
class Verified:
    """The exchange accepted the key."""

    balance: Sats


@dataclass(frozen=True, slots=True, kw_only=True)
class NotVerified:
    """One sentence says why not."""

    fault: str


def verify(account: Account) -> Verified | NotVerified:
    """Test the connection and remember the answer: only a verified account is acted for."""
    try:
        client = client_for(account)
        balance = client.account().balance
        client.rest.running_trades()
    except SealBrokenError:
        fault = "The stored key cannot be opened: enter key, secret and passphrase again."
    except ExchangeError as error:
        fault = str(error)
    else:
        account.mark_verified(timezone.now())
        return Verified(balance=balance)
    account.suspend(fault)
    return NotVerified(fault=fault)
