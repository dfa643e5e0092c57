"""What the stream process does: watch every account's positions and every network's price."""

import json
import logging
import threading
from collections import deque
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from itertools import groupby
from operator import attrgetter
from typing import Final

from django.conf import settings
from django.db import InterfaceError, OperationalError, connection
from kombu.exceptions import OperationalError as QueueError
from redis.exceptions import RedisError

from accounts.crypto import SealBrokenError
from accounts.gateway import (
    client_for,
    endpoints_of,
    live_view,
    redis_client,
    rest_client,
    server_clock,
)
from accounts.models import Account
from automations import changes, tasks
from automations.market import Market
from automations.models import MarginGuard
from automations.triggers import Trigger
from automations.watching import Watch, Watched
from exchange.config import Network
from exchange.errors import ExchangeError
from exchange.events import StreamEvent, TradeEvent
from exchange.market import Quote
from exchange.protocol import State
from exchange.session import StreamSession

logger = logging.getLogger(__name__)

HEARTBEAT_KEY: Final = "hubdefisats:stream:heartbeat"
HEARTBEAT_TTL_S: Final = 5
ROUND_S: Final = 1.0
READERS: Final = 8
"""Accounts read at once by REST."""
TRADES_TOPIC: Final = "futures/inverse/btc_usd/isolated/trades"


class Streaming:
    """Until stopped: keeps sessions open, positions read, triggers armed; sends what is crossed.

    Everything that touches the database happens on the thread that calls `run`.
    """

    def __init__(self, stopping: threading.Event) -> None:
        self._stopping = stopping
        self._markets: dict[Network, Market] = {}
        self._watches: dict[int, Watch] = {}
        self._sessions: dict[int, StreamSession] = {}
        self._refused: deque[tuple[int, str]] = deque()
        self._readers = ThreadPoolExecutor(READERS, thread_name_prefix="reader")
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

    def _round(self) -> None:
        try:
            self._suspend_refused()
            self._follow(watched_accounts())
        except (OperationalError, InterfaceError) as error:
            # What is known stays watched; the sweep rests as long as the database does.
            connection.close()
            logger.error("database out of reach", extra={"why": " ".join(str(error).split())})
        for watch in self._watches.values():
            watch.reread_if_older_than(settings.POSITIONS_REREAD_S)
        for market in self._markets.values():
            if market.is_silent:
                self._readers.submit(market.poll_if_silent)
        self._beat()

    def _follow(self, accounts: Iterable[Watched]) -> None:
        """Begin, change and end watching, so that exactly these accounts are watched."""
        wanted = {watched.account_id: watched for watched in accounts}
        for account_id, watched in wanted.items():
            known = self._watches.get(account_id)
            if known is not None and known.watched.client is not watched.client:
                self._end(account_id)
                known = None
            if known is None:
                self._begin(watched)
            elif known.watched != watched:
                known.change(watched)
        for account_id in self._watches.keys() - wanted.keys():
            self._end(account_id)

    def _begin(self, watched: Watched) -> None:
        market = self._markets.get(watched.network) or self._open(watched.network)
        watch = Watch(
            watched,
            market.crossing,
            live=live_view(),
            executor=self._readers,
            refused=self._refuse,
        )
        self._watches[watched.account_id] = watch
        watch.reread()
        if len(self._sessions) < settings.MOST_PRIVATE_SESSIONS:
            session = self._session(watch)
            self._sessions[watched.account_id] = session
            session.start()
        logger.info("watching", extra={"account": watched.account_id, "account_name": watched.name})

    def _end(self, account_id: int) -> None:
        self._watches.pop(account_id).end()
        session = self._sessions.pop(account_id, None)
        if session is not None:
            self._readers.submit(session.stop)
        logger.info("no longer watching", extra={"account": account_id})

    def _open(self, network: Network) -> Market:
        market = Market(
            network,
            endpoints_of(network),
            rest=rest_client(network),
            live=live_view(),
            server_clock=server_clock(network),
            fire=fire,
            silence_s=settings.DATA_MAX_AGE_S,
        )
        self._markets[network] = market
        market.start()
        return market

    def _session(self, watch: Watch) -> StreamSession:
        """Return a private session that has the positions read when they changed or may have."""
        watched = watch.watched

        def heard(event: StreamEvent) -> None:
            if isinstance(event, TradeEvent):
                watch.reread()

        def moved(state: State, why: str) -> None:
            extra = {"account": watched.account_id, "account_name": watched.name, "state": state}
            logger.info("account session moved", extra={**extra, "why": why})
            if state is State.REFUSED:
                self._refuse(watched.account_id, why)

        return StreamSession(
            endpoints_of(watched.network).stream_url,
            watched.credentials,
            [TRADES_TOPIC],
            heard,
            on_state=moved,
            catch_up=watch.read_now,
            server_clock=server_clock(watched.network),
            name=f"account {watched.account_id}",
        )

    def _changed(self, account_id: int) -> None:
        watch = self._watches.get(account_id)
        if watch is not None:
            watch.reread()

    def _refuse(self, account_id: int, why: str) -> None:
        self._refused.append((account_id, why))

    def _suspend_refused(self) -> None:
        while self._refused:
            account_id, why = self._refused[0]
            for account in Account.objects.filter(pk=account_id):  # none where it was deleted since
                account.suspend(why)
            self._refused.popleft()

    def _beat(self) -> None:
        """Tell the health check that this process turns, and what it sees."""
        seen = {
            "accounts": len(self._watches),
            "markets": {
                network: {
                    "state": market.state,
                    "silent": market.is_silent,
                    "armed": len(market.crossing),
                }
                for network, market in self._markets.items()
            },
        }
        with suppress(RedisError):  # without Redis there is nobody to tell either
            redis_client().set(HEARTBEAT_KEY, json.dumps(seen), ex=HEARTBEAT_TTL_S)

    def _stop(self) -> None:
        for session in self._sessions.values():
            session.stop(timeout_s=0.0)
        for market in self._markets.values():
            market.stop()
        for watch in self._watches.values():
            watch.end()
        self._readers.shutdown(wait=False, cancel_futures=True)


def watched_accounts() -> list[Watched]:
    """Return every account with an acting guard; one that cannot be opened is left out and logged."""
    guards = MarginGuard.objects.acting().order_by("account_id", "pk")
    found = []
    for account, of_account in groupby(guards, key=attrgetter("account")):
        try:
            found.append(_watched(account, of_account))
        except (ExchangeError, SealBrokenError, ValueError) as error:
            extra = {"account": account.pk, "account_name": account.name, "error": str(error)}
            logger.error("account cannot be watched", extra=extra)
    return found


def _watched(account: Account, guards: Iterable[MarginGuard]) -> Watched:
    return Watched(
        account_id=account.pk,
        name=account.name,
        network=Network(account.network),
        client=client_for(account),
        credentials=account.credentials(),
        guards=tuple((guard.pk, guard.config()) for guard in guards),
    )


def fire(trigger: Trigger, tick: Quote) -> None:
    """Send one crossed trigger to the workers.

    Where the queue is out of reach nothing is repeated: the next reading of the positions arms the
    trigger again, and the sweep looks without one.
    """
    try:
        tasks.act.delay(trigger.automation_id, trigger.position_id, tasks.tick_as_json(tick))
    except QueueError as error:
        extra = {"automation": trigger.automation_id, "position": trigger.position_id}
        logger.error("trigger not sent", extra={**extra, "why": str(error)})
