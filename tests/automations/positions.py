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
    maintenance = formulas.cross_maintenance(trade.quantity, trade.entry)
    margin = trade.margin + draw(st.integers(min_value=1, max_value=10_000_000))
    liquidation = formulas.cross_liquidation(
        trade.side, trade.quantity, trade.entry, Sats(margin + maintenance)
    )
    return replace(
        trade,
        id=CROSS,
        regime=Regime.CROSS,
        margin=Sats(margin),
        maintenance_margin=maintenance,
        liquidation=liquidation,
    )
