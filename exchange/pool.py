"""Many accounts kept fresh through few sockets: who gets one, who is polled, who fell back."""

import logging
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Final, Protocol

from exchange.admission import Admission, Dials
from exchange.allotment import allot
from exchange.auth import Credentials
from exchange.config import (
    PRIVATE_TIMEOUTS,
    USUAL_CAPS,
    USUAL_PACE,
    Endpoints,
    PoolPace,
    StreamCaps,
    Timeouts,
)
from exchange.dialling import DialQueue
from exchange.errors import ExchangeError, KeyRefusedError, TransientError
from exchange.events import (
    BadFrame,
    CrossOrderEvent,
    CrossPositionEvent,
    Heard,
    StreamEvent,
    TradeEvent,
)
from exchange.keeping import Keeping
from exchange.position import PositionsSnapshot
from exchange.protocol import State
from exchange.rota import Rota
from exchange.serverclock import ServerClock
from exchange.session import StreamSession
from exchange.topics import ISOLATED_TRADES

logger = logging.getLogger(__name__)

_TURN_S: Final = 0.25
_REST: Final = 20
"""Times what a turn took: so long the pool rests before the next."""
_WATCHED: Final = (TradeEvent, CrossOrderEvent, CrossPositionEvent, BadFrame)
"""What we cannot read happened all the same."""


class Listener(Protocol):
    """Whoever is told what the pool finds out. Called from several threads; must return soon."""

    def positions(self, account_id: int, snapshot: PositionsSnapshot) -> None:
        """A newer reading, or the confirmation of the last one."""

    def refused(self, account_id: int, credentials: Credentials, why: str) -> None:
        """The exchange did not accept these just now; it is asked again, at growing intervals."""

    def fallback_activated(self, account_id: int, why: str) -> None:
        """The stream is not to be believed; REST takes over."""

    def stream_recovered(self, account_id: int) -> None:
        """The stream has taken back."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Member:
    """One account to be kept fresh."""

    account_id: int
    name: str
    """What people call the account; for the log."""
    credentials: Credentials
    read: Callable[[], PositionsSnapshot]
    """Reads the positions by REST; raises ExchangeError."""
    topics: tuple[str, ...] = (ISOLATED_TRADES,)
    """What tells that they changed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PoolCounts:
    """How the accounts fare."""

    members: int
    sockets: int
    live: int
    fallback: int
    refused: int
    """Whose key was not accepted when it was last used."""


@dataclass(slots=True, kw_only=True)
class _Account:
    member: Member
    keeping: Keeping
    risk: float = 0.0
    session: StreamSession | None = None
    round: int = 0
    """Which of its sessions counts; the state of another one is old news."""
    refused: bool = False
    why: str = "the stream session is not live yet"


def _is_same(known: Member, member: Member) -> bool:
    """Whether a session that serves the one can go on for the other."""
    return known.credentials == member.credentials and known.topics == member.topics


def _fields(member: Member) -> dict[str, object]:
    return {"account": member.account_id, "account_name": member.name}


