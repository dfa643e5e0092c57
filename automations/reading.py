"""What a decision sees: the price and the positions of one regime, with their age and source."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from decimal import Decimal
from typing import Any

from django.conf import settings

from exchange import formulas
from exchange.account import Balance
from exchange.client import Client
from exchange.cross import CrossOrder
from exchange.errors import ExchangeError, KeyRefusedError
from exchange.formulas import Side
from exchange.live import View
from exchange.market import Quote, Source
from exchange.money import UsdPerBtc
from exchange.position import CROSS, Position, PositionId, PositionsSnapshot, Regime
from exchange.ratelimit import NOT_URGENT
from exchange.trade import ClosedTrade
from exchange.unreadable import Unreadable


@dataclass(frozen=True, slots=True, kw_only=True)
class Seen:
    """Price and positions at one moment."""

    quote: Quote
    positions: PositionsSnapshot | None
    """None where only the price was asked for."""
    balance: Balance | None = None
    """As somebody last read it, at most two minutes ago: asking anew would hold up the order."""

    def position(self, position_id: PositionId) -> Position | None:
        for position in self.positions.positions if self.positions else ():
            if position.id == position_id:
                return position
        return None

    def hidden(self, position_id: PositionId) -> Unreadable | None:
        """Return the row that is the position, or may be, and cannot be read; None: there is none."""
        return self.positions.hidden(position_id) if self.positions else None


def read(
    client: Client,
    regime: Regime,
    *,
    not_before: datetime | None = None,
    ahead: View | None = None,
    positions_max_age_s: float | None = None,
    position_id: PositionId | None = None,
) -> Seen:
    """Read the price, and positions no older than their limit nor than `not_before`.

    `ahead` is what the live view held when it was read for many accounts at once.
    `positions_max_age_s` is the limit of the positions alone; by default that of the price. Where only
    one position is asked for, it may be the only one that is returned.

    Raises:
        ExchangeError: what was asked for cannot be had that fresh.
    """
    if regime is Regime.ISOLATED:
        snapshot = client.snapshot(
            settings.DATA_MAX_AGE_S,
            not_before=not_before,
            ahead=ahead,
            positions_max_age_s=positions_max_age_s,
            position_id=position_id,
        )
        return Seen(quote=snapshot.quote, positions=snapshot.positions, balance=snapshot.balance)
    # The price after the position: it would be old by the time a slow exchange has answered.
    limit_s = settings.DATA_MAX_AGE_S if positions_max_age_s is None else positions_max_age_s
    positions = client.held_cross(limit_s, not_before, ahead=ahead)
    return replace(read_price(client, ahead=ahead), positions=positions)


def read_all(client: Client) -> PositionsSnapshot:
    """Read the isolated trades and the cross position by REST, as old as the older of the two.

    Whoever arms triggers takes them however long they took: old ones are better than none. A cross
    position that the exchange does not tell costs no trade: it is there, and cannot be read.

    Raises:
        ExchangeError: the trades cannot be read, or the key is refused.
    """
    isolated = client.rest.positions()
    try:
        cross = client.cross()
    except KeyRefusedError:
        raise
    except ExchangeError as error:
        untold = Unreadable(id=CROSS, label=None, fault=str(error))
        cross = replace(isolated, positions=(), unreadable=(untold,))
    return replace(
        isolated,
        positions=(*isolated.positions, *cross.positions),
        unreadable=(*isolated.unreadable, *cross.unreadable),
        with_cross=True,
    )


def read_again(client: Client, regime: Regime) -> PositionsSnapshot:
    """Read the positions of a regime by REST now, whatever is known: a second look at what lasts.

    Raises:
        ExchangeError: they cannot be read.
    """
    if regime is Regime.CROSS:
        return client.cross(urgency=NOT_URGENT)
    return client.rest.positions(urgency=NOT_URGENT)


def read_price(client: Client, *, ahead: View | None = None) -> Seen:
    glance = client.glance(settings.DATA_MAX_AGE_S, ahead=ahead)
    return Seen(quote=glance.quote, positions=None, balance=glance.balance)


def described(position: Position, quote: Quote) -> dict[str, Any]:
    """Return a position at a price as the record and the journal keep it."""
    profit = position.profit_at(quote.price)
    return {
        "side": position.side.value,
        "margin": position.margin,
        "pnl": formulas.profit_sats(position.side, position.quantity, position.entry, quote.price),
        "pnlPercentage": str(_six_places(100 * profit / position.margin)) if position.margin else None,
        "marginRatio": str(_six_places(position.margin_ratio_at(quote.price))),
        "liquidation": plain(position.liquidation),
        "quantity": position.quantity,
        "entry": plain(position.entry),
        "fundingFees": position.funding_fees,
        "cashedIn": position.cashed_in,
        "stoploss": None if position.stoploss is None else plain(position.stoploss),
        "trailing": None if position.trailing is None else plain(position.trailing),
        "takeprofit": None if position.takeprofit is None else plain(position.takeprofit),
    }


def closing(trade: ClosedTrade) -> dict[str, Any]:
    """Return how a trade ended, as the record and the journal keep it; the profit is before fees."""
    return {
        "exitPrice": plain(trade.exit),
        "realisedPnl": trade.profit,
        "openingFee": trade.opening_fee,
        "closingFee": trade.closing_fee,
        "fundingFees": trade.funding_fees,
    }


def closing_on_cross(position: Mapping[str, Any], order: CrossOrder) -> dict[str, Any]:
    """Return the same for an order that closed some of the cross position, as it stood before.

    The exchange tells no profit of one order: it is computed.
    """
    side, entry = Side(position["side"]), UsdPerBtc(Decimal(position["entry"]))
    return {
        "exitPrice": plain(order.price),
        "realisedPnl": formulas.profit_sats(side, order.quantity, entry, order.price),
        "closingFee": order.trading_fee,
    }


def told(balance: Balance | None) -> dict[str, Any]:
    """Return the balance as the record and the journal keep it; unknown is null, never 0."""
    return {
        "balance": None if balance is None else balance.free,
        "balanceAt": None if balance is None else balance.at.isoformat(),
        "balanceSource": None if balance is None else Source.REST.value,
    }


def plain(number: Decimal) -> str:
    """Return one text for one number, however many zeros it came with."""
    return f"{number.normalize():f}"


def _six_places(value: Any) -> Decimal:
    return (Decimal(value.numerator) / Decimal(value.denominator)).quantize(Decimal("0.000001"))
