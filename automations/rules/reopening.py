"""What is opened anew after an isolated trade was closed to make it smaller (API notes, 7.1 A)."""

from decimal import ROUND_DOWN, ROUND_UP, Decimal
from fractions import Fraction
from typing import Final

from automations.rules.actions import OpenPosition, ReducePosition
from exchange import formulas
from exchange.formulas import FIRST_TIER_FEE_RATE
from exchange.money import TICK, Sats, Usd, UsdPerBtc
from exchange.position import Position
from exchange.trade import LARGEST_LEVERAGE, LARGEST_ORDER, NewTrade

_HUNDREDTH: Final = Decimal("0.01")


def rest_of(
    position: Position, action: ReducePosition, price: UsdPerBtc, *, client_id: str | None
) -> OpenPosition:
    """Return the trade over what the reduction leaves of the position, to be opened at the market.

    Its leverage is the position's, or as much more as it takes to live on what the close gives back:
    a reduction spends no fresh sats. Stop, trailing stop and take profit are passed again where they
    still fit, for the exchange forgets them with the old trade; `why` names what did not fit.
    """
    quantity = Usd(min(position.quantity - action.quantity, LARGEST_ORDER))
    leverage = _leverage(position, quantity, price)
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


def pays_for_itself(position: Position, rest: OpenPosition, price: UsdPerBtc) -> bool:
    """Whether what the close gives back pays for the rest, also at the most leverage there is."""
    assert isinstance(rest.order, NewTrade)
    return rest.order.cost_at(price) <= _given_back(position, price)


def _stop_fits(position: Position, stop: UsdPerBtc, liquidation: UsdPerBtc, price: UsdPerBtc) -> bool:
    nearest = liquidation + position.side.sign * TICK
    return formulas.stoploss_fits(position.side, stop, liquidation=nearest, reference=price)


def _leverage(position: Position, quantity: Usd, price: UsdPerBtc) -> Decimal:
    """Return it in hundredths: the exchange's own number may have more digits than it takes back."""
    leverage = max(position.leverage.quantize(_HUNDREDTH, ROUND_DOWN), Decimal(1))
    left = _given_back(position, price) - formulas.opening_reserve(quantity, price)
    if left <= 0:
        return Decimal(LARGEST_LEVERAGE)
    # A first guess without the closing fee, whose reserve depends on the liquidation it leads to.
    leverage = max(leverage, _rounded_up(formulas.leverage_of(quantity, price, Sats(left))))
    while leverage < LARGEST_LEVERAGE and _cost(position, quantity, price, leverage) > left:
        leverage += _HUNDREDTH
    return min(leverage, Decimal(LARGEST_LEVERAGE))


def _cost(position: Position, quantity: Usd, price: UsdPerBtc, leverage: Decimal) -> int:
    """Return the margin and the closing reserve of the rest (6.3, 6.4)."""
    margin = formulas.margin_for(quantity, price, leverage)
    liquidation = formulas.liquidation_price(position.side, quantity, price, margin)
    return margin + formulas.closing_reserve(quantity, liquidation)


def _given_back(position: Position, price: UsdPerBtc) -> int:
    """Return the sats that come back when the position is closed at `price` (6.5)."""
    fee = formulas.fee(position.quantity, price, FIRST_TIER_FEE_RATE)
    profit = formulas.profit_sats(position.side, position.quantity, position.entry, price)
    return position.margin + position.maintenance_margin + profit - fee


def _rounded_up(leverage: Fraction) -> Decimal:
    exact = Decimal(leverage.numerator) / Decimal(leverage.denominator)
    return min(exact, Decimal(LARGEST_LEVERAGE)).quantize(_HUNDREDTH, ROUND_UP)
