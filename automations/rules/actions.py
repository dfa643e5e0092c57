"""What a rule may ask for. A union, so that an action which nothing performs fails the type check."""

from dataclasses import dataclass, replace
from fractions import Fraction
from typing import ClassVar

from exchange.cross import NewCrossOrder
from exchange.money import Sats, Usd, UsdPerBtc
from exchange.position import Position, PositionId, Regime
from exchange.trade import NewTrade


@dataclass(frozen=True, slots=True, kw_only=True)
class _OnPosition:
    position_id: PositionId
    why: str
    step: int | None = None
    """Which step of a ladder asks for it."""

    does: ClassVar[str]
    """What the record calls it."""
    cuts_risk: ClassVar[bool] = True
    """Whether it may pass while only risk may be cut."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Notify(_OnPosition):
    """Tell the owner, and change nothing."""

    does: ClassVar[str] = "notify"


@dataclass(frozen=True, slots=True, kw_only=True)
class AddMargin(_OnPosition):
    """Move sats from the balance into the position's margin; spends, so budgets apply."""

    does: ClassVar[str] = "add_margin"

    amount: Sats
    wanted: Sats | None = None
    """What the step asks for, where something bounds the amount to less; None: the amount."""

    @property
    def missing(self) -> Sats:
        return Sats(0 if self.wanted is None else self.wanted - self.amount)

    def limited_to(self, most: Sats, *, because: str) -> "AddMargin":
        """Return it with at most that amount, and say in `why` what bounds it."""
        if self.amount <= most:
            return self
        wanted = self.amount if self.wanted is None else self.wanted
        why = f"{self.why}; {most:,} of {wanted:,} sats are added, for {because}"
        return replace(self, amount=most, wanted=wanted, why=why)

    def helps(self, position: Position) -> bool:
        """Whether it moves liquidation by a tick; less than that is not worth an order."""
        moved = position.with_margin_added(self.amount).liquidation - position.liquidation
        return position.side.sign * moved < 0


@dataclass(frozen=True, slots=True, kw_only=True)
class ReducePosition(_OnPosition):
    """Close so many contracts of the position, fewer than it has."""

    does: ClassVar[str] = "reduce_position"

    quantity: Usd


@dataclass(frozen=True, slots=True, kw_only=True)
class ClosePosition(_OnPosition):
    """Close the whole position at the market price."""

    does: ClassVar[str] = "close_position"


@dataclass(frozen=True, slots=True, kw_only=True)
class SetStopLoss(_OnPosition):
    """Leave a stop at this price with the exchange."""

    does: ClassVar[str] = "set_stoploss"

    price: UsdPerBtc


@dataclass(frozen=True, slots=True, kw_only=True)
class SetTrailingStop(_OnPosition):
    """Leave a stop with the exchange that follows the best price at this distance (a share of it)."""

    does: ClassVar[str] = "set_trailing"

    distance: Fraction


@dataclass(frozen=True, slots=True, kw_only=True)
class SetTakeProfit(_OnPosition):
    """Leave a take profit at this price with the exchange."""

    does: ClassVar[str] = "set_takeprofit"

    price: UsdPerBtc


@dataclass(frozen=True, slots=True, kw_only=True)
class OpenPosition:
    """Open a trade, or order on the cross position; nothing is there yet to have an id."""

    order: NewTrade | NewCrossOrder
    why: str

    does: ClassVar[str] = "open_position"
    cuts_risk: ClassVar[bool] = False


@dataclass(frozen=True, slots=True, kw_only=True)
class CancelOrder:
    """Take an order of ours back that rests at the exchange. No rule asks for it: its time is over."""

    position_id: PositionId
    """The order's own id."""
    regime: Regime
    why: str

    does: ClassVar[str] = "cancel_order"
    cuts_risk: ClassVar[bool] = True


PositionAction = (
    Notify | AddMargin | ReducePosition | ClosePosition | SetStopLoss | SetTrailingStop | SetTakeProfit
)
Action = PositionAction | OpenPosition
"""What rules ask for."""
Command = Action | CancelOrder
"""What may be written to the exchange."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Hold:
    """Do nothing, for a reason that can be shown to the owner."""

    reason: str
    word: str | None = None
    """Why a step that is reached cannot act, in one word for programs; None: there is nothing to do."""
    step: int | None = None

    is_lasting: ClassVar[bool] = False
    """Whether the automation itself is to be changed for it, so that somebody has to look."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Disarm(Hold):
    """Do nothing more on the position until the owner says so: the owner's hand wins."""

    is_lasting: ClassVar[bool] = True


Decision = PositionAction | Hold


def asks_for_a_look(decision: Action | Hold) -> bool:
    """Whether a worker has anything to do about the decision."""
    return not isinstance(decision, Hold) or decision.is_lasting
