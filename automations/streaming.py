"""What the stream process does: serve the accounts it leases, as the database has them."""

import logging
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from datetime import datetime
from typing import Final

from django.conf import settings
from django.db import IntegrityError, connection, transaction
from django.utils import timezone
from redis.exceptions import RedisError

from accounts.crypto import SealBrokenError
from accounts.gateway import opened, redis_client
from accounts.models import Account
from automations import (
    changes,
    counting,
    cross_epoch,
    heartbeat,
    journal,
    known_positions,
    planning,
    protection,
    tasks,
    unopened,
)
from automations.known_positions import Reading
from automations.leasing import Leases, Terms
from automations.models.kinds import Kind
from automations.noticing import PlanChanges
from automations.outages import DATABASE_ERRORS, QUEUE_ERRORS, Complaint, database_is_away, line
from automations.planning import Plan
from automations.serving import Serving, Told
from automations.suspending import note_refusal
from automations.triggers import Trigger
from automations.watching import Watched
from exchange.config import Network
from exchange.errors import ExchangeError, storable
from exchange.market import Quote

logger = logging.getLogger(__name__)

HEARTBEAT_KEY: Final = heartbeat.HEARTBEAT_KEY
HEARTBEAT_TTL_S: Final = heartbeat.HEARTBEAT_TTL_S
_BEAT_S: Final = 1.0
_AT_ONCE: Final = 100
"""Accounts read in one round, so that no heartbeat is late however many there are to read."""
_TOLD_AT_ONCE: Final = 50
"""Accounts written about in one round, each of which may take a transaction of its own; likewise."""
_FENCE_S: Final = 0.1
"""Between two looks at a fence that does not stand."""


class Streaming:
    """Until stopped: leases its part of the accounts, serves them, and takes over what changes.

    Everything that touches the database happens on the thread that calls `run`. A thread of its own
    guards the fence, for the other one may hang in a database that does not answer.
    """

    def __init__(self, stopping: threading.Event) -> None:
        self._stopping = stopping
        self.leases = Leases(
            Terms(
                lease_s=settings.STREAM_LEASE_S,
                heartbeat_s=settings.STREAM_HEARTBEAT_S,
                margin_s=settings.STREAM_LEASE_S / 6,
            )
        )
        self.serving = Serving(self.leases.fence, fire)
        self._changes = PlanChanges()
        self._unread: set[int] = set()
        """Leased, and to be read from the database."""
        self._unusable: set[int] = set()
        """Leased, and left out until something about them changes."""
        self._leaving: set[int] = set()
        """Leased, but watched no more: another may have them once their sockets are closed."""
        self._read: dict[int, Reading] = {}
        """The newest reading of each account that is not written down yet."""
        self._blind_since: dict[int, datetime | None] = {}
        """Changes of what is seen of accounts, not written down yet."""
        self._in_doubt = False
        self._no_database = Complaint(logger, "database out of reach")
        self._rechecked_s = time.monotonic()
        self._beaten_s = float("-inf")
        self._threads = [
            threading.Thread(target=self._guard, name="fence", daemon=True),
            threading.Thread(
                target=changes.listen,
                args=(redis_client(), self.serving.heed, stopping),
                name="changes",
                daemon=True,
            ),
        ]

    def run(self) -> None:
        for thread in self._threads:
            thread.start()
        try:
            while not self._stopping.is_set():
                self._round()
                self._stopping.wait(
                    0 if self._unread or self._read else settings.STREAM_ROUND_MS / 1000
                )
        finally:
            self.serving.stop()
            with suppress(*DATABASE_ERRORS):  # then the leases end by themselves
                self.leases.leave()

    def _guard(self) -> None:
        """Watch nothing any more from the moment at which the leases may be another's."""
        while not self._stopping.is_set():
            if not self.leases.fence.stands and (left := self.serving.accounts):
                self.serving.unfollow(left)
                logger.error("leases not renewed in time", extra={"accounts": len(left)})
            self._stopping.wait(max(self.leases.fence.left_s, _FENCE_S))

    # One round after the other

    def _round(self) -> None:
        try:
            self._write_down()
            self._begin_cross_anew()
            self._write_down_positions()
            self._write_down_protection()
            self._keep_leases()
            self._take_over(self._changed())
        except DATABASE_ERRORS as error:
            if not (database_is_away(error) or isinstance(error, IntegrityError)):
                raise
            # What is leased stays watched as long as the lease is; the sweep rests with the database.
            connection.close()
            self._in_doubt = True
            self._no_database.utter(error)
        else:
            self._no_database.end()
        self.serving.poll_silent_prices()
        self._beat()

    def _write_down(self) -> None:
        """Write what the pools told; what could not be written stays for the next round."""
        while self.serving.told:
            told = self.serving.told[0]
            for account in Account.objects.filter(pk=told.account_id):  # none where it was deleted
                if told.event == journal.KEY_REFUSED:
                    _doubt(account, told)
                    continue
                with transaction.atomic():
                    journal.record_about(
                        account, told.event, message=storable(told.why), now=timezone.now()
                    )
                counting.count(redis_client(), told.event, told.account_id)
                extra = {"account": account.pk, "account_name": account.name, "why": told.why}
                logger.warning(told.event, extra=extra)
            self.serving.told.popleft()

    def _begin_cross_anew(self) -> None:
        """Write down which cross positions are over; likewise."""
        while self.serving.cross_over:
            cross_epoch.begin_anew(*self.serving.cross_over[0])
            self.serving.cross_over.popleft()

    def _write_down_positions(self) -> None:
        """Write which positions run; what could not be written stays for the next round."""
        readings = self.serving.readings
        while readings:
            reading = readings.popleft()
            self._read[reading.account_id] = reading
        at_once = list(self._read.values())[:_TOLD_AT_ONCE]
        if not at_once:
            return
        for account_id in known_positions.write_down(at_once):
            with suppress(*QUEUE_ERRORS):  # beat has it looked for soon
                tasks.explain_closings.delay(account_id)
        for reading in at_once:
            self._read.pop(reading.account_id)

    def _write_down_protection(self) -> None:
        """Write whose positions nobody sees any more, or somebody again; likewise."""
        self._blind_since |= self.serving.blind_since()
        at_once = dict(list(self._blind_since.items())[:_TOLD_AT_ONCE])
        if at_once:
            protection.write_down(at_once, timezone.now())
        for account_id in at_once:
            del self._blind_since[account_id]

    def _keep_leases(self) -> None:
        leases = self.leases
        leases.release(self._leaving)
        self._leaving = set()
        if leases.is_due or self._in_doubt:
            self._renew()
            if self._in_doubt:  # an answer was lost: what was asked for may have been done
                leases.check()
                self.serving.unfollow(self.serving.accounts - leases.held)
                self._in_doubt = False
            if leases.surplus > 0:
                self._let_go(min(leases.surplus, settings.STREAM_HANDOVER))
        leases.take()

    def _renew(self) -> None:
        if not self.leases.renew():
            self.serving.unfollow(self.serving.accounts)
            logger.error("leases lost", extra={"why": "another process has ended this one's"})
            self.leases.renew()

    def _let_go(self, count: int) -> None:
        """Watch fewer accounts, for another process has less than its part."""
        self._leaving = set(self.serving.calmest(self.leases.held, count))
        self.serving.unfollow(self._leaving)

    def _changed(self) -> set[int]:
        """Return the leased accounts of which something changed, or may have."""
        changed = self._changes.read()
        now_s = time.monotonic()
        if changed is None or now_s - self._rechecked_s >= settings.STREAM_RECHECK_S:
            self._rechecked_s = now_s
            self._changes.prune()
            self.leases.offer_all()
            self._unread |= self.leases.held
        elif changed:
            self.leases.offer(changed)
        if changed != set():
            self._renew()  # there may be more to share now
            self.leases.take()
        return (changed or set()) & self.leases.held

    def _take_over(self, changed: set[int]) -> None:
        """Read what is to be read, as much as fits into a round: first what changed just now."""
        unserved = self.leases.held - self.serving.accounts - self._unusable
        self._unread = (self._unread | changed | unserved) & self.leases.held - self._leaving
        now = sorted(self._unread, key=lambda account: account not in changed)[:_AT_ONCE]
        if not now:
            return
        acting = planning.acting(now)
        watched = list(_all_watched(acting))
        self.serving.follow(watched)
        over = set(now) - {account.pk for account in acting}
        self._unusable -= set(now)
        self._unusable |= set(now) - over - {each.account_id for each in watched}
        self.serving.unfollow(over | self._unusable & set(now))
        self.leases.drop(over)
        self._unread -= set(now)

    def _beat(self) -> None:
        """Tell the health check that this process turns, and what it sees."""
        now_s = time.monotonic()
        if now_s - self._beaten_s < _BEAT_S:
            return
        self._beaten_s = now_s
        with suppress(RedisError):  # without Redis there is nobody to tell either
            heartbeat.beat(redis_client(), self.leases.process_id, self.serving.seen())


