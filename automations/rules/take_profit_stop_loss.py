"""Take Profit / Stop Loss: move the exits of a position, or close it, at a profit or a loss."""

from dataclasses import dataclass, replace
from enum import StrEnum
from fractions import Fraction
from typing import Self, assert_never

from automations.rules.actions import (
    ClosePosition,
    Decision,
    Disarm,
    Hold,
    SetStopLoss,
    SetTakeProfit,
    SetTrailingStop,
)
from automations.rules.memory import NOTHING, Memory
from automations.rules.owners_hand import changed_by_hand
from automations.rules.scope import Scope
from automations.triggers import Direction, Level
from exchange import formulas
from exchange.formulas import Side
from exchange.money import MAX_PRICE, MIN_PRICE, TICK, Exact, UsdPerBtc, tick_above, tick_below
from exchange.position import Position, Regime


class Does(StrEnum):
    UPDATE_TP = "update_tp"
    UPDATE_SL = "update_sl"
    CLOSE_TP = "close_tp"
    CLOSE_SL = "close_sl"


class When(StrEnum):
    """On which side of the entry the rule acts."""

    PROFIT = "profit"
    LOSS = "loss"
    EITHER = "either"


class Base(StrEnum):
    """What a profit is a share of."""

    MARGIN = "margin"
    NOTIONAL = "notional"

    def amount(self, position: Position) -> Fraction:
        """Return the base in sats."""
        if self is Base.MARGIN:
            return Fraction(position.margin)
        return formulas.notional(position.quantity, position.entry)


@dataclass(frozen=True, slots=True, kw_only=True)
class AtPrice:
    """The exit lies at this price."""

    price: UsdPerBtc


@dataclass(frozen=True, slots=True, kw_only=True)
class FromEntry:
    """The exit lies so far from the entry, on its own side: a stop on the losing side."""

    share: Fraction


@dataclass(frozen=True, slots=True, kw_only=True)
class FromMarket:
    """The exit lies so far from the market, on its own side."""

    share: Fraction


@dataclass(frozen=True, slots=True, kw_only=True)
class BreakEven:
    """The exit lies where closing pays both fees at this rate (6.8)."""

    fee_rate: Fraction


@dataclass(frozen=True, slots=True, kw_only=True)
class Trailing:
    """A stop that the exchange itself moves along, this share behind the best price (6.10)."""

    share: Fraction


Target = AtPrice | FromEntry | FromMarket | BreakEven | Trailing


