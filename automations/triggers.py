"""TriggerBook: which armed prices did this move reach? Pure, without Django."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from enum import StrEnum

from sortedcontainers import SortedDict

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


@dataclass(frozen=True, slots=True, kw_only=True)
class Trigger:
    """At this level, look with this automation."""

    account_id: int
    automation_id: int
    position_id: PositionId | None
    """None for an entry, which has none yet."""
    urgent: bool = False
    """Whether it saves a position from liquidation, and must not wait behind anything else."""
    level: Level


class TriggerBook:
    """Armed triggers in price order: a look costs what fires, not what is armed.

    A trigger fires once; arming its account again brings it back. Not thread-safe: one thread owns it.
    """

    def __init__(self) -> None:
        # price -> triggers at that price, in the order they were armed
        self._armed: dict[Direction, SortedDict] = {
            Direction.FALLING: SortedDict(),
            Direction.RISING: SortedDict(),
        }
        self._of_account: dict[int, set[Trigger]] = {}

    def __len__(self) -> int:
        return sum(len(triggers) for triggers in self._of_account.values())

    def arm(self, account_id: int, triggers: Iterable[Trigger]) -> None:
        """Replace everything armed for one account."""
        self.disarm(account_id)
        armed = set(triggers)
        if armed:
            self._of_account[account_id] = armed
        for trigger in armed:
            at_price = self._armed[trigger.level.direction].setdefault(trigger.level.price, {})
            at_price[trigger] = None

    def disarm(self, account_id: int) -> None:
        for trigger in self._of_account.pop(account_id, ()):
            levels = self._armed[trigger.level.direction]
            at_price = levels[trigger.level.price]
            del at_price[trigger]
            if not at_price:
                del levels[trigger.level.price]

    def cross(self, price: UsdPerBtc) -> list[Trigger]:
        """Return the triggers that this price reached, nearest first, and disarm them."""
        fired = [*self._fall_to(price), *self._rise_to(price)]
        for trigger in fired:
            mine = self._of_account[trigger.account_id]
            mine.discard(trigger)
            if not mine:
                del self._of_account[trigger.account_id]
        return fired

    def _fall_to(self, price: UsdPerBtc) -> Iterator[Trigger]:
        levels = self._armed[Direction.FALLING]
        while levels and levels.peekitem(-1)[0] >= price:
            yield from levels.popitem(-1)[1]

    def _rise_to(self, price: UsdPerBtc) -> Iterator[Trigger]:
        levels = self._armed[Direction.RISING]
        while levels and levels.peekitem(0)[0] <= price:
            yield from levels.popitem(0)[1]