class SessionPool:
    """Keeps the positions of all followed accounts fresh: by stream where there is one, else by REST.

    One account's failure touches no other: each has its own session thread, readings run on
    `readers` threads, one at a time for an account.

    Args:
        listener: told of what is found out.
        admission: shared with whoever else dials from this address; by default one of its own.
        clock: returns seconds from any fixed start, never going back.
    """

    def __init__(
        self,
        endpoints: Endpoints,
        listener: Listener,
        *,
        caps: StreamCaps = USUAL_CAPS,
        pace: PoolPace = USUAL_PACE,
        timeouts: Timeouts = PRIVATE_TIMEOUTS,
        server_clock: ServerClock | None = None,
        admission: Admission | None = None,
        readers: int = 8,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._endpoints = endpoints
        self._listener = listener
        self._caps = caps
        self._pace = pace
        self._timeouts = timeouts
        self._server_clock = server_clock or ServerClock(clock=clock)
        self._admission = admission or Admission(caps, probes=timeouts.probes, clock=clock)
        self._readers = ThreadPoolExecutor(readers, thread_name_prefix="positions")
        self._clock = clock
        self._lock = threading.RLock()
        self._accounts: dict[int, _Account] = {}
        self._rota = Rota(pace)
        self._leaving: list[StreamSession] = []
        self._queue = DialQueue(self._risk_of, clock=clock)
        self._swapped_s = float("-inf")
        self._wake = threading.Event()
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="session pool", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self, timeout_s: float = 5.0) -> bool:
        """End all sessions and readings; return whether all ended in time."""
        ends_at = self._clock() + timeout_s
        self._stopping.set()
        self._wake.set()
        self._thread.join(timeout_s)
        with self._lock:
            for account_id in list(self._accounts):
                self.unfollow(account_id)
            leaving = list(self._leaving)
        self._readers.shutdown(wait=False, cancel_futures=True)
        ended = [each.stop(max(0.0, ends_at - self._clock())) for each in leaving]
        return all(ended) and not self._thread.is_alive()

    def follow(self, member: Member) -> None:
        """Keep this account fresh from now on; one followed already goes on unless its key changed."""
        with self._lock:
            known = self._accounts.get(member.account_id)
            if known and _is_same(known.member, member):
                known.member = member
                return
            if known:
                self._release(known)
            keeping = Keeping(pace=self._pace, since_s=self._clock())
            self._accounts[member.account_id] = _Account(member=member, keeping=keeping)
        self._wake.set()

    def unfollow(self, account_id: int) -> None:
        with self._lock:
            account = self._accounts.pop(account_id, None)
            if account:
                self._release(account)

    def set_risk(self, account_id: int, risk: float) -> None:
        """Say how near an account is to harm: of two, the one with more gets a socket first."""
        with self._lock:
            if account_id in self._accounts:
                self._accounts[account_id].risk = risk

    def reread(self, account_id: int) -> None:
        """Read this account's positions now: they were just changed."""
        with self._lock:
            if account_id in self._accounts:
                self._accounts[account_id].keeping.changed = True
        self._wake.set()

    def counts(self) -> PoolCounts:
        with self._lock:
            accounts = list(self._accounts.values())
            return PoolCounts(
                members=len(accounts),
                sockets=self._sockets(),
                live=sum(each.keeping.live for each in accounts),
                fallback=sum(each.keeping.fallback for each in accounts),
                refused=sum(each.refused for each in accounts),
            )

    def _run(self) -> None:
        while not self._stopping.is_set():
            begun_s = self._clock()
            try:
                self._turn()
            except Exception:  # the thread's outermost loop: the next turn may fare better
                logger.exception("session pool failed")
            # A turn costs by the accounts, and every reading of one asks for the next.
            self._stopping.wait(min(_TURN_S, _REST * (self._clock() - begun_s)))
            self._wake.wait(_TURN_S)
            self._wake.clear()

    def _turn(self) -> None:
        now_s = self._clock()
        with self._lock:
            self._allot(now_s)
            fallen = [each for each in self._accounts.values() if self._falls_back(each, now_s)]
            kept = {key: each.keeping for key, each in self._accounts.items()}
            due = [self._accounts[key] for key in self._rota.due(kept, now_s)]
            for account in due:
                account.keeping.reading = True
        for account in due:
            self._readers.submit(self._read, account)
        for account in fallen:
            self._listener.fallback_activated(account.member.account_id, account.why)

    def _falls_back(self, account: _Account, now_s: float) -> bool:
        """Note that a session is not to be believed any more; one that never dialled cannot fail."""
        keeping, session = account.keeping, account.session
        if session is None or session.connections == 0:
            return False
        falls_back = keeping.is_lost(now_s) and not keeping.fallback
        keeping.fallback |= falls_back
        return falls_back

    # Sockets

    def _allot(self, now_s: float) -> None:
        self._leaving = [each for each in self._leaving if not each.ended]
        wanting = {
            account_id: each.risk
            for account_id, each in self._accounts.items()
            if not each.keeping.is_idle(now_s)
        }
        holding = {key for key, each in self._accounts.items() if each.session is not None}
        moves = allot(
            wanting,
            holding,
            sockets=self._caps.private_sockets - len(self._leaving),
            swap_margin=self._pace.swap_margin,
            may_swap=not self._leaving and now_s - self._swapped_s >= self._pace.swap_s,
        )
        for account_id in moves.stop:
            self._swapped_s = now_s
            self._release(self._accounts[account_id])
        for account_id in moves.start:
            self._open(self._accounts[account_id], now_s)

    def _sockets(self) -> int:
        held = sum(each.session is not None for each in self._accounts.values())
        return held + sum(not each.ended for each in self._leaving)

    def _open(self, account: _Account, now_s: float) -> None:
        account_id = account.member.account_id
        account.keeping.since_s = now_s
        account.round += 1
        this = account.round
        account.session = StreamSession(
            self._endpoints.stream_url,
            account.member.credentials,
            account.member.topics,
            lambda event: self._heard(account, event),
            on_state=lambda state, why: self._moved(account, this, state, why),
            catch_up=lambda: self._catch_up(account),
            gate=Dials(
                self._admission,
                authenticates=True,
                alone=self._is_alone,
                turn_s=lambda: self._turn_s(account_id),
            ),
            timeouts=self._timeouts,
            server_clock=self._server_clock,
            ca_file=self._endpoints.ca_file,
            proxy=self._endpoints.proxy,
            name=f"account {account_id}",
            clock=self._clock,
        )
        account.session.start()

    def _release(self, account: _Account) -> None:
        """Give the socket back; it counts as held until its thread has ended."""
        session, account.session = account.session, None
        account.round += 1
        account.keeping.live = account.keeping.fallback = False
        self._queue.leave(account.member.account_id)
        if session is not None:
            session.stop(timeout_s=0.0)
            self._leaving.append(session)

    def _turn_s(self, account_id: int) -> float:
        with self._lock:
            return self._queue.wait_s(account_id)

    def _risk_of(self, account_id: int) -> float:
        account = self._accounts.get(account_id)
        return account.risk if account else -1.0

    def _is_alone(self) -> bool:
        with self._lock:
            return not any(each.keeping.live for each in self._accounts.values())

    # What comes in

    def _moved(self, account: _Account, this: int, state: State, why: str) -> None:
        keeping, member = account.keeping, account.member
        recovered = False
        with self._lock:
            if account.round != this:
                return
            keeping.live = state is State.LIVE
            if state is State.DIALLING:
                self._queue.dials(member.account_id)
                if account.session and account.session.connections == 0:
                    keeping.since_s = self._clock()  # its time in the queue was no failure
            if keeping.live:
                self._queue.is_live(member.account_id)
                account.refused = False
                keeping.heard_s = self._clock()
                recovered, keeping.fallback = keeping.fallback, False
            account.why = why or account.why
        logger.info("account session moved", extra=_fields(member) | {"state": state, "why": why})
        if recovered:
            self._listener.stream_recovered(member.account_id)
        if state is State.REFUSED:
            self._refuse(account, why)

    def _heard(self, account: _Account, event: StreamEvent) -> None:
        confirmed = None
        with self._lock:
            now_s = self._clock()
            if isinstance(event, Heard):
                confirmed = account.keeping.confirmed(event.asked_at, now_s)
            elif isinstance(event, _WATCHED):
                account.keeping.happened(event.received_at, now_s)
                self._wake.set()
        if confirmed is not None:
            self._listener.positions(account.member.account_id, confirmed)

    def _catch_up(self, account: _Account) -> None:
        """Read what was missed; without it the session must not count as live."""
        self._take(account, account.member.read())

    def _read(self, account: _Account) -> None:
        with self._lock:
            account.keeping.begin_reading(self._clock())
        try:
            self._take(account, account.member.read())
        except ExchangeError as error:
            with self._lock:
                account.keeping.failed(error.after_s if isinstance(error, TransientError) else 0.0)
            logger.warning("positions not read", extra=_fields(account.member) | {"why": str(error)})
            if isinstance(error, KeyRefusedError):
                self._refuse(account, str(error))
        except Exception:  # the thread's outermost call: a fault of ours must not stop the readings
            logger.exception("positions not taken over", extra=_fields(account.member))
        finally:
            with self._lock:
                account.keeping.reading = False
                if account.keeping.changed:  # meanwhile: it is due at once
                    self._wake.set()

    def _take(self, account: _Account, snapshot: PositionsSnapshot) -> None:
        with self._lock:
            followed = self._accounts.get(account.member.account_id) is account
            newest = account.keeping.read(snapshot, self._clock())
            account.refused = False
        if newest and followed:
            self._listener.positions(account.member.account_id, snapshot)

    def _refuse(self, account: _Account, why: str) -> None:
        """Tell it and go on: what the exchange refuses now it may accept in a moment."""
        with self._lock:
            if self._accounts.get(account.member.account_id) is not account:
                return
            account.refused = True
            member = account.member
        self._listener.refused(member.account_id, member.credentials, why)
