"""Which prices are believed: one that stands alone, far from the others, must first be confirmed."""

from collections import deque
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Final

from exchange.market import Quote, Source

HELD_S: Final = 1.0
"""A value that nothing confirmed for so long is dropped."""
LATE_MS: Final = 15_000
"""A value may come this late, after newer ones; by more, and the newer one's stamp was wrong."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Dropped:
    """A value that nothing confirmed."""

    what: str
    value: Quote
    reference: Quote
    """The believed value that it was too far from."""


@dataclass(slots=True)
class _Suspect:
    value: Quote
    voice: str
    reference: Quote
    is_over: bool = False
    """Dropped: only another tick on its side shows now that there was something in it."""


class Beliefs:
    """The last price and the index of one market, as far as they are believed.

    A value is believed at once where it is within `percent` of the last believed one of its kind, if
    that is at most `compares_s` old, else of the last believed one of the other kind. Where there is
    neither (at the start, or after so long a pause) there is nothing to compare with: it is believed.
    A reconnection and a fall-back to REST begin nothing anew: what was believed before them counts for
    as long, and a quote of REST is weighed like any other.

    What is further away is held back, and believed as soon as something confirms it:

    * another tick in a row, also too far away and on the same side, however much later it comes. It
      may come on another topic or by REST, but the same frame sent twice is one tick. The first of
      the two is believed, too, unless they are far apart;
    * the other kind, index for a last price and the reverse, once believed within `percent` of it.

    A tick that comes back drops it; so does `HELD_S`, or a tick too far away on the other side. REST
    only confirms what the stream said and never denies it: its answer may be a second old. So a fall
    in which tick follows tick is known one tick late at most, whatever REST says.

    Values are compared with stamps of their own kind: an older one says nothing new. Has no clock, and
    is not thread-safe. For the index, a `Quote` has it as its price.
    """

    def __init__(self, *, percent: Decimal, compares_s: float) -> None:
        self.dropped: deque[Dropped] = deque()
        """To be told, and taken away, by the caller."""
        compares = timedelta(seconds=compares_s)
        self._price = _Series("price", percent, compares, self.dropped)
        self._index = _Series("index", percent, compares, self.dropped)
        self.newest: Quote | None = None
        """The newest believed price with the index, of whatever age."""

    @property
    def doubts(self) -> int:
        """How often something was held back so far."""
        return self._price.doubts + self._index.doubts

    @property
    def is_settled(self) -> bool:
        """Whether nothing is held back, nor dropped and not told yet."""
        return not (self.dropped or self._price.holds or self._index.holds)

    def hear(self, price: Quote | None, index: Quote | None, *, voice: str) -> list[Quote]:
        """Return the quotes that are believed from now on, in their order.

        `price` and `index` are what one frame or one answer says, None where it does not; `voice` is
        the topic that the frame came on, or what else tells its kind.
        """
        indexed = index is not None and bool(
            self._index.hear(index, voice, self._price.fresh(index.at))
        )
        believed: list[Quote] = []
        if price is not None:
            believed = self._price.hear(price, voice, self._index.fresh(price.at))
        # What was held back of the one may be confirmed by what is believed now of the other.
        if believed:
            self._index.confirm(believed[-1])
        elif indexed and self._index.last is not None:
            believed = self._price.confirm(self._index.last)
        if indexed and not believed:
            return self._with_new_index()
        known = [self._with_index(quote) for quote in believed]
        self.newest = known[-1] if known else self.newest
        return known

    def pass_time(self, now: datetime) -> None:
        """Drop what nothing confirmed in time."""
        self._price.pass_time(now)
        self._index.pass_time(now)

    def _with_index(self, quote: Quote) -> Quote:
        index = self._index.fresh(quote.at)
        return replace(quote, index=index.price) if index else quote

    def _with_new_index(self) -> list[Quote]:
        """Return the newest quote once more, unless the index is what it was."""
        newest, index = self.newest, self._index.last
        if newest is None or index is None or newest.index == index.price:
            return []
        self.newest = replace(newest, index=index.price)
        return [self.newest]


class _Series:
    """The values of one kind."""

    def __init__(
        self, what: str, percent: Decimal, compares: timedelta, dropped: deque[Dropped]
    ) -> None:
        self.last: Quote | None = None
        """The last believed one."""
        self.doubts = 0
        self._what = what
        self._percent = percent
        self._compares = compares
        self._dropped = dropped
        self._suspect: _Suspect | None = None

    @property
    def holds(self) -> bool:
        return self._suspect is not None and not self._suspect.is_over

    def fresh(self, at: datetime) -> Quote | None:
        """Return the last believed one, if at that moment there is still something in it."""
        last = self.last
        return last if last is not None and at - last.at <= self._compares else None

    def hear(self, value: Quote, voice: str, other: Quote | None) -> list[Quote]:
        """Return what is believed now; `other` is the believed value of the other kind."""
        if self._is_late(value):
            return []
        self.pass_time(value.at)
        reference = self.fresh(value.at) or other
        if reference is None or self._are_near(value, reference):
            return self._came_back(value)
        suspect = self._suspect
        if suspect and _side(suspect.value, reference) == _side(value, reference):
            return self._follows(suspect, value, voice)
        if other is not None and self._are_near(value, other):
            return self._came_back(value)
        self._drop()
        self._suspect = _Suspect(value, voice, reference)
        self.doubts += 1
        return []

    def confirm(self, other: Quote) -> list[Quote]:
        """Believe what is held back if it is near this believed value of the other kind."""
        suspect = self._suspect
        if suspect is None or suspect.is_over or not self._are_near(suspect.value, other):
            return []
        self._suspect = None
        return self._believe([suspect.value])

    def pass_time(self, now: datetime) -> None:
        suspect = self._suspect
        if suspect and not suspect.is_over and (now - suspect.value.at).total_seconds() > HELD_S:
            self._drop()
            suspect.is_over, self._suspect = True, suspect

    def _came_back(self, value: Quote) -> list[Quote]:
        suspect = self._suspect
        if suspect and (suspect.is_over or _denies(value, suspect.value)):
            self._drop()
        return self._believe([value])

    def _follows(self, suspect: _Suspect, value: Quote, voice: str) -> list[Quote]:
        first = suspect.value
        if (voice, value.time_ms, value.price) == (suspect.voice, first.time_ms, first.price):
            return []
        self._suspect = None
        agree = not suspect.is_over and self._are_near(first, value)
        return self._believe([first, value] if agree else [value])

    def _believe(self, values: list[Quote]) -> list[Quote]:
        self.last = values[-1]
        return values

    def _drop(self) -> None:
        suspect, self._suspect = self._suspect, None
        if suspect and not suspect.is_over:
            self._dropped.append(
                Dropped(what=self._what, value=suspect.value, reference=suspect.reference)
            )

    def _is_late(self, value: Quote) -> bool:
        last = self.last
        return last is not None and last.time_ms - LATE_MS < value.time_ms < last.time_ms

    def _are_near(self, value: Quote, reference: Quote) -> bool:
        return abs(value.price - reference.price) * 100 <= self._percent * reference.price


def _denies(value: Quote, suspect: Quote) -> bool:
    """Whether a value that came back was said after the suspect, and not out of a cache of REST."""
    cached = value.source is Source.REST and suspect.source is Source.STREAM
    return suspect.time_ms <= value.time_ms and not cached


def _side(value: Quote, reference: Quote) -> bool:
    return value.price > reference.price
