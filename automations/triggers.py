"""TriggerBook: which armed prices did this move reach? Pure, without Django."""

from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass
from decimal import Decimal
from enum import StrEnum
from operator import ge, le

from sortedcontainers import SortedList

from exchange.money import UsdPerBtc
from exchange.position import PositionId


class Direction(StrEnum):
    """Which way the price must move to reach a level."""

    FALLING = "falling"
    RISING = "rising"


@dataclass(frozen=True, slots=True, kw_only=True)
class Level:
    """A price, and the side from which it is reached; being exactly on it counts."""

    price: UsdPerBtc
    direction: Direction

    def is_reached(self, price: UsdPerBtc) -> bool:
        return price <= self.price if self.direction is Direction.FALLING else price >= self.price


@dataclass(frozen=True, slots=True, kw_only=True)
class Trigger:
    """At this level, look with this automation."""

    account_id: int
    automation_id: int
    position_id: PositionId | None
    """None for an entry, which has none yet."""
    urgent: bool = False
    """Whether it saves a position from liquidation, and must not wait behind anything else."""
    by_index: bool = False
    """Whether the index reaches it, too: so it is for guards, which go by the worse of both prices."""
    level: Level


class TriggerBook:
    """Armed triggers in price order: a look costs what fires, not what is armed.

    A trigger fires once; arming its account again brings it back. Not thread-safe: one thread owns it.
    """

    def __init__(self) -> None:
        self._falling = _Levels(nearest=-1, is_reached=ge)
        self._rising = _Levels(nearest=0, is_reached=le)
        self._falling_by_index = _Levels(nearest=-1, is_reached=ge)
        self._rising_by_index = _Levels(nearest=0, is_reached=le)
        # What each account armed last; some may have fired since.
        self._of_account: dict[int, tuple[Trigger, ...]] = {}

    def __len__(self) -> int:
        by_index = self._falling_by_index.armed + self._rising_by_index.armed
        return self._falling.armed + self._rising.armed + by_index

    def arm(
        self, account_id: int, triggers: Iterable[Trigger], *, resting: Collection[Trigger] = ()
    ) -> None:
        """Replace everything armed for one account; what stays as it was is not touched.

        What is `resting` is armed by `put_back` only.
        """
        wanted = dict.fromkeys(triggers)
        for trigger in self._of_account.pop(account_id, ()):
            if trigger not in wanted:
                self._levels(trigger).take_out(trigger)
        if wanted:
            self._of_account[account_id] = tuple(
                [
                    trigger if resting and trigger in resting else self._levels(trigger).put_in(trigger)
                    for trigger in wanted
                ]
            )

    def wants(self, trigger: Trigger) -> bool:
        """Whether it is among what its account armed last, fired or not."""
        return trigger in self._of_account.get(trigger.account_id, ())

    def put_back(self, trigger: Trigger) -> None:
        """Arm one of those that its account armed last once more."""
        self._levels(trigger).put_in(trigger)

    def disarm(self, account_id: int) -> None:
        self.arm(account_id, ())

    def cross(
        self,
        lowest: UsdPerBtc,
        highest: UsdPerBtc,
        *,
        lowest_of_both: UsdPerBtc | None = None,
        highest_of_both: UsdPerBtc | None = None,
    ) -> list[Trigger]:
        """Return the triggers that a move between these prices reached, and disarm them.

        First those that wait for a fall, then those that wait for a rise, of each those that the index
        reaches, too, behind the others, the nearest in front. Where the price came from does not
        matter: a level that it stands beyond when armed is reached, too. `lowest_of_both` and
        `highest_of_both` are of last price and index; where None, of the last price.
        """
        fired = self._falling.pass_to(lowest)
        fired += self._falling_by_index.pass_to(lowest if lowest_of_both is None else lowest_of_both)
        fired += self._rising.pass_to(highest)
        fired += self._rising_by_index.pass_to(highest if highest_of_both is None else highest_of_both)
        return fired

    def _levels(self, trigger: Trigger) -> "_Levels":
        if trigger.level.direction is Direction.FALLING:
            return self._falling_by_index if trigger.by_index else self._falling
        return self._rising_by_index if trigger.by_index else self._rising


class _Levels:
    """The armed triggers of one direction by price, and at one price in the order they were armed."""

    __slots__ = ("_at", "_is_reached", "_nearest", "_prices", "armed")

    def __init__(self, *, nearest: int, is_reached: Callable[[Decimal, Decimal], bool]) -> None:
        """Begin empty.

        Args:
            nearest: which end of the ascending prices is reached first.
            is_reached: whether a level, its first argument, is reached by a price.
        """
        self._nearest = nearest
        self._is_reached = is_reached
        self._prices = SortedList()
        # Each trigger under itself, so that of equal ones the first is kept and no second remembered.
        self._at: dict[Decimal, dict[Trigger, Trigger]] = {}
        self.armed = 0

    def put_in(self, trigger: Trigger) -> Trigger:
        """Return the one that is armed now: this, or an equal one that was already."""
        price = trigger.level.price
        if (at_price := self._at.get(price)) is None:
            at_price = self._at[price] = {}
            self._prices.add(price)
        before = len(at_price)
        kept = at_price.setdefault(trigger, trigger)
        self.armed += len(at_price) - before
        return kept

    def take_out(self, trigger: Trigger) -> None:
        """Disarm it, unless it has fired."""
        price = trigger.level.price
        at_price = self._at.get(price)
        if at_price is None or at_price.pop(trigger, None) is None:
            return
        self.armed -= 1
        if not at_price:
            del self._at[price]
            self._prices.remove(price)

    def pass_to(self, price: Decimal) -> list[Trigger]:
        """Return what this price reached, nearest first, and forget it."""
        fired: list[Trigger] = []
        while self._prices and self._is_reached(self._prices[self._nearest], price):
            fired.extend(self._at.pop(self._prices.pop(self._nearest)))
        self.armed -= len(fired)
        return fired
