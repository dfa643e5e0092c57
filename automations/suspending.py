"""An account whose key the exchange refused: asked again, suspended, verified again, all by itself."""

import logging
import time
from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Final

from django.db import transaction
from django.db.models import F, Q
from django.utils import timezone

from accounts import services
from accounts.crypto import SealBrokenError
from accounts.gateway import admission, client_for, redis_client
from accounts.models import Account
from automations import counting, journal
from automations.locking import position_lock
from exchange.config import Network
from exchange.errors import ExchangeError, KeyRefusedError

logger = logging.getLogger(__name__)

AGAIN_AFTER: Final = Account.ASKED_AGAIN
LOOKED_AT_EVERY: Final = timedelta(days=1)
"""Between two looks at what the key of an account that acts may do."""
_APART: Final = timedelta(seconds=15)
"""Between such looks at two accounts: each takes one of the few authentications a minute."""
_ASKING: Final = timedelta(minutes=1)
"""So long asking may take; where whoever asks dies, another does afterwards."""
_LOCK: Final = "asking about refused keys"
_TURN_S: Final = 20.0
"""After this long the rest is left to whoever comes next."""

Clock = Callable[[], datetime]


def note_refusal(account: Account, why: str) -> None:
    """Doubt the key: it is asked again soon, and until then all goes on as before.

    One that is in doubt already is asked at its own times, however often it is refused meanwhile.
    """
    if account.doubt(timezone.now() + AGAIN_AFTER[0]):
        logger.warning("key refused once", extra=_fields(account) | {"why": why})


def suspend(account: Account, why: str) -> bool:
    """Stop acting for the account until the exchange accepts its key.

    Returns:
        whether it acted until now; only then its journal says so.
    """
    with transaction.atomic():
        journal.lock_chain(account.pk)
        acted = account.as_read().filter(verified_at__isnull=False).exists()
        account.suspend(why)
        if acted:
            journal.record_about(account, journal.KEY_REFUSED, message=why, now=timezone.now())
    if acted:
        counting.count(redis_client(), journal.KEY_REFUSED, account.pk)
    return acted


def ask_again(*, clock: Clock = timezone.now) -> int:
    """Ask about every key whose time has come; return how many they were.

    One process at a time does so: a slow exchange must not keep every worker waiting for answers.
    """
    asked, ends_s = 0, time.monotonic() + _TURN_S
    with position_lock(_LOCK) as mine:
        while mine and time.monotonic() < ends_s and (account := _next_due(clock())) is not None:
            if account.verified_at is None:
                _verify(account, clock)
            elif account.refusals:
                _ask(account, clock)
            else:
                _look_at_permissions(account, clock)
            asked += 1
    return asked


def _next_due(now: datetime) -> Account | None:
    """Take the account that has waited longest, for as long as asking may last."""
    # One that was never tested, for whoever was to test it died, say, is tested as well.
    untested = Q(verified_at=None, recheck_at=None, created_at__lte=now - Account.TESTED_AGAIN)
    old = Q(verified_at__lte=now - LOOKED_AT_EVERY, recheck_at=None)
    due = Account.objects.filter(untested | old | Q(recheck_at__lte=now), is_active=True)
    for account in due.order_by(F("recheck_at").asc(nulls_last=True))[:1]:
        until = now + _ASKING
        if account.asked().update(recheck_at=until):
            account.recheck_at = until
            return account
    return None


def _ask(account: Account, clock: Clock) -> None:
    """Ask a key in doubt by a signed read: another refusal counts, and an answer clears it."""
    try:
        client_for(account).rest.running_trades()
    except KeyRefusedError as error:
        _refused_again(account, str(error), clock())
    except (ExchangeError, SealBrokenError) as error:
        # No answer says nothing about the key.
        account.asked().update(recheck_at=clock() + AGAIN_AFTER[account.refusals - 1])
        logger.warning("key not asked", extra=_fields(account) | {"why": str(error)})
    else:
        account.asked().update(refusals=0, recheck_at=None)
        logger.info("key accepted after all", extra=_fields(account))


def _refused_again(account: Account, why: str, now: datetime) -> None:
    refusals = account.refusals + 1
    logger.warning("key refused again", extra=_fields(account) | {"why": why, "times": refusals})
    if refusals <= len(AGAIN_AFTER):
        account.asked().update(refusals=refusals, recheck_at=now + AGAIN_AFTER[refusals - 1])
        return
    with transaction.atomic():
        journal.lock_chain(account.pk)
        if account.asked().exists():  # no person tested it meanwhile, or entered another
            suspend(account, f"{why}, {refusals} times in a row")


def _look_at_permissions(account: Account, clock: Clock) -> None:
    """Test the connection of an account that acts: its key may do more, or less, than before."""
    now = clock()
    wait = timedelta(seconds=admission(Network(account.network)).wait_s(authenticates=True))
    if Account.objects.filter(verified_at__gt=now - _APART).exists():
        wait = max(wait, _APART)
    if wait:
        account.asked().update(recheck_at=now + wait)
        return
    verdict = services.test(account)
    if isinstance(verdict, services.Verified):
        with transaction.atomic():
            if account.asked().select_for_update().exists():
                account.mark_verified(clock())
        return
    logger.warning("permissions not as they should be", extra=_fields(account) | {"why": verdict.fault})
    _judge(account, verdict, clock())


def _judge(account: Account, verdict: services.NotVerified, now: datetime) -> None:
    """Follow from what was found out about the key of an account that acts."""
    match verdict.ground:
        case services.Ground.UNFIT:
            with transaction.atomic():
                journal.lock_chain(account.pk)
                if account.asked().exists():
                    suspend(account, verdict.fault)
        case services.Ground.TOO_WIDE:
            with transaction.atomic():
                journal.lock_chain(account.pk)
                if account.asked().update(recheck_at=now + LOOKED_AT_EVERY):
                    journal.record_about(account, journal.KEY_TOO_WIDE, message=verdict.fault, now=now)
        case services.Ground.REFUSED:
            account.asked().update(refusals=1, recheck_at=now + AGAIN_AFTER[0])
        case services.Ground.NONE:
            account.asked().update(recheck_at=now + Account.VERIFIED_AGAIN)


def _verify(account: Account, clock: Clock) -> None:
    """Test the connection of an account that does not act; where it is good it acts again."""
    try:
        client_for(account).account()  # costs no connection to the stream, of which there are few
        wait_s = admission(Network(account.network)).wait_s(authenticates=True)
    except (ExchangeError, SealBrokenError) as error:
        _not_verified(account, services.failed(error), clock)
        return
    if wait_s > 0:
        account.asked().update(recheck_at=clock() + timedelta(seconds=wait_s))
        return
    verdict = services.test(account)
    if isinstance(verdict, services.NotVerified):
        _not_verified(account, verdict, clock)
        return
    now = clock()
    with transaction.atomic():
        journal.lock_chain(account.pk)
        if account.asked().exists() and account.mark_verified(now):
            message = "the exchange accepts the key, and automations act again"
            journal.record_about(account, journal.KEY_ACCEPTED, message=message, now=now)
    logger.info("account verified again", extra=_fields(account))


def _not_verified(account: Account, verdict: services.NotVerified, clock: Clock) -> None:
    recheck_at = clock() + services.again_after(verdict)
    account.asked().update(fault=verdict.fault[:500], recheck_at=recheck_at)


def _fields(account: Account) -> dict[str, object]:
    return {"account": account.pk, "account_name": account.name}
