"""Positions for tests, by the exchange's own formulas; and strategies that draw them."""

from dataclasses import replace
from decimal import Decimal
from typing import Any

from hypothesis import strategies as st

from exchange import formulas
from exchange.formulas import Side
from exchange.money import Sats, Usd, UsdPerBtc
from exchange.position import CROSS, Position, PositionId, Regime


def running(
    side: Side = Side.BUY,
    *,
    quantity: int = 1000,
    entry: Decimal | int = 100_000,
    leverage: Decimal | int = 10,
    **changes: Any,
) -> Position:
    """Return a trade as the exchange reports it right after a market fill."""
    size, price = Usd(quantity), UsdPerBtc(Decimal(entry))
    margin = formulas.margin_for(size, price, leverage)
    liquidation = formulas.liquidation_price(side, size, price, margin)
    fields: dict[str, Any] = {
        "id": PositionId("p1"),
        "side": side,
        "quantity": size,
        "entry": price,
        "margin": margin,
        "maintenance_margin": formulas.closing_reserve(size, liquidation),
        "liquidation": liquidation,
        "leverage": Decimal(leverage),
        "stoploss": None,
        "takeprofit": None,
        "filled_at": None,
        "client_id": None,
    }
    return Position(**(fields | changes))


def crossed(
    side: Side = Side.BUY,
    *,
    quantity: int = 1000,
    entry: Decimal | int = 100_000,
    margin: int = 500_000,
) -> Position:
    """Return a cross position on so much collateral (API notes, 6.12)."""
    size, price, collateral = Usd(quantity), UsdPerBtc(Decimal(entry)), Sats(margin)
    maintenance = formulas.cross_maintenance(size, price)
    return replace(
        running(side, quantity=quantity, entry=entry),
        id=CROSS,
        regime=Regime.CROSS,
        margin=Sats(collateral - maintenance),
        maintenance_margin=maintenance,
        liquidation=formulas.cross_liquidation(side, size, price, collateral),
    )


prices = st.integers(min_value=2_000, max_value=2_000_000).map(lambda half: Decimal(half) / 2)


@st.composite
def positions(draw: st.DrawFn) -> Position:
    """Draw any position with a margin of a few sats at least, isolated or cross (API notes, 6.12)."""
    trade = running(
        draw(st.sampled_from(Side)),
        quantity=draw(st.integers(min_value=100, max_value=500_000)),
        entry=draw(prices),
        leverage=draw(st.integers(min_value=1, max_value=100)),
    )
    if draw(st.sampled_from(Regime)) is Regime.ISOLATED:
        return trade
    return crossed(
        trade.side,
        quantity=trade.quantity,
        entry=trade.entry,
        margin=trade.margin
        + formulas.cross_maintenance(trade.quantity, trade.entry)
        + draw(st.integers(min_value=1, max_value=10_000_000)),
    )
