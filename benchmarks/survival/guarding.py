"""What our workers do, in simulated time: look, decide by the live rule and gates, send, look again.

As in `automations.position_look`: one look at a position goes on, with what the exchange answered and
the newest price, as long as there is something to do; while it waits for an answer, another may close.
What the stream process does is here, too: a tick that reaches a level brings a look, a level that was
reached is looked at again after a while, and so is what a cooldown held back. The index says what the
last price says, so that every price is believed at once.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from math import ceil
from typing import Final

from automations.account_book import Entry, moment
from automations.crossing import RESTS_S
from automations.deciding import Guard
from automations.models import Execution
from automations.rules.actions import ClosePosition, Decision, Hold, PositionAction, SetStopLoss
from automations.rules.memory import NOTHING, Memory
from automations.triggers import Direction, Level
from benchmarks.survival.paths import halves_of
from benchmarks.survival.slow_exchange import Answer, SlowExchange
from exchange.money import UsdPerBtc
from exchange.position import Position

LOOK_MS: Final = 20
"""From the trigger to the request, as measured for the whole stack on a busy machine."""
SWEEP_MS: Final = 30_000
RESTS_MS: Final = round(RESTS_S * 1000)
MOST_ACTS: Final = 5
"""In one look, as live."""
SLOT_WAIT_MS: Final = 3_000
"""Who finds that its turn at the exchange is further away gives up, and is looked at again."""


@dataclass(slots=True)
class Watched:
    """One position as the workers know it."""

    position: Position
    known_ms: int = 0
    memory: Memory = NOTHING
    acting: bool = False
    """A look is at it, or waits for its answer."""
    closing: bool = False
    """So does a look that may only close."""
    acts: int = 0
    """Of the look that is at it."""
    refused: set[int | None] = field(default_factory=set)
    """Steps that the exchange refused in this look."""
    fired: dict[Level, int] = field(default_factory=dict)
    levels: tuple[tuple[bool, int, Level], ...] = ()
    """Whether it is reached by falling, the half dollars, and the level itself."""
    ended: bool = False

    def arm(self, guard: Guard, now_ms: int) -> None:
        self.fired = {it: at for it, at in self.fired.items() if now_ms < at + RESTS_MS}
        found = () if self.ended else guard.rule.levels(self.position, self.memory)
        self.levels = tuple(
            (level.direction is Direction.FALLING, halves_of(level.price), level)
            for level in found
            if level not in self.fired
        )

    def end(self) -> None:
        self.ended, self.levels = True, ()


class Workers:
    """They know of positions what answers told them, and of their ends what the stream tells."""

    def __init__(self, exchange: SlowExchange, guard: Guard) -> None:
        self._exchange = exchange
        self._agenda = exchange.agenda
        self._guard = guard
        self._tick = 0
        self._watched = [Watched(one) for one in exchange.first]
        for one in self._watched:
            one.arm(guard, 0)
        self._agenda.at(SWEEP_MS, self._sweep)

    @property
    def entries(self) -> Sequence[Entry]:
        """What was done, in order."""
        return self._guard.book.entries

    def levels(self) -> Iterator[tuple[bool, int]]:
        for one in self._watched:
            for falling, at, _ in one.levels:
                yield falling, at

    def know(self, tick: int) -> None:
        """The price is that of the tick now, and reaches nothing."""
        self._tick = tick

    def hear(self, tick: int) -> None:
        """Take a tick in: look at every position of which it reaches a level."""
        self._tick = tick
        price = self._exchange.path.halves[tick]
        for one in self._watched:
            reached = [
                level for falling, at, level in one.levels if (price <= at if falling else price >= at)
            ]
            if reached:
                self._fire(one, reached)

    def _fire(self, one: Watched, reached: Sequence[Level]) -> None:
        now_ms = self._exchange.now_ms
        one.fired.update(dict.fromkeys(reached, now_ms))
        one.arm(self._guard, now_ms)
        self._agenda.at(now_ms + RESTS_MS, lambda: self._fire_again(one))
        self._want(one)

    def _fire_again(self, one: Watched) -> None:
        """Arm anew what fired; where the price is beyond it still, it fires at once."""
        one.arm(self._guard, self._exchange.now_ms)
        if one.levels:
            self.hear(self._tick)

    def _sweep(self) -> None:
        for one in self._watched:
            self._want(one)
        self._agenda.at(self._exchange.now_ms + SWEEP_MS, self._sweep)

    def _want(self, one: Watched) -> None:
        """Begin a look; while another has the position, one that may only close."""
        if one.ended or (one.acting and one.closing):
            return
        only = ClosePosition if one.acting else None
        if only is None:
            one.acting, one.acts, one.refused = True, 0, set()
        else:
            one.closing = True
        self._look_on(one, only)

    def _read(self, one: Watched, only: type[PositionAction] | None) -> None:
        """Read the position anew: it is not what it was taken for."""

        def answered(answer: Answer) -> None:
            if answer.position is None:
                one.end()
                return
            one.position, one.known_ms = answer.position, self._exchange.now_ms
            self._look_on(one, only)

        self._exchange.read(one.position.id, answered)

    def _look_on(self, one: Watched, only: type[PositionAction] | None) -> None:
        price, priced_ms = self._exchange.path.price(self._tick), self._exchange.now_ms
        self._agenda.at(priced_ms + LOOK_MS, lambda: self._look(one, only, price, priced_ms))

    def _look(
        self, one: Watched, only: type[PositionAction] | None, price: UsdPerBtc, priced_ms: int
    ) -> None:
        """Decide on what was known when the look began; send it, or decide anew at its turn."""
        action = self._decide(one, only, price, priced_ms)
        if action is None:
            return

        def nearness() -> float:
            now = self._exchange.path.price(self._tick)
            return float(one.position.liquidation_distance_at(now))

        turn = self._exchange.take_turn(nearness, SLOT_WAIT_MS, lambda: self._at_turn(one, only))
        if turn is None:
            self._leave(one, only)
        elif turn:
            self._send(one, action, price, only)

    def _at_turn(self, one: Watched, only: type[PositionAction] | None) -> bool:
        """Decide anew; return whether there is something to send."""
        price = self._exchange.path.price(self._tick)
        action = self._decide(one, only, price, self._exchange.now_ms)
        if action is not None:
            self._send(one, action, price, only)
        return action is not None

    def _decide(
        self, one: Watched, only: type[PositionAction] | None, price: UsdPerBtc, priced_ms: int
    ) -> PositionAction | None:
        """Return what to do; None: nothing, and the look is over."""
        if one.ended or self._exchange.position(one.position.id) is None:
            one.end()  # the stream told of it
            return None
        found = self._guard.rule.wishes(one.position, price, one.memory)
        wishes = [wish for wish in found if self._is_open(one, wish, only)]
        choice = self._guard.choose(
            wishes,
            one.position,
            price,
            priced_ms=priced_ms,
            known_ms=max(one.known_ms, priced_ms - SWEEP_MS // 10),
            now_ms=self._exchange.now_ms,
        )
        if choice.action is not None and isinstance(choice.action, PositionAction):
            return choice.action
        ends = [each.until for each in choice.refusals if each.until is not None]
        if ends:
            self._agenda.at(self._ms(min(ends)), lambda: self._want(one))
        self._leave(one, only)
        return None

    def _ms(self, until: datetime) -> int:
        return max(self._exchange.now_ms, ceil((until - moment(0)) / timedelta(milliseconds=1)))

    def _is_open(self, one: Watched, wish: Decision, only: type[PositionAction] | None) -> bool:
        if only is not None and not isinstance(wish, only):
            return False
        return isinstance(wish, Hold) or wish.step not in one.refused

    def _leave(self, one: Watched, only: type[PositionAction] | None) -> None:
        if only is None:
            one.acting = False
        else:
            one.closing = False

    def _send(
        self,
        one: Watched,
        action: PositionAction,
        price: UsdPerBtc,
        only: type[PositionAction] | None,
    ) -> None:
        number = self._guard.book.intend(one.position.id, action, price, self._exchange.now_ms)

        def answered(answer: Answer) -> None:
            state = Execution.State.REJECTED if answer.refused else Execution.State.CONFIRMED
            self._guard.book.settle(number, state, self._exchange.now_ms)
            self._learn(one, action, answer, only)

        self._exchange.write(action, answered)

    def _learn(
        self,
        one: Watched,
        action: PositionAction,
        answer: Answer,
        only: type[PositionAction] | None,
    ) -> None:
        """Take the position from the answer, arm it anew, and look again at once."""
        if answer.position is None:
            one.end()
            return
        one.position, one.known_ms = answer.position, self._exchange.now_ms
        if answer.refused:
            one.refused.add(action.step)
        elif isinstance(action, SetStopLoss):
            one.memory = replace(one.memory, stoploss=action.price, stop_is_own=True)
        one.arm(self._guard, self._exchange.now_ms)
        one.acts += 1
        if only is None and one.acts < MOST_ACTS:
            (self._read if answer.refused else self._look_on)(one, only)
        else:
            self._leave(one, only)
            self.hear(self._tick)
