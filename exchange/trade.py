"""Isolated trades before and after they run: what we ask for, what rests, what is over."""

from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from enum import StrEnum
from typing import Final

from exchange import formulas
from exchange.formulas import Side
from exchange.money import MAX_PRICE, MIN_PRICE, Sats, Usd, UsdPerBtc, is_on_grid
from exchange.position import PositionId

LARGEST_ORDER: Final = Usd(500_000)
LARGEST_LEVERAGE: Final = 100
LONGEST_CLIENT_ID: Final = 64
MOST_DIGITS: Final = 15
"""What a JavaScript number repeats without loss: the exchange may rebuild what it verifies (2.3)."""
TRAILING_RANGE: Final = (Decimal("0.001"), Decimal(10))


class StopMode(StrEnum):
    FIXED = "fixed"
    TRAILING = "trailing"


@dataclass(frozen=True, slots=True, kw_only=True)
class NewTrade:
    """One isolated trade to be opened (API notes, 3.6.1).

    Raises:
        ValueError: it breaks a rule the exchange would refuse it for.
    """

    side: Side
    leverage: Decimal
    quantity: Usd | None = None
    """Exactly one of `quantity` and `margin` says how large."""
    margin: Sats | None = None
    limit: UsdPerBtc | None = None
    """None: at market."""
    stoploss: UsdPerBtc | None = None
    trailing: Decimal | None = None
    """A trailing stop's distance as a share of the price, in place of `stoploss`."""
    takeprofit: UsdPerBtc | None = None
    client_id: str | None = None
    """A label that comes back with the trade; never a promise of uniqueness (8)."""

    def __post_init__(self) -> None:
        _check_size(self.quantity, self.margin)
        if not 1 <= self.leverage <= LARGEST_LEVERAGE:
            raise ValueError(f"leverage must be 1 to {LARGEST_LEVERAGE}, was {self.leverage}")
        check_digits("leverage", self.leverage)
        for name in ("limit", "stoploss", "takeprofit"):
            check_price(name, getattr(self, name))
        if self.trailing is not None and self.stoploss is not None:
            raise ValueError("a stop is fixed or trailing, not both")
        check_trailing(self.trailing)
        check_client_id(self.client_id)

    def cost_at(self, price: UsdPerBtc) -> Sats:
        """Return the sats that leave the free balance: margin, and what is put aside for fees (6.5).

        A trade at market is reckoned at `price`.
        """
        entry = self.limit or price
        quantity = self.quantity or formulas.quantity_for(self.margin or Sats(0), entry, self.leverage)
        margin = self.margin or formulas.margin_for(quantity, entry, self.leverage)
        if quantity < 1:
            return margin  # too small for a trade: the exchange will refuse it
        liquidation = formulas.liquidation_price(self.side, quantity, entry, margin)
        fees = formulas.opening_reserve(quantity, entry) + formulas.closing_reserve(
            quantity, liquidation
        )
        return Sats(margin + fees)


def _check_size(quantity: Usd | None, margin: Sats | None) -> None:
    if (quantity is None) == (margin is None):
        raise ValueError("exactly one of quantity and margin must be given")
    if quantity is not None and not 1 <= quantity <= LARGEST_ORDER:
        raise ValueError(f"quantity must be 1 to {LARGEST_ORDER}, was {quantity}")
    if margin is not None and margin < 1:
        raise ValueError(f"margin must be positive, was {margin}")


def check_price(name: str, price: UsdPerBtc | None) -> None:
    """Raise ValueError unless the price is absent, or in range and on the grid."""
    if price is not None and not (MIN_PRICE <= price <= MAX_PRICE and is_on_grid(price)):
        raise ValueError(
            f"{name} must be a multiple of 0.5 from {MIN_PRICE} to {MAX_PRICE}, was {price}"
        )


def check_trailing(distance: Decimal | None) -> None:
    """Raise ValueError unless the distance is absent or in the exchange's range (6.1)."""
    least, most = TRAILING_RANGE
    if distance is not None and not least <= distance <= most:
        raise ValueError(f"a trailing distance must be {least} to {most}, was {distance}")
    if distance is not None:
        check_digits("a trailing distance", distance)


def check_digits(name: str, number: Decimal) -> None:
    if len(number.normalize().as_tuple().digits) > MOST_DIGITS:
        raise ValueError(f"{name} must have at most {MOST_DIGITS} digits, was {number}")


def check_client_id(client_id: str | None) -> None:
    """Raise ValueError unless the label is absent or 1 to 64 printable ASCII characters (2.3)."""
    if client_id is None:
        return
    if not (
        0 < len(client_id) <= LONGEST_CLIENT_ID and client_id.isascii() and client_id.isprintable()
    ):
        raise ValueError(f"a client id must be 1 to {LONGEST_CLIENT_ID} printable ASCII characters")


@dataclass(frozen=True, slots=True, kw_only=True)
class OpenOrder:
    """A limit trade that waits for its price."""

    id: PositionId
    side: Side
    quantity: Usd
    margin: Sats
    leverage: Decimal
    limit: UsdPerBtc
    liquidation: UsdPerBtc
    """Where it will be liquidated once it runs, as planned."""
    stoploss: UsdPerBtc | None
    trailing: Decimal | None
    takeprofit: UsdPerBtc | None
    created_at: datetime | None
    client_id: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class ClosedTrade:
    """A trade that ran and is over."""

    id: PositionId
    side: Side
    quantity: Usd
    margin: Sats
    entry: UsdPerBtc
    exit: UsdPerBtc
    profit: Sats
    """Realised, before fees; a loss is negative."""
    opening_fee: Sats
    closing_fee: Sats
    funding_fees: Sats | None
    """Signed: positive was paid; None: not known."""
    created_at: datetime | None
    closed_at: datetime | None
    client_id: str | None
    liquidation: UsdPerBtc | None = None
    """As it was last; with the exits, it tells what ended the trade."""
    stoploss: UsdPerBtc | None = None
    takeprofit: UsdPerBtc | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class CanceledTrade:
    """A limit trade that was taken back before it ran."""

    id: PositionId
    side: Side
    quantity: Usd
    limit: UsdPerBtc
    canceled_at: datetime | None
    client_id: str | None