@dataclass(frozen=True, slots=True, kw_only=True)
class ExitConfig(Scope):
    """When to act on the exits and how.

    Raises:
        ValueError: what is asked for contradicts itself.
    """

    does: Does
    threshold: Fraction
    """Profit or loss as a share of the base, more than 0."""
    when: When
    base: Base = Base.MARGIN
    target: Target | None = None
    """Where the exit goes; for updates only."""
    may_loosen: bool = False
    """Whether a stop may move away from the market."""
    on_exchange: bool = True
    """Leave a closing rule's level with the exchange as a stop or take profit, which acts while we are
    down. Isolated trades only: the cross position has neither."""

    def __post_init__(self) -> None:
        if self.threshold <= 0:
            raise ValueError("the threshold must be more than 0 %")
        updates = self.does in {Does.UPDATE_TP, Does.UPDATE_SL}
        if updates and self.target is None:
            raise ValueError("the new level must be given")
        if not updates and self.target is not None:
            raise ValueError("a closing rule has no new level")
        closing_side = {Does.CLOSE_TP: When.PROFIT, Does.CLOSE_SL: When.LOSS}.get(self.does)
        if closing_side is not None and self.when is not closing_side:
            raise ValueError(f"{self.does} acts on {closing_side} only")
        if self.does is Does.UPDATE_TP and isinstance(self.target, Trailing):
            raise ValueError("only a stop can be trailing")

    def reached(self, position: Position, price: Exact) -> bool:
        """Whether the threshold is reached; being exactly on it counts."""
        share = position.profit_at(price) / self.base.amount(position)
        return (self.when is not When.LOSS and share >= self.threshold) or (
            self.when is not When.PROFIT and share <= -self.threshold
        )

    def decide(self, position: Position, price: UsdPerBtc, memory: Memory = NOTHING) -> Decision:
        """Return what to do about one position at one price.

        An exit that was set for it and that is another now was changed by hand: the hand wins.
        """
        if held := _held_by_hand(position, memory):
            return held
        if not self.reached(position, price):
            if _wants_native(position, self):
                return _native(position, self)
            said = _profit(position, price, self)
            return Hold(reason=f"{said} has not reached {_percent(self.threshold)}")
        why = f"{_profit(position, price, self)} reached {_percent(self.threshold)} at {price}"
        match self.does:
            case Does.CLOSE_TP | Does.CLOSE_SL:
                return ClosePosition(position_id=position.id, why=why)
            case Does.UPDATE_TP:
                return _take_profit(position, price, self, why, memory)
            case Does.UPDATE_SL:
                return _stop_loss(position, price, self.among_others(memory), why)
            case never:
                assert_never(never)

    def among_others(self, memory: Memory) -> Self:
        """Return the rule that loosens no stop which another automation of ours has set since.

        Two of them that contradict each other would else move it to and fro for ever.
        """
        taken_over = not memory.stop_is_own and (memory.stoploss, memory.trailing) != (None, None)
        return replace(self, may_loosen=False) if taken_over else self

    def levels(self, position: Position, memory: Memory = NOTHING) -> tuple[Level, ...]:
        """Return the prices at which a look is worth while.

        A level that is to lie with the exchange and does not yet makes every price one; so does an exit
        that was changed by hand, until that is written down.
        """
        if memory.disarmed:
            return ()
        if changed_by_hand(position, memory) or _wants_native(position, self):
            return (Level(price=MAX_PRICE, direction=Direction.FALLING),)
        shares = []
        if self.when is not When.LOSS:
            shares.append(self.threshold)
        if self.when is not When.PROFIT:
            shares.append(-self.threshold)
        found = [_level(position, share, self.base) for share in shares]
        return tuple(level for level in found if level is not None)


def _held_by_hand(position: Position, memory: Memory) -> Hold | None:
    if memory.disarmed:
        return Hold(reason=f"it is disarmed here until it is re-armed: {memory.disarmed}")
    changed = changed_by_hand(position, memory)
    return Disarm(reason=changed) if changed else None


def _level(position: Position, share: Fraction, base: Base) -> Level | None:
    """Return where the profit is `share` of the base, on the side from which it is reached."""
    exact = _price_at(position, share, base)
    if exact is None:
        return None
    if position.side.sign * share > 0:
        return (
            Level(price=tick_above(exact), direction=Direction.RISING) if exact <= MAX_PRICE else None
        )
    return Level(price=min(tick_below(exact), MAX_PRICE), direction=Direction.FALLING)


def _price_at(position: Position, share: Fraction, base: Base) -> Fraction | None:
    target = share * base.amount(position)
    return formulas.price_at_profit(position.side, position.quantity, position.entry, target)


def _wants_native(position: Position, config: ExitConfig) -> bool:
    """Whether the exchange should hold the closing level, and does not hold one that acts as early."""
    if not config.on_exchange or position.regime is not Regime.ISOLATED:
        return False
    level = _native_level(position, config)
    if level is None:
        return False
    if config.does is Does.CLOSE_TP:
        return position.takeprofit is None or _is_beyond(position.side, position.takeprofit, level)
    return position.stoploss is None or _is_beyond(position.side, level, position.stoploss)


def _is_beyond(side: Side, price: UsdPerBtc, other: UsdPerBtc) -> bool:
    """Whether `price` lies further into profit than `other`."""
    return side.sign * (price - other) > 0


def _native_level(position: Position, config: ExitConfig) -> UsdPerBtc | None:
    """Return the closing level on the grid, if the exchange would take one there (6.10)."""
    profits = config.does is Does.CLOSE_TP
    if config.does not in {Does.CLOSE_TP, Does.CLOSE_SL}:
        return None
    exact = _price_at(position, config.threshold if profits else -config.threshold, config.base)
    if exact is None or not MIN_PRICE <= exact <= MAX_PRICE:
        return None
    level = _towards_profit(position.side, exact)
    return level if profits or _clears_liquidation(position, level) else None


def _towards_profit(side: Side, price: Fraction) -> UsdPerBtc:
    """Round a stop towards the market and a profit away from it: both lie the same way (6.8)."""
    return tick_above(price) if side is Side.BUY else tick_below(price)


