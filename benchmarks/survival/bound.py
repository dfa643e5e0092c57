"""What could have become of positions: unguarded, with the best executor, and with perfect foresight.

Foresight means: at the first step's tick all that the owner allows is added at once, or the position is
closed then, where the ladder closes at all; and the money goes to those positions that need least.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

from automations.rules.margin_guard import Close
from benchmarks.survival.executor import Executor, Terms, next_level
from benchmarks.survival.paths import PricePath, halves_of, price_of
from exchange.money import Sats
from exchange.position import Position


@dataclass(frozen=True, slots=True, kw_only=True)
class Best:
    """What could have become of the positions of one account."""

    dying: tuple[bool, ...]
    """Which of them are liquidated if nobody does anything."""
    least: int
    """Sats of the smallest single top-ups at their first steps' ticks that survive the whole path."""
    savable: int
    """How many of the dying the best executor saves."""
    savable_unhurried: int
    """The same if the exchange took any number of requests a second."""
    foreseen: int
    """How many of them foresight saves."""


def best(positions: Sequence[Position], path: PricePath, terms: Terms) -> Best:
    dying_at = [_dying(path, position, 0) for position in positions]
    dying = tuple(tick is not None for tick in dying_at)
    if not any(dying):
        return Best(dying=dying, least=0, savable=0, savable_unhurried=0, foreseen=0)
    unhurried = replace(terms, each_ms=0)
    needs = [
        _need(position, path, terms, budget, tick)
        for position, budget, tick in zip(positions, terms.budgets, dying_at, strict=True)
        if tick is not None
    ]
    return Best(
        dying=dying,
        least=sum(need.least for need in needs),
        savable=_savable(positions, path, terms, dying),
        savable_unhurried=_savable(positions, path, unhurried, dying),
        foreseen=_foreseen(needs, terms),
    )


def _savable(
    positions: Sequence[Position], path: PricePath, terms: Terms, dying: Sequence[bool]
) -> int:
    """Return how many of the dying are saved by the better executor."""
    return max(
        sum(
            saved
            for saved, dies in zip(
                Executor(positions, path, terms, cautious=cautious).saved(), dying, strict=True
            )
            if dies
        )
        for cautious in (False, True)
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class _Need:
    """What saves one dying position with foresight."""

    least: int
    sats: int | None
    """0 where closing is allowed; None: no allowed sum does."""
    from_ms: int
    until_ms: int
    """Between which moments the request has to leave."""


def _need(position: Position, path: PricePath, terms: Terms, budget: Sats, dying_at: int) -> _Need:
    sign, level = position.side.sign, next_level(position, terms.rule)
    first = next(tick for tick, half in enumerate(path.halves) if sign * half <= level)
    least = _least(position, path, first)
    closes = any(isinstance(step.response, Close) for step in terms.rule.steps)
    enough = least <= min(budget, terms.money, position.largest_top_up)
    return _Need(
        least=least,
        sats=0 if closes else least if enough else None,
        from_ms=path.times_ms[first],
        until_ms=path.times_ms[dying_at] - terms.delay_ms,
    )


def _least(position: Position, path: PricePath, first: int) -> int:
    """Return the sats that bring liquidation just beyond the worst price from `first` on."""
    sign = position.side.sign
    worst = sign * min(sign * half for half in path.halves[first:])
    return max(0, position.margin_to_reach_liquidation(price_of(worst - sign)))


def _dying(path: PricePath, position: Position, first: int) -> int | None:
    """Return the first tick from `first` on at which the position is liquidated."""
    level, sign, halves = halves_of(position.liquidation), position.side.sign, path.halves
    return next((at for at in range(first, len(halves)) if (halves[at] - level) * sign <= 0), None)


def _foreseen(needs: Iterable[_Need], terms: Terms) -> int:
    """Return how many can be saved: what the money and the requests a second allow, each by itself."""
    possible = [need for need in needs if need.sats is not None]
    count, left = 0, int(terms.money)
    for sats in sorted(need.sats or 0 for need in possible):
        left -= sats
        count += left >= 0
    return min(count, _in_time(possible, terms.each_ms))


def _in_time(needs: Sequence[_Need], each_ms: int) -> int:
    """Return how many requests can leave in time, the most pressing first."""
    count, free_ms, waiting = 0, 0, sorted(needs, key=lambda need: need.until_ms)
    while waiting:
        free_ms = max(free_ms, min(need.from_ms for need in waiting))
        ready = next(need for need in waiting if need.from_ms <= free_ms)
        waiting.remove(ready)
        if free_ms < ready.until_ms:
            count += 1
            free_ms += each_ms
    return count
