"""One watched account: what guards it, its positions as last read, and its armed triggers."""

import threading
from collections.abc import Iterable
from dataclasses import dataclass
from fractions import Fraction

from automations.crossing import Crossing
from automations.rules import margin_guard
from automations.rules.margin_guard import GuardConfig
from automations.triggers import Trigger
from exchange.auth import Credentials
from exchange.client import Client
from exchange.config import Network
from exchange.live import LiveView
from exchange.money import Exact
from exchange.position import PositionsSnapshot


@dataclass(frozen=True, slots=True, kw_only=True)
class Watched:
    """One account with its guards, as last read from the database."""

    account_id: int
    name: str
    network: Network
    client: Client
    credentials: Credentials
    guards: tuple[tuple[int, GuardConfig], ...]
    """Id and configuration of each."""


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

    def change(self, watched: Watched) -> None:
        """Take over new guards, and arm them on what is known."""
        with self._lock:
            self.watched = watched
            self._arm()

    def take(self, snapshot: PositionsSnapshot) -> None:
        """Take over a reading, or the confirmation of the last one.

        Every one arms anew: what fired and led to nothing fires again if the price still stands there.
        """
        self._live.put_positions(self.watched.account_id, snapshot)
        with self._lock:
            if self._snapshot is None or self._snapshot.at <= snapshot.at:
                self._snapshot = snapshot
                self._arm()

    def end(self) -> None:
        """Disarm, and take over nothing more."""
        with self._lock:
            self._ended = True
            self._crossing.disarm(self.watched.account_id)

    def risk_at(self, price: Exact) -> float:
        """Return how near harm the account is: 1 at liquidation, 0 without a position."""
        snapshot = self._snapshot
        distances = (
            [position.liquidation_distance_at(price) for position in snapshot.positions]
            if snapshot
            else []
        )
        return float(1 - max(Fraction(0), min(distances))) if distances else 0.0

    def _arm(self) -> None:
        if self._snapshot is not None and not self._ended:
            armed = triggers(self.watched, self._snapshot)
            self._crossing.arm(self.watched.account_id, armed)


def triggers(watched: Watched, snapshot: PositionsSnapshot) -> Iterable[Trigger]:
    """Return where each guard would act on each position."""
    for guard_id, config in watched.guards:
        for position in snapshot.positions:
            found = margin_guard.level(position, config)
            if found is not None:
                yield Trigger(
                    account_id=watched.account_id,
                    automation_id=guard_id,
                    position_id=position.id,
                    level=found,
                )
