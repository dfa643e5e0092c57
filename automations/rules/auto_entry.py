"""Auto Entry: open a trade when the price comes."""

from dataclasses import dataclass
from decimal import Decimal
from enum import StrEnum
from fractions import Fraction
from typing import ClassVar

from automations.rules.actions import Hold, OpenPosition
from automations.triggers import Direction, Level
from exchange import formulas
from exchange.cross import NewCrossOrder
from exchange.formulas import Side
from exchange.money import MAX_PRICE, Sats, Usd, UsdPerBtc
from exchange.position import Regime
from exchange.trade import LARGEST_ORDER, NewTrade, check_price


class Order(StrEnum):
    """How the trade is opened."""

    MARKET = "market"
    """By us, at the market, once the trigger is reached."""
    LIMIT = "limit"
    """By the exchange: an order that rests at the trigger price, also while we are down."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Missed(Hold):
    """Open nothing, now or later: the price came and went too far."""

    is_lasting: ClassVar[bool] = True


@dataclass(frozen=True, slots=True, kw_only=True)
class EntryConfig:
    """What to open, and when.

    Raises:
        ValueError: what is asked for contradicts itself, or the exchange would refuse it.
    """

    side: Side
    leverage: Decimal
    quantity: Usd | None = None
    margin: Sats | None = None
    """Instead of a quantity; isolated only."""
    stoploss: UsdPerBtc | None = None
    takeprofit: UsdPerBtc | None = None
    trigger: UsdPerBtc | None = None
    """None: at once."""
    breakout: bool = False
    """Buy at or above the trigger and sell at or below, instead of the other way round."""
    order: Order = Order.MARKET
    slippage: Fraction | None = None
    """How far beyond the trigger, as a share of it, the market may be when we open; None: any way."""
    regime: Regime = Regime.ISOLATED

    def __post_init__(self) -> None:
        check_price("the trigger price", self.trigger)
        if self.order is Order.LIMIT and self.trigger is None:
            raise ValueError("a limit order needs a trigger price")
        if self.regime is Regime.CROSS:
            self._check_cross()
        self.opening(client_id=None, why="")
        if self.trigger is not None and self.regime is Regime.ISOLATED:
            self._check_size(self.trigger)
        self._check_exits()

    def _check_cross(self) -> None:
        if self.quantity is None:
            raise ValueError("on the cross position a quantity is needed")
        if self.stoploss is not None:
            raise ValueError("stop: the cross position has neither stop nor take profit")
        if self.takeprofit is not None:
            raise ValueError("take profit: the cross position has neither stop nor take profit")

    def _check_size(self, entry: UsdPerBtc) -> None:
        quantity, margin = self._size_at(entry)
        if not 1 <= quantity <= LARGEST_ORDER:
            raise ValueError(f"margin buys {quantity} contracts at {entry}, not 1 to {LARGEST_ORDER}")
        if margin < 1:
            raise ValueError(
                f"quantity needs less than 1 sat of margin at {entry}, which is too little"
            )

    def _check_exits(self) -> None:
        reference = self.trigger
        if reference is None:
            return
        sign = self.side.sign
        if self.stoploss is not None and sign * (reference - self.stoploss) <= 0:
            raise ValueError("the stop must be on the losing side of the trigger price")
        if self.takeprofit is not None and sign * (self.takeprofit - reference) <= 0:
            raise ValueError("the take profit must be on the winning side of the trigger price")
        if self.stoploss is not None and sign * (self.stoploss - self._liquidation(reference)) < 0:
            raise ValueError("the stop must not be beyond the liquidation price")

    def _liquidation(self, entry: UsdPerBtc) -> UsdPerBtc:
        """Return where a trade opened at `entry` would be liquidated."""
        quantity, margin = self._size_at(entry)
        return formulas.liquidation_price(self.side, quantity, entry, margin)

    def _size_at(self, entry: UsdPerBtc) -> tuple[Usd, Sats]:
        quantity = self.quantity or formulas.quantity_for(self.margin or Sats(0), entry, self.leverage)
        return quantity, self.margin or formulas.margin_for(quantity, entry, self.leverage)

    def decide(self, price: UsdPerBtc, *, client_id: str | None = None) -> OpenPosition | Hold:
        """Return the trade to open at this price, under a label that tells it from any other.

        A market that has run away beyond the trigger is missed: the trade that was wanted is not to be
        had any more.
        """
        if self.trigger is None:
            return self.opening(client_id=client_id, why=f"opens at the market, {price}")
        if self.order is Order.LIMIT:
            return self.opening(client_id=client_id, why=f"rests at {self.trigger}, market at {price}")
        if not self.reached(price):
            return Hold(reason="price_not_triggered")
        if self._is_missed(price):
            return Missed(reason=self._missed(price))
        return self.opening(client_id=client_id, why=f"{price} reached the trigger {self.trigger}")

    def _is_missed(self, price: UsdPerBtc) -> bool:
        if self.trigger is None or self.slippage is None:
            return False
        bound = Fraction(self.trigger) * (1 - self.slippage if self._falls else 1 + self.slippage)
        return price < bound if self._falls else price > bound

    def _missed(self, price: UsdPerBtc) -> str:
        assert self.trigger is not None
        assert self.slippage is not None
        share = abs(Fraction(price) - Fraction(self.trigger)) / Fraction(self.trigger)
        return (
            f"the market at {price} is {float(share) * 100:.2f} % beyond the trigger {self.trigger},"
            f" more than the {float(self.slippage) * 100:g} % allowed"
        )

    def reached(self, price: UsdPerBtc) -> bool:
        """Whether the trigger is reached; being exactly on it counts."""
        if self.trigger is None:
            return True
        return price <= self.trigger if self._falls else price >= self.trigger

    def levels(self) -> tuple[Level, ...]:
        """Return the price at which `decide` begins to act."""
        if self.trigger is None or self.order is Order.LIMIT:
            return (Level(price=MAX_PRICE, direction=Direction.FALLING),)
        direction = Direction.FALLING if self._falls else Direction.RISING
        return (Level(price=self.trigger, direction=direction),)

    @property
    def _falls(self) -> bool:
        return (self.side is Side.BUY) is not self.breakout

    def opening(self, *, client_id: str | None, why: str) -> OpenPosition:
        limit = self.trigger if self.order is Order.LIMIT else None
        if self.regime is Regime.CROSS:
            assert self.quantity is not None
            cross = NewCrossOrder(
                side=self.side, quantity=self.quantity, limit=limit, client_id=client_id
            )
            return OpenPosition(order=cross, why=why)
        isolated = NewTrade(
            side=self.side,
            leverage=self.leverage,
            quantity=self.quantity,
            margin=self.margin,
            limit=limit,
            stoploss=self.stoploss,
            takeprofit=self.takeprofit,
            client_id=client_id,
        )
        return OpenPosition(order=isolated, why=why)
