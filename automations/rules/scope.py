"""Which positions a rule looks at."""

from dataclasses import dataclass

from exchange.formulas import Side
from exchange.position import Position, PositionId


@dataclass(frozen=True, slots=True, kw_only=True)
class Scope:
    side: Side | None = None
    """Only positions of this side; None: both."""
    positions: frozenset[PositionId] = frozenset()
    """Only these; empty: all."""

    def covers(self, position: Position) -> bool:
        return self.side in {None, position.side} and (
            not self.positions or position.id in self.positions
        )
