"""Which accounts get the few sockets there are: those most at risk."""

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Moves:
    """Accounts that get a socket, the most at risk first, and those that give theirs back."""

    start: tuple[int, ...]
    stop: tuple[int, ...]


def allot(
    risks: Mapping[int, float],
    holding: Collection[int],
    *,
    sockets: int,
    swap_margin: float,
    may_swap: bool,
) -> Moves:
    """Return what to change.

    Free sockets go to whoever is most at risk. One that is held changes hands only where the risks
    differ by more than `swap_margin`, one at a time, and not at all unless `may_swap`. `risks` has
    every account that wants a socket: one that holds a socket and is not in it has no use for it.
    """
    useless = tuple(sorted(account for account in holding if account not in risks))
    held = sorted((account for account in holding if account in risks), key=_by_risk(risks))
    waiting = sorted(risks.keys() - holding, key=_by_risk(risks))
    # What is given back now is free only once it is closed.
    free = max(0, sockets - len(holding))
    start, rest = waiting[:free], waiting[free:]
    surplus = tuple(held[sockets:])
    gives_way = useless + surplus
    if rest and held and may_swap and risks[rest[0]] > risks[held[-1]] + swap_margin:
        gives_way = gives_way or (held[-1],)
    return Moves(start=tuple(start), stop=gives_way)


def _by_risk(risks: Mapping[int, float]) -> Callable[[int], tuple[float, int]]:
    return lambda account: (-risks[account], account)
