"""What a decision sees: the price and the positions of one regime, with their age and source."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

from django.conf import settings

from exchange.account import Balance
from exchange.client import Client
from exchange.live import View
from exchange.market import Quote, Source
from exchange.position import Position, PositionId, PositionsSnapshot, Regime


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


def read(
    client: Client,
    regime: Regime,
    *,
    not_before: datetime | None = None,
    ahead: View | None = None,
    positions_max_age_s: float | None = None,  # noqa: ARG001
) -> Seen:
    """Read the price, and positions no older than their limit nor than `not_before`.

    `ahead` is what the live view held when it was read for many accounts at once.

    Raises:
        ExchangeError: what was asked for cannot be had that fresh.
    """
    if regime is Regime.ISOLATED:
        snapshot = client.snapshot(settings.DATA_MAX_AGE_S, not_before=not_before, ahead=ahead)
        return Seen(quote=snapshot.quote, positions=snapshot.positions, balance=snapshot.balance)
    return replace(read_price(client, ahead=ahead), positions=read_cross(client))


def read_cross(
    client: Client, *, now: Callable[[], datetime] = lambda: datetime.now(UTC)
) -> PositionsSnapshot:
    """Read the cross position by REST, as a snapshot of one position or none."""
    at = now()
    position = client.rest.cross.position().running()
    return PositionsSnapshot(positions=(position,) if position else (), at=at, source=Source.REST)


def read_all(client: Client) -> PositionsSnapshot:
    """Read the isolated trades and the cross position by REST, as old as the older of the two."""
    isolated = client.rest.positions()
    cross = read_cross(client)
    return replace(isolated, positions=(*isolated.positions, *cross.positions))


def read_price(client: Client, *, ahead: View | None = None) -> Seen:
    glance = client.glance(settings.DATA_MAX_AGE_S, ahead=ahead)
    return Seen(quote=glance.quote, positions=None, balance=glance.balance)


def described(position: Position, quote: Quote) -> dict[str, Any]:
    """Return a position at a price as the record and the journal keep it."""
    return {
        "margin": position.margin,
        "marginRatio": str(_six_places(position.margin_ratio_at(quote.price))),
        "liquidation": plain(position.liquidation),
        "quantity": position.quantity,
        "entry": plain(position.entry),
        "fundingFees": position.funding_fees,
        "stoploss": None if position.stoploss is None else plain(position.stoploss),
        "trailing": None if position.trailing is None else plain(position.trailing),
        "takeprofit": None if position.takeprofit is None else plain(position.takeprofit),
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