def _clears_liquidation(position: Position, stop: UsdPerBtc) -> bool:
    return position.side.sign * (stop - position.liquidation) >= TICK


def _native(position: Position, config: ExitConfig) -> Decision:
    level = _native_level(position, config)
    assert level is not None
    why = f"{config.does} at {_percent(config.threshold)} of the {config.base} lies at {level}"
    if config.does is Does.CLOSE_TP:
        return SetTakeProfit(position_id=position.id, price=level, why=why)
    return SetStopLoss(position_id=position.id, price=level, why=why)


def _take_profit(
    position: Position, price: UsdPerBtc, config: ExitConfig, why: str, memory: Memory
) -> Decision:
    level = _target_price(position, price, config, away=1)
    if level is None or not formulas.takeprofit_fits(position.side, level, reference=price):
        return Hold(reason=f"{why}, but a take profit at {level} is not beyond the market")
    if level == position.takeprofit:
        return Hold(reason=f"{why}, and the take profit is at {level} already")
    others = memory.takeprofit is not None and not memory.takeprofit_is_own
    if others and _is_beyond(position.side, level, memory.takeprofit or level):
        return Hold(reason=f"{why}, but another automation has moved the take profit nearer since")
    return SetTakeProfit(position_id=position.id, price=level, why=why)


def _stop_loss(position: Position, price: UsdPerBtc, config: ExitConfig, why: str) -> Decision:
    if isinstance(config.target, Trailing):
        return _trailing(position, price, config, why, distance=config.target.share)
    level = _target_price(position, price, config, away=-1)
    fits = level is not None and formulas.stoploss_fits(
        position.side, level, liquidation=position.liquidation, reference=price
    )
    if level is None or not fits or not _clears_liquidation(position, level):
        return Hold(reason=f"{why}, but a stop at {level} is not between liquidation and the market")
    if level == position.stoploss:
        return Hold(reason=f"{why}, and the stop is at {level} already")
    if _loosens(position, level, config):
        return Hold(reason=f"{why}, but a stop at {level} would loosen the one at {position.stoploss}")
    return SetStopLoss(position_id=position.id, price=level, why=why)


def _trailing(
    position: Position, price: UsdPerBtc, config: ExitConfig, why: str, *, distance: Fraction
) -> Decision:
    if position.trailing is not None and position.trailing <= distance:
        return Hold(
            reason=f"{why}, and the stop trails by {_percent(Fraction(position.trailing))} already"
        )
    level = formulas.trailing_level(position.side, distance, price)
    if _loosens(position, level, config):
        return Hold(
            reason=f"{why}, but a stop that begins to trail at {level}"
            f" would loosen the one at {position.stoploss}"
        )
    return SetTrailingStop(position_id=position.id, distance=distance, why=why)


def _loosens(position: Position, level: UsdPerBtc | None, config: ExitConfig) -> bool:
    """Whether a stop at `level` would undo protection that nobody asked to undo."""
    if config.may_loosen or position.stoploss is None:
        return False
    return level is None or _is_beyond(position.side, position.stoploss, level)


def _target_price(
    position: Position, price: UsdPerBtc, config: ExitConfig, *, away: int
) -> UsdPerBtc | None:
    """Return the new level on the grid; `away` is +1 for a profit, -1 for a stop."""
    direction, target = position.side.sign * away, config.target
    assert target is not None
    assert not isinstance(target, Trailing), "the exchange itself knows where that is"
    match target:
        case AtPrice(price=at):
            return at
        case FromEntry(share=share):
            exact = Fraction(position.entry) * (1 + direction * share)
        case FromMarket(share=share):
            exact = Fraction(price) * (1 + direction * share)
        case BreakEven(fee_rate=rate):
            exact = formulas.break_even(position.side, position.entry, rate)
        case never:
            assert_never(never)
    if not MIN_PRICE <= exact <= MAX_PRICE:
        return None
    return _towards_profit(position.side, exact)


def _profit(position: Position, price: Exact, config: ExitConfig) -> str:
    share = position.profit_at(price) / config.base.amount(position)
    return f"profit of {_percent(share)} of the {config.base}"


def _percent(share: Fraction) -> str:
    return f"{float(share) * 100:.2f} %"