def _doubt(account: Account, told: Told) -> None:
    """Doubt the key, unless the account has other credentials by now than those that were refused."""
    with suppress(SealBrokenError):  # nothing is sent with them any more
        if account.credentials() == told.credentials:
            note_refusal(account, told.why)


def _all_watched(acting: dict[Account, list[Kind]]) -> Iterator[Watched]:
    """Yield the accounts to be watched; one that cannot be opened is left out."""
    plans = planning.plans_of_all(list(acting.values()))
    for account, of_account in zip(acting, plans, strict=True):
        try:
            yield _watched(account, of_account)
        except (ExchangeError, SealBrokenError) as error:
            extra = {"account": account.pk, "account_name": account.name, "error": str(error)}
            logger.error("account cannot be watched", extra=extra)
            if isinstance(error, SealBrokenError):
                unopened.tell(account, error)


def _watched(account: Account, plans: tuple[Plan, ...]) -> Watched:
    client, credentials = opened(account)
    return Watched(
        account_id=account.pk,
        name=account.name,
        network=Network(account.network),
        client=client,
        credentials=credentials,
        plans=plans,
    )


def fire(watched: Watched, trigger: Trigger, tick: Quote) -> None:
    """Send one crossed trigger to the workers.

    Where the queue is out of reach nothing is repeated: the trigger comes back by time, and the sweep
    looks without one.
    """
    try:
        tasks.send(trigger.automation_id, trigger.position_id, urgent=trigger.urgent, tick=tick)
    except QUEUE_ERRORS as error:
        extra = {
            "account": watched.account_id,
            "account_name": watched.name,
            "automation": trigger.automation_id,
            "position": trigger.position_id,
            "why": line(error),
        }
        logger.error("trigger not sent", extra=extra)
