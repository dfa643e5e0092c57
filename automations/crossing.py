"""The way of a tick: from the socket's thread to the queue, past the trigger book."""

import threading
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Final

from automations.triggers import Direction, Trigger, TriggerBook
from exchange.market import Quote

RESTS_S: Final = 2.0
"""A trigger that fired is not armed again for so long, unless its level moved."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Range:
    """The ticks since the last look: what lies between the lowest and the highest was crossed."""

    lowest: Quote
    highest: Quote
    newest: Quote

    def with_tick(self, tick: Quote) -> "Range":
        return Range(
            lowest=min(self.lowest, tick, key=lambda quote: quote.price),
            highest=max(self.highest, tick, key=lambda quote: quote.price),
            newest=tick,
        )


class TickCell:
    """One cell between the socket and the trigger book: a slow reader sees fewer, wider ranges.

    Nothing piles up and no crossing is lost, however long the reader takes.
    """

    def __init__(self) -> None:
        self._filled = threading.Condition()
        self._range: Range | None = None

    def put(self, tick: Quote) -> None:
        with self._filled:
            seen = self._range
            self._range = (
                seen.with_tick(tick) if seen else Range(lowest=tick, highest=tick, newest=tick)
            )
            self._filled.notify()

    def take(self, *, timeout_s: float) -> Range | None:
        """Return everything since the last take; None when nothing came in time."""
        with self._filled:
            self._filled.wait_for(lambda: self._range is not None, timeout_s)
            taken, self._range = self._range, None
        return taken


class Departures:
    """Crossed triggers on their way to the queue: a broker that blocks holds back no price.

    What saves a position from liquidation leaves before anything else. A trigger that fires again
    while it still waits leaves once, with its newest tick; so no more can wait than is armed.
    """

    def __init__(self) -> None:
        self._filled = threading.Condition()
        self._waiting: tuple[dict[Trigger, Quote], dict[Trigger, Quote]] = ({}, {})

    def put(self, trigger: Trigger, tick: Quote) -> None:
        with self._filled:
            self._waiting[not trigger.urgent][trigger] = tick
            self._filled.notify()

    def take(self, *, timeout_s: float) -> tuple[Trigger, Quote] | None:
        """Return the next to leave, the oldest first; None when there was none in time."""
        with self._filled:
            self._filled.wait_for(lambda: any(self._waiting), timeout_s)
            for waiting in filter(None, self._waiting):
                trigger = next(iter(waiting))
                return trigger, waiting.pop(trigger)
        return None


class Crossing:
    """A trigger book that several threads may use: one weighs ticks, others arm.

    What just fired is not armed again at the same level before a worker had time to act on it: each
    reading of an account arms it anew, and one action brings several readings.

    Args:
        fire: takes one crossed trigger with its tick.
        clock: returns seconds from any fixed start, never going back.
    """

    def __init__(
        self,
        fire: Callable[[Trigger, Quote], None],
        *,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._fire = fire
        self._clock = clock
        self._book = TriggerBook()
        self._lock = threading.Lock()
        self._fired_s: dict[Trigger, float] = {}

    def __len__(self) -> int:
        return len(self._book)

    def arm(self, account_id: int, triggers: Iterable[Trigger]) -> None:
        """Replace everything armed for one account."""
        armed = list(triggers)  # computed here, so that no tick waits for it
        with self._lock:
            self._book.arm(account_id, [each for each in armed if not self._rests(each)])

    def _rests(self, trigger: Trigger) -> bool:
        """Whether it fired a moment ago; the first reading after that moment arms it again."""
        if trigger not in self._fired_s:
            return False
        if self._clock() < self._fired_s[trigger] + RESTS_S:
            return True
        del self._fired_s[trigger]
        return False

    def disarm(self, account_id: int) -> None:
        with self._lock:
            self._book.disarm(account_id)

    def look(self, ticks: Range) -> int:
        """Fire what the ticks reached; return how many triggers that was.

        The lock is not held while firing, so that arming never waits for the queue.
        """
        with self._lock:
            crossed = self._book.cross(ticks.lowest.price, ticks.highest.price)
            if crossed:
                self._remember(crossed)
        for trigger in crossed:
            fell = trigger.level.direction is Direction.FALLING
            self._fire(trigger, ticks.lowest if fell else ticks.highest)
        return len(crossed)

    def _remember(self, crossed: Iterable[Trigger]) -> None:
        now_s = self._clock()
        self._fired_s = {it: at_s for it, at_s in self._fired_s.items() if now_s < at_s + RESTS_S}
        self._fired_s.update(dict.fromkeys(crossed, now_s))
