"""What is opened anew after an isolated trade was closed to make it smaller (API notes, 7.1 A)."""

from decimal import ROUND_UP, Decimal
from fractions import Fraction
from typing import Final

from automations.rules.actions import OpenPosition, ReducePosition
from exchange import formulas
from exchange.formulas import FIRST_TIER_FEE_RATE, Side
from exchange.money import TICK, Exact, Sats, Usd, UsdPerBtc
from exchange.position import Position
from exchange.trade import LARGEST_LEVERAGE, LARGEST_ORDER, ClosedTrade, NewTrade

_HUNDREDTH: Final = Decimal("0.01")
_FALL: Final = Fraction(1, 1000)
"""By so much the price may fall between the close and the reopening, and the rest is paid for: its size
in sats, and so its margin, grows as the price falls."""


def rest_of(
    position: Position,
    action: ReducePosition,
    price: UsdPerBtc,
    *,
    came_back: Sats,
    client_id: str | None,
) -> OpenPosition:
    """Return the trade over what the reduction leaves of the position, to be opened at the market.

    It keeps the margin that came back from the close, less fees and reserves, as far as the exchange's
    leverage bounds allow: so liquidation is farther away, and no fresh sats are spent. Stop, trailing
    stop and take profit are passed again where they still fit, for the exchange forgets them with the
    old trade; `why` names what did not fit.
    """
    quantity = Usd(min(position.quantity - action.quantity, LARGEST_ORDER))
    leverage = _leverage(position.side, quantity, price, came_back)
    margin = formulas.margin_for(quantity, price, leverage)
    liquidation = formulas.liquidation_price(position.side, quantity, price, margin)
    trailing = position.trailing
    stop = position.stoploss if trailing is None else None
    stop_fits = stop is not None and _stop_fits(position, stop, liquidation, price)
    profit = position.takeprofit
    profit_fits = profit is not None and formulas.takeprofit_fits(
        position.side, profit, reference=price
    )
    order = NewTrade(
        side=position.side,
        leverage=leverage,
        quantity=quantity,
        stoploss=stop if stop_fits else None,
        trailing=trailing,
        takeprofit=profit if profit_fits else None,
        client_id=client_id,
    )
    why = f"the rest after reducing {position.id}"
    if stop is not None and not stop_fits:
        why += f", without the stop at {stop}, which no longer fits"
    if profit is not None and not profit_fits:
        why += f", without the take profit at {profit}, which no longer fits"
    return OpenPosition(order=order, why=why)


def pays_for_itself(rest: OpenPosition, price: UsdPerBtc, came_back: Sats) -> bool:
    """Whether what came back pays for the rest, also at the most leverage there is."""
    assert isinstance(rest.order, NewTrade)
    return rest.order.cost_at(price) <= came_back


def gives_back(position: Position, price: Exact, fee_rate: Exact) -> Sats:
    """Return the sats that come back when the position is closed at `price` (6.5); never negative."""
    fee = formulas.fee(position.quantity, price, fee_rate)
    profit = formulas.profit_sats(position.side, position.quantity, position.entry, price)
    return Sats(max(0, position.margin + position.maintenance_margin + profit - fee))


def gave_back(position: Position, ended: ClosedTrade) -> Sats:
    """Return the sats that came back from a position once it was closed (6.5); never negative."""
    reserved = position.maintenance_margin - ended.closing_fee
    return Sats(max(0, ended.margin + reserved + ended.profit))


def _stop_fits(position: Position, stop: UsdPerBtc, liquidation: UsdPerBtc, price: UsdPerBtc) -> bool:
    nearest = liquidation + position.side.sign * TICK
    return formulas.stoploss_fits(position.side, stop, liquidation=nearest, reference=price)


def _leverage(side: Side, quantity: Usd, price: UsdPerBtc, came_back: Sats) -> Decimal:
    """Return the least, in hundredths, that what came back pays for, reserves included (6.3, 6.4)."""
    low = Fraction(price) * (1 - _FALL)
    left = came_back - formulas.opening_reserve(quantity, low)
    # The closing reserve is that share of the size at liquidation: the size now and the margin, signed.
    size, rate = formulas.notional(quantity, low), Fraction(FIRST_TIER_FEE_RATE)
    margin = (left - rate * size) / (1 + side.sign * rate)
    if margin * LARGEST_LEVERAGE <= size:
        return Decimal(LARGEST_LEVERAGE)
    leverage = _rounded_up(max(Fraction(1), size / margin))
    while leverage < LARGEST_LEVERAGE and _cost(side, quantity, low, leverage) > left:
        leverage += _HUNDREDTH
    return leverage


def _cost(side: Side, quantity: Usd, price: Exact, leverage: Decimal) -> int:
    """Return the margin and the closing reserve of the rest."""
    margin = formulas.margin_for(quantity, price, leverage)
    liquidation = formulas.liquidation_price(side, quantity, price, margin)
    return margin + formulas.closing_reserve(quantity, liquidation)


def _rounded_up(leverage: Fraction) -> Decimal:
    exact = Decimal(leverage.numerator) / Decimal(leverage.denominator)
    return exact.quantize(_HUNDREDTH, ROUND_UP)
