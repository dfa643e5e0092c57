"""The use cases of an account: is its key good, and who may be acted for."""

from dataclasses import dataclass

from django.utils import timezone

from accounts.crypto import SealBrokenError
from accounts.gateway import client_for, endpoints_of, server_clock
from accounts.models import Account
from exchange import verify as key_check
from exchange.config import Network
from exchange.errors import ExchangeError
from exchange.money import Sats


@dataclass(frozen=True, slots=True, kw_only=True)
class Verified:
    """The exchange accepted the key, which may trade and may not withdraw."""

    balance: Sats


@dataclass(frozen=True, slots=True, kw_only=True)
class NotVerified:
    """One sentence says why not."""

    fault: str


def verify(account: Account) -> Verified | NotVerified:
    """Test the connection and remember the answer: only a verified account is acted for."""
    verdict = test(account)
    if isinstance(verdict, NotVerified):
        account.suspend(verdict.fault)
        return verdict
    if account.mark_verified(timezone.now()):
        return verdict
    return NotVerified(fault="Other credentials were entered meanwhile: test the connection again.")


def test(account: Account) -> Verified | NotVerified:
    """Test the connection, and leave it to the caller what follows."""
    try:
        found = key_check.verify(
            client_for(account).rest,
            endpoints_of(Network(account.network)),
            account.credentials(),
            server_clock=server_clock(Network(account.network)),
        )
    except SealBrokenError:
        return NotVerified(
            fault="The stored key cannot be opened: enter key, secret and passphrase again."
        )
    except ExchangeError as error:
        return NotVerified(fault=str(error))
    return Verified(balance=found.account.balance)
