"""The way of a tick: from the socket's thread to the queue, past the trigger book."""

import threading
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from heapq import heappop, heappush
from itertools import count
from math import inf
from typing import Final

from automations.triggers import Direction, Trigger, TriggerBook
from exchange.formulas import Side
from exchange.market import Quote
from exchange.money import UsdPerBtc
from exchange.position import PositionId

RESTS_S: Final = 1.0
"""A trigger that fired is looked at again after so long, unless its level moved before."""
LONGEST_REST_S: Final = 4.0
"""The rests double up to this while the price stands and every look led to nothing."""
LONGEST_COOLDOWN_S: Final = 60.0
"""No word of a cooldown holds a trigger back for longer."""
_SHORTEST_S: Final = 0.05
"""A worker whose clock is a little behind would refuse again at once, and again."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Range:
    """The ticks since the last look: what lies between the lowest and the highest was crossed."""

    lowest: Quote
    highest: Quote
    lowest_of_both: Quote
    """By the lower of its last price and its index."""
    highest_of_both: Quote
    newest: Quote

    @classmethod
    def of(cls, tick: Quote) -> "Range":
        return cls(lowest=tick, highest=tick, lowest_of_both=tick, highest_of_both=tick, newest=tick)

    def with_tick(self, tick: Quote) -> "Range":
        return Range(
            lowest=min(self.lowest, tick, key=_price),
            highest=max(self.highest, tick, key=_price),
            lowest_of_both=min(self.lowest_of_both, tick, key=_lower),
            highest_of_both=max(self.highest_of_both, tick, key=_upper),
            newest=tick,
        )

    def reaching(self, trigger: Trigger) -> Quote:
        """Return the tick that reached a trigger."""
        if trigger.level.direction is Direction.FALLING:
            return self.lowest_of_both if trigger.by_index else self.lowest
        return self.highest_of_both if trigger.by_index else self.highest


def _price(quote: Quote) -> UsdPerBtc:
    return quote.price


def _lower(quote: Quote) -> UsdPerBtc:
    return quote.worst_for(Side.BUY)


def _upper(quote: Quote) -> UsdPerBtc:
    return quote.worst_for(Side.SELL)


def _seen_by(trigger: Trigger, quote: Quote) -> UsdPerBtc:
    """Return the price of a quote by which a trigger goes."""
    if not trigger.by_index:
        return quote.price
    return _lower(quote) if trigger.level.direction is Direction.FALLING else _upper(quote)


def _is_worse(trigger: Trigger, price: UsdPerBtc, than: UsdPerBtc) -> bool:
    return price < than if trigger.level.direction is Direction.FALLING else price > than


class TickCell:
    """One cell between the socket and the trigger book: a slow reader sees fewer, wider ranges.

    Nothing piles up and no crossing is lost, however long the reader takes.
    """

    def __init__(self) -> None:
        self._filled = threading.Condition()
        self._range: Range | None = None
        self._woken = False

    def put(self, tick: Quote) -> None:
        with self._filled:
            seen = self._range
            self._range = seen.with_tick(tick) if seen else Range.of(tick)
            self._filled.notify()

    def wake(self) -> None:
        """Let the reader go on without a tick: there is something else to do."""
        with self._filled:
            self._woken = True
            self._filled.notify()

    def take(self, *, timeout_s: float) -> Range | None:
        """Return everything since the last take; None when woken, or when nothing came in time."""
        with self._filled:
            self._filled.wait_for(lambda: self._range is not None or self._woken, timeout_s)
            taken, self._range, self._woken = self._range, None, False
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


@dataclass(slots=True, kw_only=True)
class _Rest:
    """What is known of a trigger that fired, until it is armed again."""

    price: UsdPerBtc
    """At which it fired last."""
    rest_s: float
    due_s: float
    not_before_s: float = -inf
    """Until then somebody has refused for a cooldown: unless the price is worse, no look is wanted."""


class Crossing:
    """A trigger book that several threads may use: one weighs ticks, others arm.

    What just fired rests before it comes back, by time and not by a reading: a worker needs a moment,
    and one action brings several readings. If the price is still beyond its level then, it fires at
    once; if not, it is armed. Whoever looks at ticks asks when that is due, and calls `look_again`.

    Args:
        fire: takes one crossed trigger with its tick.
        wake: called when there is something to do before the next tick.
        clock: returns seconds from any fixed start, never going back.
    """

    def __init__(
        self,
        fire: Callable[[Trigger, Quote], None],
        *,
        wake: Callable[[], None] = lambda: None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._fire = fire
        self._wake = wake
        self._clock = clock
        self._book = TriggerBook()
        self._lock = threading.Lock()
        self._resting: dict[Trigger, _Rest] = {}
        self._due: list[tuple[float, int, Trigger]] = []
        """A heap; an entry counts while its trigger rests until that very moment."""
        self._numbers = count()

    def __len__(self) -> int:
        return len(self._book)

    def arm(self, account_id: int, triggers: Iterable[Trigger], *, wakes: bool = False) -> None:
        """Replace everything armed for one account; what fired a moment ago goes on resting.

        With `wakes` the newest price is weighed at once, without waiting for a tick.
        """
        armed = list(triggers)  # computed here, so that no tick waits for it
        with self._lock:
            self._book.arm(account_id, armed, resting=self._resting.keys())
        if wakes:
            self._wake()

    def disarm(self, account_id: int) -> None:
        with self._lock:
            self._book.disarm(account_id)

    def cool_down(self, automation_id: int, position_id: PositionId | None, for_s: float) -> None:
        """Look again with this automation at this position when its cooldown is over, and not before.

        Where the price gets worse than at the last look, the usual rest applies: what is worse may
        override a cooldown.
        """
        now_s = self._clock()
        ends_s = now_s + min(LONGEST_COOLDOWN_S, max(_SHORTEST_S, for_s))
        with self._lock:
            for trigger, rest in self._resting.items():
                if (trigger.automation_id, trigger.position_id) == (automation_id, position_id):
                    rest.not_before_s = ends_s
                    self._rests_until(trigger, rest, min(ends_s, now_s + RESTS_S))
        self._wake()

    def look(self, ticks: Range) -> int:
        """Fire what the ticks reached; return how many triggers that was.

        The lock is not held while firing, so that arming never waits for the queue.
        """
        with self._lock:
            crossed = self._book.cross(
                ticks.lowest.price,
                ticks.highest.price,
                lowest_of_both=_lower(ticks.lowest_of_both),
                highest_of_both=_upper(ticks.highest_of_both),
            )
            fired = [(trigger, ticks.reaching(trigger)) for trigger in crossed]
            for trigger, tick in fired:
                self._rest(trigger, tick, RESTS_S)
        for trigger, tick in fired:
            self._fire(trigger, tick)
        return len(fired)

    def due_in_s(self) -> float:
        """Return after how many seconds `look_again` has something to do."""
        due = self._due
        return due[0][0] - self._clock() if due else inf

    def look_again(self, newest: Quote | None) -> int:
        """Fire what has rested and is still reached, arm what is not; return how many fired.

        `newest` is the newest price; None: it is too old, and the next tick decides.
        """
        fired: list[tuple[Trigger, Quote]] = []
        with self._lock:
            now_s = self._clock()
            while self._due and self._due[0][0] <= now_s:
                due_s, _, trigger = heappop(self._due)
                rest = self._resting.get(trigger)
                if rest and rest.due_s == due_s and self._comes_back(trigger, rest, newest, now_s):
                    assert newest is not None
                    fired.append((trigger, newest))
        for trigger, tick in fired:
            self._fire(trigger, tick)
        return len(fired)

    def _comes_back(self, trigger: Trigger, rest: _Rest, newest: Quote | None, now_s: float) -> bool:
        """Return whether a trigger whose rest is over fires at once; if not, arm it or let it rest."""
        if not self._book.wants(trigger):
            del self._resting[trigger]
            return False
        seen = None if newest is None else _seen_by(trigger, newest)
        reached = seen is not None and trigger.level.is_reached(seen)
        worse = seen is not None and _is_worse(trigger, seen, rest.price)
        if now_s < rest.not_before_s and not worse:
            self._rests_until(trigger, rest, min(rest.not_before_s, now_s + RESTS_S))
            return False
        if newest is None or not reached:
            del self._resting[trigger]
            self._book.put_back(trigger)
            return False
        is_news = worse or rest.not_before_s > -inf
        self._rest(trigger, newest, RESTS_S if is_news else min(LONGEST_REST_S, 2 * rest.rest_s))
        return True

    def _rest(self, trigger: Trigger, tick: Quote, rest_s: float) -> None:
        due_s = self._clock() + rest_s
        rest = _Rest(price=_seen_by(trigger, tick), rest_s=rest_s, due_s=due_s)
        self._resting[trigger] = rest
        self._rests_until(trigger, rest, due_s)

    def _rests_until(self, trigger: Trigger, rest: _Rest, due_s: float) -> None:
        rest.due_s = due_s
        heappush(self._due, (due_s, next(self._numbers), trigger))
