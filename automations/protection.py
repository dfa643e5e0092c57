"""Protection that ends or returns without an action: told where it lasts, once, and when it is back."""

import logging
from collections.abc import Mapping
from contextlib import suppress
from datetime import datetime, timedelta
from typing import Final

from django.conf import settings
from django.db import transaction
from django.db.models import Q
from redis.exceptions import RedisError

from accounts.crypto import SealBrokenError
from accounts.gateway import client_for, redis_client
from accounts.models import Account
from accounts.times import written, zone_of
from automations import answering, heartbeat, journal, unopened, unreadable
from automations.models import Execution, JournalEntry, KnownPosition, MarginGuard, Notification
from automations.models.kinds import typed
from automations.reading import read_all, read_price
from exchange.errors import ExchangeError
from exchange.position import Regime

logger = logging.getLogger(__name__)

HEARTBEAT_KEY: Final = heartbeat.HEARTBEAT_KEY
_UNSETTLED: Final = timedelta(seconds=30)


# What the stream process, or the sweep in its place, sees


def write_down(blind_since: Mapping[int, datetime | None], now: datetime) -> None:
    """Tell of accounts with known positions that nobody can see any more, or that are seen again.

    `blind_since` has a moment for the former, None for the latter, by the accounts' ids.
    """
    rows = KnownPosition.objects.filter(account__in=blind_since).select_related("account")
    of_accounts: dict[Account, bool] = {}
    for row in rows:
        of_accounts[row.account] = of_accounts.get(row.account, False) or bool(row.unprotected_since)
    for account, was_told in of_accounts.items():
        since = blind_since[account.pk]
        if was_told is (since is None):
            _tell(account, since, now)


def _tell(account: Account, since: datetime | None, now: datetime) -> None:
    with transaction.atomic():
        journal.lock_chain(account.pk)
        rows = KnownPosition.objects.filter(account=account)
        known = rows.filter(unprotected_since__isnull=since is not None)
        if not known.update(unprotected_since=since):
            return  # somebody else did
        if since is None:
            message, data = "positions and prices are being read again", {}
        else:
            message = f"neither stream nor REST told enough for {settings.UNPROTECTED_AFTER_S} s"
            data = {
                "since": written(since, zone_of(account.owner_id)),
                "sinceAt": since.isoformat(timespec="milliseconds"),
                "positions": [row.position_id for row in rows],
            }
        event = journal.PROTECTED_AGAIN if since is None else journal.UNPROTECTED
        journal.record_about(account, event, message=message, data=data, now=now)
    extra = {"account": account.pk, "account_name": account.name, "why": message}
    logger.warning(event, extra=extra)


def not_swept(account: Account, now: datetime) -> None:
    """Tell that an account could not be read, where no stream process says that it sees it."""
    if _is_seen(account.pk) or not MarginGuard.acting().filter(account=account, shadow=False).exists():
        return
    write_down({account.pk: now - timedelta(seconds=settings.UNPROTECTED_AFTER_S)}, now)


def _is_seen(account_id: int) -> bool:
    """Whether a stream process says so; where Redis is away nobody can say, and it counts as seen."""
    try:
        return any(heartbeat.sees(said, account_id) for said in heartbeat.beats(redis_client()))
    except RedisError:
        return True


# What beat has looked for


def look(now: datetime) -> None:
    """Tell what lasts, and what is over, that nobody tells on his own way."""
    _note_unsettled(now)
    _note_accepted_keys(now)
    unopened.look(now)
    _look_again(now)


def _look_again(now: datetime) -> None:
    """Read the accounts of which their owners believe that nobody can, unless a stream process does."""
    lost = KnownPosition.objects.filter(unprotected_since__isnull=False)
    hidden = Notification.objects.filter(ends=True, entry__event=journal.POSITION_UNREADABLE)
    lost_or_hidden = Q(known_positions__in=lost) | Q(notifications__in=hidden)
    accounts = Account.objects.acting().filter(lost_or_hidden).distinct()
    unseen = [account for account in accounts if not _is_seen(account.pk)]
    answers = answering.balances(unseen)
    for account in unseen:
        if account.pk not in answers:
            continue
        with suppress(ExchangeError, SealBrokenError):  # then it stays as it was told
            client = client_for(account)
            unreadable.write_down(account, read_all(client), frozenset(Regime), now)
            read_price(client)
            write_down({account.pk: None}, now)


def _note_unsettled(now: datetime) -> None:
    """Tell of actions of which for 30 s nobody knows what came of them; once for each."""
    old = Execution.objects.unsettled().filter(decided_at__lt=now - _UNSETTLED)
    told = JournalEntry.objects.filter(event__endswith=f"_{journal.UNSETTLED}")
    for execution in old.exclude(pk__in=told.filter(execution__in=old).values("execution")):
        automation = typed(execution.automation)
        with transaction.atomic():
            journal.lock_chain(execution.account_id)
            if told.filter(execution=execution).exists():
                continue
            journal.record(
                automation,
                journal.UNSETTLED,
                message=f"no answer came, and nothing shows yet what became of it: {execution.why}",
                data={
                    "action": execution.does,
                    "amount": execution.amount_sats,
                    "executionId": execution.pk,
                },
                now=now,
                position_id=execution.position_id,
                execution=execution,
            )


def _note_accepted_keys(now: datetime) -> None:
    """Tell that a suspended account acts again, where whoever had it verified did not."""
    over = (journal.KEY_REFUSED, journal.KEY_REVOKED)
    refused = Notification.objects.filter(ends=True, entry__event__in=over)
    for account in Account.objects.acting().filter(notifications__in=refused).distinct():
        with transaction.atomic():
            journal.lock_chain(account.pk)
            if refused.filter(account=account).exists():
                message = "the exchange accepts the key, and automations act again"
                journal.record_about(account, journal.KEY_ACCEPTED, message=message, now=now)


def forget(account_id: int, position_id: str) -> None:
    """Expect no return of protection any more: the position is gone."""
    ends = Notification.objects.filter(account=account_id, ends=True)
    ends.filter(entry__position_id=position_id).update(ends=False)
