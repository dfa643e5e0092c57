"""The cross margin of one account: orders, one position, deposits (API notes, 3.7, 6.12)."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from decimal import Decimal

from exchange import formulas
from exchange.formulas import Side
from exchange.money import Sats, Usd, UsdPerBtc
from exchange.simulator.engine import cross_events
from exchange.simulator.engine.cross_position import (
    CrossOrder,
    CrossOrderType,
    CrossPosition,
    OrderState,
    executed,
)
from exchange.simulator.engine.desk import Desk
from exchange.simulator.engine.funding import FundingFee, Settlement
from exchange.simulator.engine.market import checked_price
from exchange.simulator.engine.refused import Refused
from exchange.simulator.engine.zone import QuietZone


@dataclass(frozen=True, slots=True, kw_only=True)
class NewCrossOrder:
    """What a client asked for; without a `price` it is a market order."""

    side: Side
    quantity: Usd
    price: Decimal | None
    client_id: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Transfer:
    """Sats from the balance to the cross margin; negative the other way."""

    id: str
    amount: Sats
    time_ms: int


class CrossBook:
    """Every method either does the whole of what it says or raises `Refused` and changes nothing."""

    def __init__(self, desk: Desk, *, now_ms: int) -> None:
        self._desk = desk
        self._market = desk.market
        self._quiet = QuietZone(self._levels)
        self._open: dict[str, CrossOrder] = {}
        self._filled: list[CrossOrder] = []
        self._transfers: list[Transfer] = []
        self._funding: list[FundingFee] = []
        self.position = CrossPosition(id=desk.new_id(), updated_at_ms=now_ms)

    @property
    def initial_margin(self) -> Sats:
        """What the open orders would need."""
        return Sats(sum(self._margin_of(order) for order in self._open.values()))

    def open_orders(self) -> list[CrossOrder]:
        return list(reversed(self._open.values()))

    def filled_orders(self) -> list[CrossOrder]:
        return self._filled[::-1]

    def transfers(self) -> list[Transfer]:
        return self._transfers[::-1]

    def funding_fees(self) -> list[FundingFee]:
        return self._funding[::-1]

    def order(self, new: NewCrossOrder, now_ms: int) -> CrossOrder:
        """Execute a market order now, or let a limit order rest."""
        if new.price is None:
            price = self._market.execution_price(new.side, new.quantity)
            order = self._new_order(CrossOrderType.MARKET, new, price, now_ms)
            return self._execute(order, "new", now_ms)
        order = self._new_order(CrossOrderType.LIMIT, new, checked_price(new.price), now_ms)
        self._check_room(self.position, Sats(self.initial_margin + self._margin_of(order)), order)
        self._open[order.id] = order
        self._touch(self.position, now_ms)
        self._tell(order, "new")
        return order

    def cancel(self, order_id: str, now_ms: int) -> CrossOrder:
        order = self._open.get(order_id)
        if order is None:
            raise Refused("You have no such open order")
        del self._open[order_id]
        canceled = replace(order, state=OrderState.CANCELED, canceled_at_ms=now_ms)
        self._touch(self.position, now_ms)
        self._desk.emit(cross_events.order_changed(self._desk.account, "canceled", canceled))
        self._tell_position("cancel")
        return canceled

    def cancel_all(self, now_ms: int) -> list[CrossOrder]:
        return [self.cancel(order.id, now_ms) for order in self.open_orders()]

    def close(self, now_ms: int) -> CrossOrder:
        """Send the opposite market order for the whole position."""
        if not self.position.quantity:
            raise Refused("There is no position to close")
        new = NewCrossOrder(
            side=self.position.side.opposite,
            quantity=self.position.size,
            price=None,
            client_id=None,
        )
        return self.order(new, now_ms)

    def set_leverage(self, leverage: int, now_ms: int) -> None:
        changed = replace(self.position, leverage=leverage)
        self._check_size(changed)
        self._check_room(changed, self.initial_margin)
        self._touch(changed, now_ms)
        self._tell_position("leverage")

    def deposit(self, amount: Sats, now_ms: int) -> None:
        self._desk.wallet.take(amount)
        self._transfer(amount, now_ms)
        self._tell_position("deposit")

    def withdraw(self, amount: Sats, now_ms: int) -> None:
        changed = replace(self.position, margin=Sats(self.position.margin - amount))
        self._check_room(changed, self.initial_margin)
        if changed.is_liquidated_at(self._market.price):
            raise Refused("The position would be liquidated")
        self._transfer(Sats(-amount), now_ms)
        self._desk.wallet.give(amount)
        self._tell_position("withdraw")

    def fund(self, settlement: Settlement) -> None:
        """Pay or receive funding on the position, from or to its margin."""
        position = self.position
        if not position.quantity:
            return
        fee = formulas.funding_fee(position.side, position.size, settlement.fixing, settlement.rate)
        self._funding.append(
            FundingFee(fee=fee, settlement=settlement.id, time_ms=settlement.time_ms, trade=None)
        )
        paid = replace(
            position,
            margin=Sats(position.margin - fee),
            funding_fees=Sats(position.funding_fees + fee),
        )
        self._touch(paid, settlement.time_ms)
        self._tell_position("funding")
        self.settle(self._market.price, self._market.price, settlement.time_ms)

    def settle(self, before: UsdPerBtc, now: UsdPerBtc, now_ms: int) -> None:
        """Carry out what one price step does to orders and position, in the order of its way."""
        if self._quiet.holds(before, now):
            return
        order = self._next_touched(before, now)
        while order is not None and not self._ends_before(order, before, now):
            self._fill(order, now_ms)
            before = order.price
            order = self._next_touched(before, now)
        if self.position.is_liquidated_at(now) or self.position.is_liquidated_at(before):
            self._liquidate(now_ms)

    def _ends_before(self, order: CrossOrder, at: UsdPerBtc, now: UsdPerBtc) -> bool:
        """Whether the way from `at` to `now` meets the liquidation price before the order's."""
        level = self.position.liquidation
        if level is None or self.position.is_liquidated_at(at):
            return level is not None
        return self.position.is_liquidated_at(now) and abs(level - at) <= abs(order.price - at)

    def _next_touched(self, at: UsdPerBtc, now: UsdPerBtc) -> CrossOrder | None:
        """Return the open order that the way from `at` to `now` meets first."""
        low, high = min(at, now), max(at, now)
        touched = [order for order in self._open.values() if low <= order.price <= high]
        return min(touched, key=lambda order: abs(order.price - at)) if touched else None

    def _fill(self, order: CrossOrder, now_ms: int) -> None:
        del self._open[order.id]
        try:
            self._execute(order, "limit", now_ms)
        except Refused:
            # The margin is gone since the order was placed: nobody is there to be told but the stream.
            self._open[order.id] = order
            self.cancel(order.id, now_ms)

    def _execute(self, order: CrossOrder, event: str, now_ms: int) -> CrossOrder:
        position, fee = executed(
            self.position, order.side, order.quantity, order.price, fee_rate=self._desk.fees.rate
        )
        self._check_size(position)
        self._check_room(position, self.initial_margin, order)
        # What a limit order executes at is where the price is at that moment of its step.
        market = order.price if order.type is CrossOrderType.LIMIT else self._market.price
        if position.is_liquidated_at(market):
            raise Refused("The position would be liquidated")
        filled = replace(order, state=OrderState.FILLED, trading_fee=fee, filled_at_ms=now_ms)
        self._filled.append(filled)
        self._market.traded(filled.quantity)
        self._touch(position, now_ms)
        self._tell(filled, event)
        return filled

    def _liquidate(self, now_ms: int) -> None:
        """Use up the whole margin: the loss up to the level, and the rest as the fee."""
        position, price = self.position, self.position.liquidation
        assert price is not None
        for order in self.open_orders():
            self.cancel(order.id, now_ms)
        loss = Sats(max(position.profit_sats(price), -position.margin))
        fee = Sats(position.margin + loss)
        filled = CrossOrder(
            id=self._desk.new_id(),
            type=CrossOrderType.LIQUIDATION,
            side=position.side.opposite,
            quantity=position.size,
            price=price,
            created_at_ms=now_ms,
            client_id=None,
            state=OrderState.FILLED,
            trading_fee=fee,
            filled_at_ms=now_ms,
        )
        self._filled.append(filled)
        self._market.traded(filled.quantity)
        gone = replace(
            position,
            quantity=0,
            entry=None,
            margin=Sats(0),
            realised=Sats(position.realised + loss),
            trading_fees=Sats(position.trading_fees + fee),
        )
        self._touch(gone, now_ms)
        self._desk.emit(cross_events.order_changed(self._desk.account, "new", filled))
        self._tell_position("liquidation")

    def _check_size(self, position: CrossPosition) -> None:
        most = formulas.largest_cross_position(position.leverage)
        if position.size > most:
            raise Refused(f"Position would be larger than {most} at {position.leverage}x")

    def _check_room(
        self, position: CrossPosition, initial: Sats, order: CrossOrder | None = None
    ) -> None:
        """Refuse what the margin does not cover (6.12); reducing a position is always covered."""
        if order is not None and self._reduces(order):
            return
        needed = position.running_margin + position.maintenance_margin + initial
        # Strictly more is needed while anything is at stake, and nothing while nothing is.
        if position.margin < needed or (needed and position.margin == needed):
            raise Refused(f"Insufficient margin: more than {needed} sats needed")

    def _reduces(self, order: CrossOrder) -> bool:
        opposite = order.signed * self.position.quantity < 0
        return opposite and order.quantity <= self.position.size

    def _margin_of(self, order: CrossOrder) -> Sats:
        return formulas.margin_for(order.quantity, order.price, self.position.leverage)

    def _new_order(
        self, kind: CrossOrderType, new: NewCrossOrder, price: UsdPerBtc, now_ms: int
    ) -> CrossOrder:
        return CrossOrder(
            id=self._desk.new_id(),
            type=kind,
            side=new.side,
            quantity=new.quantity,
            price=price,
            created_at_ms=now_ms,
            client_id=new.client_id,
        )

    def _transfer(self, amount: Sats, now_ms: int) -> None:
        self._transfers.append(Transfer(id=self._desk.new_id(), amount=amount, time_ms=now_ms))
        self._touch(replace(self.position, margin=Sats(self.position.margin + amount)), now_ms)

    def _levels(self) -> Iterator[UsdPerBtc]:
        """Yield every price at which something would happen."""
        yield from (order.price for order in self._open.values())
        if (level := self.position.liquidation) is not None:
            yield level

    def _touch(self, position: CrossPosition, now_ms: int) -> None:
        self._quiet.forget()
        self.position = replace(position, updated_at_ms=now_ms)

    def _tell(self, order: CrossOrder, event: str) -> None:
        self._desk.emit(cross_events.order_changed(self._desk.account, event, order))
        self._tell_position(event)

    def _tell_position(self, event: str) -> None:
        self._desk.emit(
            cross_events.position_changed(
                self._desk.account,
                event,
                self.position,
                initial=self.initial_margin,
                price=self._market.price,
            )
        )
