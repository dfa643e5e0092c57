"""What one stream process does for the accounts it leased: sessions, readings, triggers, prices."""

import logging
import threading
from collections import deque
from collections.abc import Callable, Collection, Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from typing import Any

from django.conf import settings
from django.utils import timezone

from accounts.gateway import (
    admission,
    endpoints_of,
    live_view,
    rest_client,
    server_clock,
    stream_caps,
)
from automations import journal
from automations.changes import CooldownEnds, Word
from automations.known_positions import Reading
from automations.leasing import Fence
from automations.market import Market
from automations.reading import read_all
from automations.triggers import Trigger
from automations.watching import Watch, Watched
from exchange.auth import Credentials
from exchange.config import Network
from exchange.market import Quote
from exchange.pool import Member, SessionPool
from exchange.position import PositionsSnapshot, Regime
from exchange.topics import CROSS_POSITION, ISOLATED_TRADES

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Told:
    """What the pools told of an account, to be written down by the thread with the database."""

    account_id: int
    event: str
    why: str
    credentials: Credentials | None = None
    """Which ones were refused: others may be in their place by now."""


class Serving:
    """Watches accounts while the fence stands; has no database.

    The pools' threads tell what they find out by the four methods of `exchange.pool.Listener`. A
    network's prices are followed from its first account on; a process without accounts follows none.

    Args:
        fence: where it does not stand, no account is taken on and nothing is fired.
        fire: sends a crossed trigger on its way; called by one thread for each network.
    """

    def __init__(self, fence: Fence, fire: Callable[[Watched, Trigger, Quote], None]) -> None:
        self._fence = fence
        self._fire = fire
        self._lock = threading.RLock()
        """Accounts begin on one thread, and may end on that of the fence."""
        self._markets: dict[Network, Market] = {}
        self._pools: dict[Network, SessionPool] = {}
        self._watches: dict[int, Watch] = {}
        self._pollers = ThreadPoolExecutor(thread_name_prefix="prices")
        self._balances = ThreadPoolExecutor(4, thread_name_prefix="balances")
        self._stopping = threading.Event()
        self.told: deque[Told] = deque()
        self.cross_over: deque[tuple[int, datetime]] = deque()
        """Accounts, and before when all belongs to a cross position of theirs that is over."""
        self.readings: deque[Reading] = deque()
        """What is new about positions, to be written down by the thread with the database."""

    @property
    def accounts(self) -> set[int]:
        with self._lock:
            return set(self._watches)

    def known(self, account_id: int) -> Watched | None:
        """Return an account as it is watched; None where it is not."""
        watch = self._watches.get(account_id)
        return watch.watched if watch else None

    # What the pools tell

    def positions(self, account_id: int, snapshot: PositionsSnapshot) -> None:
        watch = self._watches.get(account_id)
        if watch is None:
            return
        taken = watch.take(snapshot)
        if taken.in_doubt:
            self._pools[watch.watched.network].reread(account_id)
        if taken.cross_over_before is not None:
            self.cross_over.append((account_id, taken.cross_over_before))
        if taken.is_new:
            regimes = set(Regime) if watch.watched.looks_at_cross else {Regime.ISOLATED}
            self.readings.append(
                Reading(
                    account_id=account_id,
                    snapshot=snapshot,
                    regimes=frozenset(regimes),
                    after_unreadable=taken.after_unreadable,
                )
            )
        if not self._stopping.is_set() and watch.wants_balance():
            self._balances.submit(watch.read_balance)
        market = self._markets[watch.watched.network]
        if market.newest is not None:
            risk = watch.risk_at(market.newest.price)
            self._pools[watch.watched.network].set_risk(account_id, risk)

    def refused(self, account_id: int, credentials: Credentials, why: str) -> None:
        told = Told(account_id=account_id, event=journal.KEY_REFUSED, why=why, credentials=credentials)
        self.told.append(told)

    def fallback_activated(self, account_id: int, why: str) -> None:
        self.told.append(Told(account_id=account_id, event="fallback_activated", why=why))

    def stream_recovered(self, account_id: int) -> None:
        self.told.append(Told(account_id=account_id, event="stream_recovered", why=""))

    # Whom to watch

    def follow(self, accounts: Iterable[Watched]) -> None:
        """Begin to watch these accounts, or take over what changed of them."""
        for watched in accounts:
            with self._lock:
                known = self.known(watched.account_id)
                if known is not None and known.network is not watched.network:
                    self.unfollow([watched.account_id])
                    known = None
                if known is None:
                    self._begin(watched)
                else:
                    self._go_on(watched, known)

    def unfollow(self, accounts: Collection[int]) -> None:
        """End watching these accounts: what is armed for them is gone when this returns."""
        with self._lock:
            ended = [watch for each in accounts if (watch := self._watches.pop(each, None)) is not None]
        for watch in ended:
            watch.end()
            self._pools[watch.watched.network].unfollow(watch.watched.account_id)
            extra = {"account": watch.watched.account_id, "account_name": watch.watched.name}
            logger.info("no longer watching", extra=extra)

    def heed(self, word: Word) -> None:
        """Take over what a worker says of an account."""
        watch = self._watches.get(word.account_id)
        if watch is None:
            return
        network = watch.watched.network
        if isinstance(word, CooldownEnds):
            for_s = (word.until - timezone.now()).total_seconds()
            self._markets[network].crossing.cool_down(word.automation_id, word.position_id, for_s)
            return
        if word.now is not None:
            watch.adopt(word.now)
        self._pools[network].reread(word.account_id)

    def calmest(self, accounts: Collection[int], count: int) -> list[int]:
        """Return those of the accounts that are the least at risk."""
        return sorted(accounts, key=self._risk)[:count]

    def blind_since(self) -> dict[int, datetime | None]:
        """Return, by account, since when its guards see too little to act; None: they see again.

        Only accounts for which that changed since it was asked last.
        """
        now, changed = datetime.now(UTC), {}
        for account_id, watch in list(self._watches.items()):
            price = self._markets[watch.watched.network].newest
            if watch.is_guarded and watch.check_sight(price, now):
                changed[account_id] = watch.blind_since
        return changed

    def poll_silent_prices(self) -> None:
        for market in self._markets.values():
            if market.is_silent:
                self._pollers.submit(market.poll_if_silent)

    def seen(self) -> dict[str, Any]:
        """Return how everything fares, for the heartbeat."""
        return {
            "accounts": len(self._watches),
            "markets": {
                network: {
                    "state": market.state,
                    "silent": market.is_silent,
                    "prices": market.sight,
                    "armed": len(market.crossing),
                    "pool": asdict(self._pools[network].counts()),
                    "sight": self._sight_of(network),
                }
                for network, market in self._markets.items()
            },
        }

    def _sight_of(self, network: Network) -> dict[str, Any]:
        """Return how many accounts are served by stream, how many by REST, and which are not seen."""
        now, watches = datetime.now(UTC), list(self._watches.items())
        of_network = [(key, watch) for key, watch in watches if watch.watched.network is network]
        dark = [key for key, watch in of_network if watch.is_dark(now)]
        live = self._pools[network].counts().live
        return {"live": live, "polled": max(0, len(of_network) - live - len(dark)), "dark": dark}

    def stop(self) -> None:
        self._stopping.set()
        self.unfollow(self.accounts)
        for pool in self._pools.values():
            pool.stop(timeout_s=2.0)
        for market in self._markets.values():
            market.stop()
        self._pollers.shutdown(wait=False, cancel_futures=True)
        self._balances.shutdown(wait=False, cancel_futures=True)

    def _begin(self, watched: Watched) -> None:
        if not self._fence.stands:
            return
        if watched.network not in self._markets:
            self._open(watched.network)
        watch = Watch(watched, self._markets[watched.network].crossing, live=live_view())
        self._watches[watched.account_id] = watch
        watch.change(watched)  # entries need no position to wait for
        self._pools[watched.network].follow(_member(watched))
        logger.info("watching", extra={"account": watched.account_id, "account_name": watched.name})

    def _go_on(self, watched: Watched, known: Watched) -> None:
        if known != watched:
            self._watches[watched.account_id].change(watched)
            self._pools[watched.network].follow(_member(watched))

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
            fire=self._fire_for_own,
            silence_s=settings.DATA_MAX_AGE_S,
            spike_percent=settings.SPIKE_PERCENT,
        )
        pool = SessionPool(
            endpoints,
            self,
            caps=stream_caps(),
            server_clock=server_clock(network),
            admission=admitted,
            readers=settings.STREAM_READERS,
        )
        self._markets[network], self._pools[network] = market, pool
        market.start()
        pool.start()

    def _fire_for_own(self, trigger: Trigger, tick: Quote) -> None:
        """Fire unless the account was given up while the trigger was on its way here."""
        watched = self.known(trigger.account_id)
        if self._fence.stands and watched is not None:
            self._fire(watched, trigger, tick)

    def _risk(self, account_id: int) -> float:
        watch = self._watches.get(account_id)
        newest = self._markets[watch.watched.network].newest if watch else None
        return watch.risk_at(newest.price) if watch and newest else 0.0


def _member(watched: Watched) -> Member:
    if not watched.looks_at_cross:
        return Member(
            account_id=watched.account_id,
            name=watched.name,
            credentials=watched.credentials,
            read=watched.client.rest.positions,
        )
    return Member(
        account_id=watched.account_id,
        name=watched.name,
        credentials=watched.credentials,
        read=lambda: read_all(watched.client),
        topics=(ISOLATED_TRADES, CROSS_POSITION),
    )
