"""From an order to the trade it plans: size, margin, reserves, liquidation (API notes, 6.3 to 6.6)."""

from dataclasses import dataclass
from decimal import Decimal
from fractions import Fraction

from exchange import formulas
from exchange.formulas import Side
from exchange.money import Sats, Usd, UsdPerBtc
from exchange.simulator.engine import stops
from exchange.simulator.engine.market import Market, checked_price
from exchange.simulator.engine.refused import Refused
from exchange.simulator.engine.trade import MAX_LEVERAGE, MAX_QUANTITY, OrderType, State, Trade


@dataclass(frozen=True, slots=True, kw_only=True)
class NewTrade:
    """What a client asked for. One of `quantity` and `margin` is given; `price` is for limit orders."""

    type: OrderType
    side: Side
    leverage: Decimal
    quantity: Usd | None
    margin: Sats | None
    price: Decimal | None
    stoploss: Decimal
    trailing: bool
    takeprofit: Decimal
    client_id: str | None


def planned(order: NewTrade, *, trade_id: str, market: Market, now_ms: int) -> Trade:
    """Return the trade as it would rest in the book; `Refused` where a rule forbids it."""
    if not 1 <= order.leverage <= MAX_LEVERAGE:
        raise Refused(f"Leverage must be between 1 and {MAX_LEVERAGE}")
    price, quantity, margin = _size(order, market)
    if not 1 <= quantity <= MAX_QUANTITY:
        raise Refused(f"Quantity must be between 1 and {MAX_QUANTITY}")
    if margin < 1:
        raise Refused("Margin must be at least 1 sat")
    liquidation = formulas.liquidation_price(order.side, quantity, price, margin)
    trade = Trade(
        id=trade_id,
        type=order.type,
        side=order.side,
        quantity=quantity,
        margin=margin,
        leverage=Fraction(order.leverage),
        price=price,
        liquidation=liquidation,
        maintenance_margin=_reserves(quantity, price, liquidation),
        created_at_ms=now_ms,
        state=State.OPEN,
        client_id=order.client_id,
        entry_price=price,
        entry_margin=margin,
    )
    return _with_stops(trade, order, market.price)


def _size(order: NewTrade, market: Market) -> tuple[UsdPerBtc, Usd, Sats]:
    """Return entry price, contracts and margin; the ladder's rung depends on the contracts."""
    if order.quantity is not None:
        price = _entry(order, market, order.quantity)
        return price, order.quantity, formulas.margin_for(order.quantity, price, order.leverage)
    if order.margin is None:
        raise Refused("Either quantity or margin is needed")
    if order.price is not None:
        price = checked_price(order.price)
        return price, formulas.quantity_for(order.margin, price, order.leverage), order.margin
    for bucket in market.ladder():
        price = bucket.execution(order.side)
        quantity = formulas.quantity_for(order.margin, price, order.leverage)
        if quantity <= bucket.max_size:
            return price, quantity, order.margin
    raise Refused(f"Quantity must be between 1 and {MAX_QUANTITY}")


def _entry(order: NewTrade, market: Market, quantity: Usd) -> UsdPerBtc:
    if order.price is not None:
        return checked_price(order.price)
    return market.execution_price(order.side, quantity)


def _reserves(quantity: Usd, entry: UsdPerBtc, liquidation: UsdPerBtc) -> Sats:
    return Sats(
        formulas.opening_reserve(quantity, entry) + formulas.closing_reserve(quantity, liquidation)
    )


def _with_stops(trade: Trade, order: NewTrade, market: UsdPerBtc) -> Trade:
    if order.stoploss and order.trailing:
        trade = stops.with_trailing_stop(trade, order.stoploss, market=market)
    elif order.stoploss:
        trade = stops.with_stoploss(trade, order.stoploss, market=market)
    if order.takeprofit:
        trade = stops.with_takeprofit(trade, order.takeprofit, market=market)
    return trade
