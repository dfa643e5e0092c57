"""The cross margin endpoints of REST v3."""

from typing import SupportsFloat

from exchange import wire_cross
from exchange.cross import (
    CrossOrder,
    CrossOrderId,
    CrossPosition,
    FundingFee,
    NewCrossOrder,
    Transfer,
)
from exchange.fields import json_text
from exchange.instrument import path
from exchange.money import Sats
from exchange.paging import Span
from exchange.ratelimit import Scope
from exchange.rows import Rows
from exchange.transport import Transport
from exchange.wire import about, one

_ORDER = one(wire_cross.order)
_POSITION = one(wire_cross.position)


class CrossRest:
    """One account's cross position. Reads are repeated, writes are sent once.

    Every method raises the four errors of `exchange.errors`, reads all but UnknownOutcomeError.
    """

    def __init__(self, transport: Transport) -> None:
        self._transport = transport

    def position(self, *, urgency: SupportsFloat | None = None) -> CrossPosition:
        """Return it; `urgency` is for what a protective write needs to know."""
        return self._transport.get(
            path("cross/position"), _POSITION, scope=Scope.PRIVATE, urgency=urgency
        )

    def open_orders(self) -> Rows[CrossOrder]:
        return self._transport.get(path("cross/orders/open"), wire_cross.orders, scope=Scope.PRIVATE)

    def filled_orders(self, span: Span) -> Rows[CrossOrder]:
        """Return the orders filled in that time, newest first."""
        return self._transport.pages(
            path("cross/orders/filled"),
            wire_cross.order,
            span,
            scope=Scope.PRIVATE,
            key=lambda order: order.id,
        )

    def transfers(self, span: Span) -> Rows[Transfer]:
        """Return what was moved in and out in that time, newest first."""
        return self._transport.pages(
            path("cross/transfers"),
            wire_cross.transfer,
            span,
            scope=Scope.PRIVATE,
            key=lambda transfer: transfer.id,
        )

    def funding_fees(self, span: Span) -> Rows[FundingFee]:
        """Return the funding of the cross position in that time, newest first."""
        return self._transport.pages(
            path("cross/funding-fees"),
            wire_cross.funding_fee,
            span,
            scope=Scope.PRIVATE,
            key=lambda fee: fee.settlement_id,
        )

    def order(
        self,
        order: NewCrossOrder,
        *,
        protective: bool = False,
        urgency: SupportsFloat | None = None,
    ) -> CrossOrder:
        """Send an order; each success acts again. `protective`: it cuts risk."""
        return self._transport.write(
            "POST",
            path("cross/order"),
            _ORDER,
            body=wire_cross.new_order_body(order),
            protective=protective,
            urgency=urgency,
        )

    def cancel(self, order_id: CrossOrderId) -> CrossOrder:
        return self._transport.write(
            "POST",
            path("cross/order/cancel"),
            about(order_id, _ORDER),
            body=json_text({"id": order_id}),
            protective=True,
        )

    def cancel_all(self) -> Rows[CrossOrder]:
        return self._transport.write(
            "POST", path("cross/orders/cancel-all"), wire_cross.orders, protective=True
        )

    def close_position(self, *, urgency: SupportsFloat | None = None) -> CrossOrder:
        """Close the whole position at market."""
        return self._transport.write(
            "POST", path("cross/position/close"), _ORDER, protective=True, urgency=urgency
        )

    def set_leverage(self, leverage: int) -> CrossPosition:
        if not 1 <= leverage <= 100:
            raise ValueError(f"leverage must be 1 to 100, was {leverage}")
        return self._transport.write(
            "PUT", path("cross/leverage"), _POSITION, body=json_text({"leverage": leverage})
        )

    def deposit(self, amount: Sats, *, urgency: SupportsFloat | None = None) -> CrossPosition:
        """Move sats from the balance into the cross margin; each success acts again."""
        return self._move("deposit", amount, protective=True, urgency=urgency)

    def withdraw(self, amount: Sats) -> CrossPosition:
        """Move sats from the cross margin into the balance; each success acts again."""
        return self._move("withdraw", amount, protective=False)

    def _move(
        self, call: str, amount: Sats, *, protective: bool, urgency: SupportsFloat | None = None
    ) -> CrossPosition:
        if amount < 1:
            raise ValueError(f"the amount must be positive, was {amount}")
        return self._transport.write(
            "POST",
            path(f"cross/{call}"),
            _POSITION,
            body=json_text({"amount": amount}),
            protective=protective,
            urgency=urgency,
        )
