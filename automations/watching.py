"""One watched account: its plans, its positions as last read, and its armed triggers."""

import logging
import threading
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from fractions import Fraction
from typing import Final

from django.conf import settings

from automations import cross_epoch
from automations.changes import Now
from automations.crossing import Crossing
from automations.planning import EntryPlan, Plan, PositionPlan
from automations.rules.margin_guard import GuardConfig
from automations.triggers import Level, Trigger
from exchange.auth import Credentials
from exchange.client import Client
from exchange.config import Network
from exchange.errors import ExchangeError
from exchange.live import LiveView
from exchange.market import Quote
from exchange.money import Exact
from exchange.position import CROSS, Position, PositionId, PositionsSnapshot, Regime

logger = logging.getLogger(__name__)

BALANCE_S: Final = 30.0
"""Between two readings of an account's balance, which no event announces."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Watched:
    """One account with its automations, as last read from the database."""

    account_id: int
    name: str
    network: Network
    client: Client
    credentials: Credentials
    plans: tuple[Plan, ...]

    @property
    def looks_at_cross(self) -> bool:
        return any(
            isinstance(plan, PositionPlan) and plan.regime is Regime.CROSS for plan in self.plans
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Taken:
    """What a reading tells."""

    is_new: bool
    """Whether its positions are other ones than those of the reading before."""
    after_unreadable: bool = False
    """Whether something in the reading before could not be read, or there was none."""
    cross_over_before: datetime | None = None
    """Before when all belongs to a cross position that is over; None: not told."""
    in_doubt: bool = False
    """It lacks what ran before: nothing that lasts follows until a later reading says the same."""


class Watch:
    """Takes over each newer reading of an account's positions: live view, armed triggers.

    May be called from several threads.
    """

    def __init__(self, watched: Watched, crossing: Crossing, *, live: LiveView) -> None:
        self.watched = watched
        self._crossing = crossing
        self._live = live
        self._lock = threading.Lock()
        self._ended = False
        self._snapshot: PositionsSnapshot | None = None
        self._read: PositionsSnapshot | None = None
        """As last read, without what was adopted since."""
        self._last_known: tuple[Position, ...] = ()
        """What runs, as it was when it could be read last."""
        self._lost_at: datetime | None = None
        """Of the newest reading, where it lacks what ran in the one before."""
        self._cross: PositionsSnapshot | None = None
        """As last known of the cross position."""
        self._cross_over_at: datetime | None = None
        """Of the reading that showed first that the cross position is over; a later one confirms it."""
        self._balance_due_s = float("-inf")
        self._began_at = datetime.now(UTC)
        self._blind: bool | None = None
        """Whether nobody can act; None: not known yet."""
        self.blind_since: datetime | None = None

    def change(self, watched: Watched) -> None:
        """Take over new plans, and arm them on what is known."""
        with self._lock:
            self.watched = watched
            self._arm()

    def take(self, snapshot: PositionsSnapshot) -> Taken:
        """Take over a reading, or the confirmation of the last one.

        Returns:
            what it tells beside the positions themselves.
        """
        account_id = self.watched.account_id
        self._live.put_positions(account_id, _of(Regime.ISOLATED, snapshot))
        if snapshot.with_cross:
            self._live.put_cross(account_id, _of(Regime.CROSS, snapshot))
        with self._lock:
            known = self._snapshot
            if known is not None and known.at > snapshot.at:
                return Taken(is_new=False)
            self._snapshot = snapshot
            if known is None or _runs_in(known) != _runs_in(snapshot):
                self._arm()
            before, self._read = self._read, snapshot
            if before is None or before.at < snapshot.at:
                lost = before is not None and snapshot.lost_since(before)
                self._lost_at = snapshot.at if lost else None
            over = self._cross_over(snapshot)
            return Taken(
                is_new=before is None or _runs_in(before) != _runs_in(snapshot),
                after_unreadable=before is None or bool(before.unreadable),
                cross_over_before=over,
                in_doubt=self._lost_at is not None or self._cross_over_at is not None,
            )

    def _cross_over(self, snapshot: PositionsSnapshot) -> datetime | None:
        """Return before when all belongs to a cross position that is over, once two readings say so."""
        over = cross_epoch.seen_between(self._cross, snapshot)
        first_at = self._cross_over_at
        if over is not None and (first_at is None or snapshot.at <= first_at):
            self._cross_over_at = first_at or snapshot.at
            return None
        self._cross_over_at = None
        self._remember_cross()
        return over

    def adopt(self, now: Now) -> None:
        """Take over one position as it is after an action of ours, ahead of the next reading.

        Whatever was read before that action, also what arrives only now, is older.
        """
        with self._lock:
            known = self._snapshot
            if known is None or known.at >= now.at:
                return
            positions = {each.id: each for each in known.positions} | {now.position.id: now.position}
            self._snapshot = PositionsSnapshot(
                positions=tuple(positions.values()),
                unreadable=tuple(row for row in known.unreadable if row.id != now.position.id),
                at=datetime.now(UTC),
                source=known.source,
                with_cross=known.with_cross,
            )
            self._cross_over_at = None
            self._remember_cross()
            self._arm(wakes=True)

    def _remember_cross(self) -> None:
        if self._snapshot is not None and self._snapshot.hidden(CROSS) is None:
            self._cross = self._snapshot

    @property
    def is_guarded(self) -> bool:
        return any(
            isinstance(plan, PositionPlan) and isinstance(plan.rule, GuardConfig)
            for plan in self.watched.plans
        )

    def check_sight(self, price: Quote | None, now: datetime) -> bool:
        """Note since when there are no positions or no price to act on; return whether that is news.

        Where the last reading showed no position there is nothing to protect, unless one ran in the
        reading before.
        """
        snapshot = self._snapshot
        if snapshot is not None and snapshot.is_empty and self._lost_at is None:
            return False
        oldest = min(
            snapshot.fresh_at if snapshot else self._began_at, price.at if price else self._began_at
        )
        blind = now - oldest > timedelta(seconds=settings.UNPROTECTED_AFTER_S)
        begins = not blind and (snapshot is None or price is None)
        if begins or blind is self._blind:
            return False
        self._blind, self.blind_since = blind, oldest if blind else None
        return True

    def is_dark(self, now: datetime) -> bool:
        """Whether its positions, if there may be any, were not seen for too long to act on them."""
        snapshot = self._snapshot
        if snapshot is not None and not snapshot.positions and self._lost_at is None:
            return False
        seen_at = snapshot.fresh_at if snapshot else self._began_at
        return now - seen_at > timedelta(seconds=settings.UNPROTECTED_AFTER_S)

    def wants_balance(self) -> bool:
        """Whether it is time to read the balance again; who is told so once is to do it.

        Never where nothing can be spent: there is no position, and no entry that may open one.
        """
        now_s = time.monotonic()
        with self._lock:
            if now_s < self._balance_due_s or not self._may_spend:
                return False
            self._balance_due_s = now_s + BALANCE_S
            return True

    @property
    def _may_spend(self) -> bool:
        held = self._snapshot is not None and not self._snapshot.is_empty
        return held or any(isinstance(plan, EntryPlan) for plan in self.watched.plans)

    def read_balance(self) -> None:
        """Have the balance in the live view, so that nobody who acts has to ask for it first."""
        try:
            self.watched.client.account()
        except ExchangeError as error:
            extra = {
                "account": self.watched.account_id,
                "account_name": self.watched.name,
                "error": str(error),
            }
            logger.warning("balance not read", extra=extra)

    def end(self) -> None:
        """Disarm, and take over nothing more."""
        with self._lock:
            self._ended = True
            self._crossing.disarm(self.watched.account_id)

    def risk_at(self, price: Exact) -> float:
        """Return how near harm the account is: 1 at liquidation, 0 without a position."""
        distances = [position.liquidation_distance_at(price) for position in self._last_known]
        return float(1 - max(Fraction(0), min(distances))) if distances else 0.0

    def _arm(self, *, wakes: bool = False) -> None:
        if self._ended:
            return
        if (snapshot := self._snapshot) is not None:
            # What cannot be read now stays armed as it was: a look at it may find it readable.
            hidden = [each for each in self._last_known if snapshot.hidden(each.id)]
            self._last_known = (*snapshot.positions, *hidden)
        armed = triggers(self.watched, self._last_known)
        self._crossing.arm(self.watched.account_id, armed, wakes=wakes)


def _runs_in(snapshot: PositionsSnapshot) -> object:
    """Return what can be compared of what runs."""
    return snapshot.positions, snapshot.unreadable


def triggers(watched: Watched, positions: Iterable[Position]) -> Iterator[Trigger]:
    """Return where each automation would act on each position, and where each entry would open."""
    for plan in watched.plans:
        if isinstance(plan, EntryPlan):
            for level in plan.rule.levels():
                yield _trigger(watched, plan, None, level)
            continue
        for position in positions:
            for level in plan.levels(position):
                yield _trigger(watched, plan, position.id, level)


def _trigger(watched: Watched, plan: Plan, position_id: PositionId | None, level: Level) -> Trigger:
    return Trigger(
        account_id=watched.account_id,
        automation_id=plan.automation_id,
        position_id=position_id,
        urgent=isinstance(plan, PositionPlan) and plan.urgent,
        by_index=isinstance(plan.rule, GuardConfig),
        level=level,
    )


def _of(regime: Regime, snapshot: PositionsSnapshot) -> PositionsSnapshot:
    """Return the part of the snapshot that the live view keeps under one name."""
    crosses = regime is Regime.CROSS
    return replace(
        snapshot,
        positions=tuple(each for each in snapshot.positions if each.regime is regime),
        unreadable=tuple(row for row in snapshot.unreadable if (row.id == CROSS) is crosses),
    )
