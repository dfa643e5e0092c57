"""What a rule may ask for. A union, so that an action which nothing performs fails the type check."""

from dataclasses import dataclass, replace

from exchange.money import Sats
from exchange.position import PositionId


@dataclass(frozen=True, slots=True, kw_only=True)
class AddMargin:
    """Move sats from the balance into the position's margin; spends, so a budget applies."""

    position_id: PositionId
    amount: Sats
    why: str

    def limited_to(self, most: Sats) -> "AddMargin":
        return replace(self, amount=Sats(min(self.amount, most)))


@dataclass(frozen=True, slots=True, kw_only=True)
class ClosePosition:
    """Close the whole position at the market price."""

    position_id: PositionId
    why: str


Action = AddMargin | ClosePosition


@dataclass(frozen=True, slots=True, kw_only=True)
class Hold:
    """Do nothing, for a reason that can be shown to the owner."""

    reason: str


Decision = AddMargin | ClosePosition | Hold
