"""The use cases of an account: is its key good, and who may be acted for."""

from dataclasses import dataclass
from datetime import timedelta
from enum import Enum, auto

from django.utils import timezone

from accounts.crypto import SealBrokenError
from accounts.gateway import client_for, endpoints_of, server_clock
from accounts.models import Account
from exchange import verify as key_check
from exchange.config import Network
from exchange.errors import ExchangeError, KeyRefusedError
from exchange.money import Sats
from exchange.verify import TooWideKeyError, UnfitKeyError


@dataclass(frozen=True, slots=True, kw_only=True)
class Verified:
    """The exchange accepted the key, which may trade and may not withdraw."""

    balance: Sats


class Ground(Enum):
    """What a failed test of a connection says about its key."""

    NONE = auto()
    """Nothing: the exchange did not answer, or not in a way that can be read."""
    REFUSED = auto()
    """The exchange did not accept it just now; it may in a moment."""
    UNFIT = auto()
    """It works, and may do too little or too much to be entrusted to us."""
    TOO_WIDE = auto()
    """It may do more than is needed: none to begin with, and yet it protects what it protects."""


@dataclass(frozen=True, slots=True, kw_only=True)
class NotVerified:
    """One sentence says why not."""

    fault: str
    ground: Ground = Ground.NONE


def verify(account: Account) -> Verified | NotVerified:
    """Test the connection and remember the answer: only a verified account is acted for.

    A failed test takes nothing from an account that acts, unless its key is unfit. A key that may do
    more than is needed is not taken, but takes no protection away where it is in use. A refusal by the
    exchange is asked about again, and suspends once it is confirmed.
    """
    verdict = test(account)
    if isinstance(verdict, NotVerified):
        _remember(account, verdict)
    elif not account.mark_verified(timezone.now()):
        fault = "Other credentials were entered meanwhile: test the connection again."
        verdict = NotVerified(fault=fault)
    return verdict


def _remember(account: Account, verdict: NotVerified) -> None:
    now = timezone.now()
    if verdict.ground is Ground.UNFIT:
        account.suspend(verdict.fault)
    elif not account.stay_unverified(verdict.fault, recheck_at=now + again_after(verdict)) and (
        verdict.ground is Ground.REFUSED
    ):
        account.doubt(now + Account.ASKED_AGAIN[0])


def again_after(verdict: NotVerified) -> timedelta:
    """Return how long after a failed test an account that does not act is tested again."""
    found_out = verdict.ground is not Ground.NONE
    return Account.VERIFIED_AGAIN if found_out else Account.TESTED_AGAIN


def test(account: Account) -> Verified | NotVerified:
    """Test the connection, and leave it to the caller what follows."""
    try:
        found = key_check.verify(
            client_for(account).rest,
            endpoints_of(Network(account.network)),
            account.credentials(),
            server_clock=server_clock(Network(account.network)),
        )
    except (ExchangeError, SealBrokenError) as error:
        return failed(error)
    return Verified(balance=found.account.balance)


def failed(error: ExchangeError | SealBrokenError) -> NotVerified:
    """Return what a test that ended so found out."""
    if isinstance(error, SealBrokenError):
        return NotVerified(
            fault="The stored key cannot be opened: enter key, secret and passphrase again."
        )
    if isinstance(error, TooWideKeyError):
        return NotVerified(fault=str(error), ground=Ground.TOO_WIDE)
    if isinstance(error, UnfitKeyError):
        return NotVerified(fault=str(error), ground=Ground.UNFIT)
    refused = isinstance(error, KeyRefusedError)
    return NotVerified(fault=str(error), ground=Ground.REFUSED if refused else Ground.NONE)
