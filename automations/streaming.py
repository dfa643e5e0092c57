"""What the stream process does: watch every account's positions and every network's price."""

import json
import logging
import threading
from collections import deque
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import asdict, dataclass
from itertools import groupby
from operator import attrgetter
from typing import Final

from django.conf import settings
from django.db import InterfaceError, OperationalError, connection, transaction
from django.utils import timezone
from kombu.exceptions import OperationalError as QueueError
from redis.exceptions import RedisError

from accounts.crypto import SealBrokenError
from accounts.gateway import (
    admission,
    client_for,
    endpoints_of,
    live_view,
    redis_client,
    rest_client,
    server_clock,
    stream_caps,
)
from accounts.models import Account
from automations import changes, counting, journal, planning, tasks
from automations.market import Market
from automations.models.kinds import Kind
from automations.reading import read_all
from automations.suspending import suspend
from automations.triggers import Trigger
from automations.watching import Watch, Watched
from exchange.auth import Credentials
from exchange.config import Network
from exchange.errors import ExchangeError, storable
from exchange.market import Quote
from exchange.pool import Member, SessionPool
from exchange.position import PositionsSnapshot
from exchange.topics import CROSS_POSITION, ISOLATED_TRADES

logger = logging.getLogger(__name__)

HEARTBEAT_KEY: Final = "hubdefisats:stream:heartbeat"
"""Written each second; it expires soon after the last time."""
HEARTBEAT_TTL_S: Final = 5
ROUND_S: Final = 1.0


@dataclass(frozen=True, slots=True, kw_only=True)
class _Told:
    """What the pools told of an account, to be written down by the thread with the database."""

    account_id: int
    event: str
    why: str
    credentials: Credentials | None = None
    """Which ones were refused: others may be in their place by now."""


class Streaming:
    """Until stopped: keeps sessions open, positions read, triggers armed; sends what is crossed.

    Everything that touches the database happens on the thread that calls `run`. The pools' threads
    tell what they find out by the four methods of `exchange.pool.Listener`.
    """

    def __init__(self, stopping: threading.Event) -> None:
        self._stopping = stopping
        self._markets: dict[Network, Market] = {}
        self._pools: dict[Network, SessionPool] = {}
        self._watches: dict[int, Watch] = {}
        self._told: deque[_Told] = deque()
        self._pollers = ThreadPoolExecutor(thread_name_prefix="prices")
        self._balances = ThreadPoolExecutor(4, thread_name_prefix="balances")
        self._listening = threading.Thread(
            target=changes.listen,
            args=(redis_client(), self._changed, stopping),
            name="changes",
            daemon=True,
        )

    def run(self) -> None:
        self._listening.start()
        try:
            while not self._stopping.is_set():
                self._round()
                self._stopping.wait(ROUND_S)
        finally:
            self._stop()

    # What the pools tell

    def positions(self, account_id: int, snapshot: PositionsSnapshot) -> None:
        watch = self._watches.get(account_id)
        if watch is None:
            return
        watch.take(snapshot)
        if not self._stopping.is_set() and watch.wants_balance():
            self._balances.submit(watch.read_balance)
        market = self._markets[watch.watched.network]
        if market.newest is not None:
            risk = watch.risk_at(market.newest.price)
            self._pools[watch.watched.network].set_risk(account_id, risk)

    def refused(self, account_id: int, credentials: Credentials, why: str) -> None:
        told = _Told(account_id=account_id, event=journal.KEY_REFUSED, why=why, credentials=credentials)
        self._told.append(told)

    def fallback_activated(self, account_id: int, why: str) -> None:
        self._told.append(_Told(account_id=account_id, event="fallback_activated", why=why))

    def stream_recovered(self, account_id: int) -> None:
        self._told.append(_Told(account_id=account_id, event="stream_recovered", why=""))

    # One round after the other

    def _round(self) -> None:
        try:
            self._write_down()
            self._follow(watched_accounts())
        except (OperationalError, InterfaceError) as error:
            # What is known stays watched; the sweep rests as long as the database does.
            connection.close()
            logger.error("database out of reach", extra={"why": " ".join(str(error).split())})
        for market in self._markets.values():
            if market.is_silent:
                self._pollers.submit(market.poll_if_silent)
        self._beat()

    def _write_down(self) -> None:
        """Write what the pools told; what could not be written stays for the next round."""
        while self._told:
            told = self._told[0]
            for account in Account.objects.filter(pk=told.account_id):  # none where it was deleted
                if told.event == journal.KEY_REFUSED:
                    if not _suspended(account, told):
                        continue
                else:
                    with transaction.atomic():
                        journal.record_about(
                            account, told.event, message=storable(told.why), now=timezone.now()
                        )
                counting.count(redis_client(), told.event, told.account_id)
            extra = {"account": told.account_id, "why": told.why}
            logger.warning(told.event, extra=extra)
            self._told.popleft()

    def _follow(self, accounts: Iterable[Watched]) -> None:
        """Begin, change and end watching, so that exactly these accounts are watched."""
        wanted = {watched.account_id: watched for watched in accounts}
        for account_id in self._watches.keys() - wanted.keys():
            self._end(account_id)
        for account_id, watched in wanted.items():
            known = self._watches.get(account_id)
            if known is not None and known.watched.network is not watched.network:
                self._end(account_id)
                known = None
            if known is None:
                self._begin(watched)
            elif known.watched != watched:
                known.change(watched)
                self._pools[watched.network].follow(_member(watched))

    def _begin(self, watched: Watched) -> None:
        if watched.network not in self._markets:
            self._open(watched.network)
        crossing = self._markets[watched.network].crossing
        watch = Watch(watched, crossing, live=live_view())
        self._watches[watched.account_id] = watch
        watch.change(watched)  # entries need no position to wait for
        self._pools[watched.network].follow(_member(watched))
        logger.info("watching", extra={"account": watched.account_id, "account_name": watched.name})

    def _end(self, account_id: int) -> None:
        watch = self._watches.pop(account_id)
        self._pools[watch.watched.network].unfollow(account_id)
        watch.end()
        logger.info("no longer watching", extra={"account": account_id})

    def _open(self, network: Network) -> None:
        """Follow a network's prices, and have a pool for its accounts."""
        endpoints, admitted = endpoints_of(network), admission(network)
        market = Market(
            network,
            endpoints,
            rest=rest_client(network),
            live=live_view(),
            server_clock=server_clock(network),
            admission=admitted,
            fire=fire,
            silence_s=settings.DATA_MAX_AGE_S,
        )
        pool = SessionPool(
            endpoints,
            self,
            caps=stream_caps(),
            server_clock=server_clock(network),
            admission=admitted,
        )
        self._markets[network], self._pools[network] = market, pool
        market.start()
        pool.start()

    def _changed(self, account_id: int) -> None:
        watch = self._watches.get(account_id)
        if watch is not None:
            self._pools[watch.watched.network].reread(account_id)

    def _beat(self) -> None:
        """Tell the health check that this process turns, and what it sees."""
        seen = {
            "accounts": len(self._watches),
            "markets": {
                network: {
                    "state": market.state,
                    "silent": market.is_silent,
                    "armed": len(market.crossing),
                    "pool": asdict(self._pools[network].counts()),
                }
                for network, market in self._markets.items()
            },
        }
        with suppress(RedisError):  # without Redis there is nobody to tell either
            redis_client().set(HEARTBEAT_KEY, json.dumps(seen), ex=HEARTBEAT_TTL_S)

    def _stop(self) -> None:
        for watch in self._watches.values():
            watch.end()
        for pool in self._pools.values():
            pool.stop(timeout_s=2.0)
        for market in self._markets.values():
            market.stop()
        self._pollers.shutdown(wait=False, cancel_futures=True)
        self._balances.shutdown(wait=False, cancel_futures=True)


