"""Which accounts are watched, and keeping their positions read and their triggers armed."""

import logging
import threading
import time
from collections.abc import Callable, Iterable
from concurrent.futures import Executor
from dataclasses import dataclass

from automations.crossing import Crossing
from automations.rules import margin_guard
from automations.rules.margin_guard import GuardConfig
from automations.triggers import Trigger
from exchange.client import Client
from exchange.config import Network
from exchange.errors import ExchangeError
from exchange.live import LiveView
from exchange.position import PositionsSnapshot

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Watched:
    """One account with its guards, as last read from the database."""

    account_id: int
    name: str
    network: Network
    client: Client
    guards: tuple[tuple[int, GuardConfig], ...]
    """Id and configuration of each."""


class Watch:
    """One account's positions, read again and again; each reading arms its triggers.

    Readings run one at a time on `executor`. Asking during a reading makes one more follow it, for what
    changed meanwhile may have been missed.
    """

    def __init__(
        self, watched: Watched, crossing: Crossing, *, live: LiveView, executor: Executor
    ) -> None:
        self.watched = watched
        self._crossing = crossing
        self._live = live
        self._executor = executor
        self._lock = threading.Lock()
        self._reading = False
        self._wanted = False
        self._ended = False
        self._snapshot: PositionsSnapshot | None = None
        self._read_at = float("-inf")

    def reread(self) -> None:
        """Read the positions soon."""
        with self._lock:
            self._wanted = True
            if self._reading or self._ended:
                return
            self._reading = True
        self._executor.submit(self._read_while_wanted)

    def reread_if_older_than(
        self, seconds: float, *, clock: Callable[[], float] = time.monotonic
    ) -> None:
        if clock() - self._read_at >= seconds:
            self.reread()

    def change(self, watched: Watched) -> None:
        """Take over new guards, and arm them on what is known."""
        self.watched = watched
        self._arm()

    def end(self) -> None:
        """Disarm, and read no more."""
        with self._lock:
            self._ended = True
            self._crossing.disarm(self.watched.account_id)

    def _read_while_wanted(self) -> None:
        while True:
            with self._lock:
                if not self._wanted or self._ended:
                    self._reading = False
                    return
                self._wanted = False
            self._read()

    def _read(self) -> None:
        self._read_at = time.monotonic()
        try:
            snapshot = self.watched.client.rest.positions()
        except ExchangeError as error:
            # Unknown is not empty: what is armed stays armed.
            logger.warning(
                "positions not read",
                extra={
                    "account": self.watched.account_id,
                    "account_name": self.watched.name,
                    "error": str(error),
                },
            )
            return
        self._live.put_positions(self.watched.account_id, snapshot)
        self._snapshot = snapshot
        self._arm()

    def _arm(self) -> None:
        snapshot = self._snapshot
        if snapshot is None:
            return
        armed = list(triggers(self.watched, snapshot))
        with self._lock:
            if not self._ended:
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
