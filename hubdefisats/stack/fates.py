"""What became of the demo's positions: seen at the exchange, guarded and unguarded ones apart."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from exchange.rest import RestClient


@dataclass(frozen=True, slots=True, kw_only=True)
class Watched:
    """One account, and the positions that ran on it at the beginning."""

    client: RestClient = field(repr=False)
    guarded: bool
    positions: frozenset[str]


@dataclass(frozen=True, slots=True, kw_only=True)
class Fates:
    """How many positions of one kind there were, and what became of them."""

    total: int
    running: int
    liquidated: int


def watch(client: RestClient, *, guarded: bool) -> Watched:
    running = frozenset(str(trade.id) for trade in client.running_trades())
    return Watched(client=client, guarded=guarded, positions=running)


def fates(watched: Iterable[Watched], *, guarded: bool) -> Fates:
    """Ask the exchange what became of the positions that are guarded, or of those that are not.

    A liquidated one lost the whole of its margin; one that was closed lost less.
    """
    total = running = liquidated = 0
    for account in watched:
        if account.guarded is not guarded:
            continue
        total += len(account.positions)
        running += sum(trade.id in account.positions for trade in account.client.running_trades())
        liquidated += sum(
            trade.id in account.positions and trade.profit <= -trade.margin
            for trade in account.client.closed_trades()
        )
    return Fates(total=total, running=running, liquidated=liquidated)


def told(guarded: Fates, unguarded: Fates) -> Mapping[str, int]:
    """Return them as the JSON line has them."""
    return {
        "guarded": guarded.total,
        "guarded_running": guarded.running,
        "guarded_liquidated": guarded.liquidated,
        "unguarded": unguarded.total,
        "unguarded_liquidated": unguarded.liquidated,
    }