def _suspended(account: Account, told: _Told) -> bool:
    """Suspend the account, unless it has other credentials by now than those that were refused."""
    try:
        current = account.credentials()
    except SealBrokenError:
        return False  # nothing is sent with them any more
    return current == told.credentials and suspend(account, storable(told.why))


def _member(watched: Watched) -> Member:
    if not watched.looks_at_cross:
        return Member(
            account_id=watched.account_id,
            credentials=watched.credentials,
            read=watched.client.rest.positions,
        )
    return Member(
        account_id=watched.account_id,
        credentials=watched.credentials,
        read=lambda: read_all(watched.client),
        topics=(ISOLATED_TRADES, CROSS_POSITION),
    )


def watched_accounts() -> list[Watched]:
    """Return every account with an automation switched on; one that cannot be opened is left out."""
    by_account = attrgetter("account_id")
    found = []
    for _, group in groupby(sorted(planning.acting(), key=by_account), key=by_account):
        of_account = list(group)
        account = of_account[0].account
        try:
            found.append(_watched(account, of_account))
        except (ExchangeError, SealBrokenError) as error:
            extra = {"account": account.pk, "account_name": account.name, "error": str(error)}
            logger.error("account cannot be watched", extra=extra)
    return found


def _watched(account: Account, automations: Iterable[Kind]) -> Watched:
    return Watched(
        account_id=account.pk,
        name=account.name,
        network=Network(account.network),
        client=client_for(account),
        credentials=account.credentials(),
        plans=planning.plans_of(automations),
    )


def fire(trigger: Trigger, tick: Quote) -> None:
    """Send one crossed trigger to the workers.

    Where the queue is out of reach nothing is repeated: the next reading of the positions arms the
    trigger again, and the sweep looks without one.
    """
    try:
        tasks.send(trigger.automation_id, trigger.position_id, urgent=trigger.urgent, tick=tick)
    except QueueError as error:
        extra = {"automation": trigger.automation_id, "position": trigger.position_id}
        logger.error("trigger not sent", extra={**extra, "why": str(error)})
