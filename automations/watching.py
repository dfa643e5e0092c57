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
from exchange.auth import Credentials
from exchange.client import Client
from exchange.config import Network
from exchange.errors import ExchangeError, KeyRefusedError
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
    credentials: Credentials
    guards: tuple[tuple[int, GuardConfig], ...]
    """Id and configuration of each."""


class Watch:
    """One account's positions, read again and again; each reading arms its triggers.

    Readings run one at a time on `executor`. Asking during a reading makes one more follow it, for what
    changed meanwhile may have been missed.

    Args:
        refused: told the account's id and a sentence when the exchange refuses its key.
    """

    def __init__(
        self,
        watched: Watched,
        crossing: Crossing,
        *,
        live: LiveView,
        executor: Executor,
        refused: Callable[[int, str], None],
    ) -> None:
        self.watched = watched
        self._crossing = crossing
        self._live = live
        self._executor = executor
        self._refused = refused
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

    def reread_if_older_than(self, seconds: float) -> None:
        if time.monotonic() - self._read_at >= seconds:
            self.reread()

    def change(self, watched: Watched) -> None:
        """Take over new guards, and arm them on what is known."""
        with self._lock:
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

    def read_now(self) -> None:
        """Read the positions and arm what they need.

        Raises:
            ExchangeError: they could not be read. What is armed stays armed: unknown is not empty.
        """
        self._read_at = time.monotonic()
        snapshot = self.watched.client.rest.positions()
        self._live.put_positions(self.watched.account_id, snapshot)
        with self._lock:
            if self._snapshot is None or self._snapshot.at <= snapshot.at:
                self._snapshot = snapshot
            self._arm()

    def _read(self) -> None:
        try:
            self.read_now()
        except KeyRefusedError as error:
            self._refused(self.watched.account_id, str(error))
        except ExchangeError as error:
            fields = {"account": self.watched.account_id, "account_name": self.watched.name}
            logger.warning("positions not read", extra={**fields, "error": str(error)})

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
