"""The isolated trades of one account, changed by their owner and by the price (API notes, 3.6)."""

from collections.abc import Iterator
from dataclasses import replace
from decimal import Decimal

from exchange import formulas
from exchange.money import Sats, UsdPerBtc
from exchange.simulator.engine import events, stops
from exchange.simulator.engine.desk import Desk
from exchange.simulator.engine.funding import FundingFee, Settlement
from exchange.simulator.engine.margin import cashed_in, with_margin
from exchange.simulator.engine.opening import NewTrade, planned
from exchange.simulator.engine.refused import Refused
from exchange.simulator.engine.settlement import exit_in, fills, levels_of, tightens_beyond, trailed
from exchange.simulator.engine.trade import MAX_LEVERAGE, Exit, OrderType, State, Trade
from exchange.simulator.engine.zone import QuietZone


class IsolatedBook:
    """Every method either does the whole of what it says or raises `Refused` and changes nothing."""

    def __init__(self, desk: Desk) -> None:
        self._desk = desk
        self._market = desk.market
        self._quiet = QuietZone(self._levels)
        self._live: dict[str, Trade] = {}
        self._ended: dict[str, Trade] = {}
        self._funding: list[FundingFee] = []

    def listed(self, state: State) -> list[Trade]:
        """Return the trades in a state, the newest first (created, or ended where they have)."""
        book = self._live if state in {State.OPEN, State.RUNNING} else self._ended
        return [trade for trade in reversed(book.values()) if trade.state is state]

    def create(self, order: NewTrade, now_ms: int) -> Trade:
        most = self._desk.rules.most_trades
        if len(self._live) >= most:
            raise Refused(f"At most {most} trades may be open or running")
        trade = planned(order, trade_id=self._desk.new_id(), market=self._market, now_ms=now_ms)
        self._check_margin(trade.margin, trade.margin)
        self._desk.wallet.take(trade.locked)
        if trade.type is OrderType.MARKET:
            return self._fill(trade, self._market.price, now_ms)
        self._desk.emit(events.trade_created(self._desk.account, trade, "open"))
        return self._keep(trade)

    def close(self, trade_id: str, now_ms: int) -> Trade:
        """Close a whole running trade at the market."""
        trade = self._running(trade_id)
        price = self._market.execution_price(trade.side.opposite, trade.quantity)
        return self._end(trade, Exit.BY_USER, price, now_ms)

    def cancel(self, trade_id: str, now_ms: int) -> Trade:
        trade = self._found(trade_id)
        if trade.state is not State.OPEN:
            raise Refused("Trade is not open")
        canceled = replace(trade, state=State.CANCELED, closed_at_ms=now_ms)
        self._desk.wallet.give(trade.locked)
        self._retire(canceled)
        self._desk.emit(events.trade_canceled(self._desk.account, canceled))
        return canceled

    def cancel_all(self, now_ms: int) -> list[Trade]:
        return [self.cancel(trade.id, now_ms) for trade in self.listed(State.OPEN)]

    def add_margin(self, trade_id: str, amount: Sats) -> Trade:
        """Add sats to a running trade; no event tells of it (5.9)."""
        trade = self._running(trade_id)
        if trade.margin + amount > formulas.largest_margin(trade.quantity, trade.price):
            raise Refused("Leverage would fall below 1")
        self._check_margin(trade.margin + amount, amount)
        self._desk.wallet.take(amount)
        return self._keep(with_margin(trade, Sats(trade.margin + amount)))

    def cash_in(self, trade_id: str, amount: Sats) -> Trade:
        """Take sats out of a running trade, profit first; no event tells of it (5.9)."""
        trade = self._running(trade_id)
        changed = cashed_in(trade, amount, market=self._market.price)
        self._desk.wallet.give(amount)
        return self._keep(changed)

    def set_stoploss(self, trade_id: str, value: Decimal, *, trailing: bool) -> Trade:
        """Set a fixed or trailing stop, or remove it with 0; no event tells of it (5.9)."""
        trade = self._live_one(trade_id)
        change = stops.with_trailing_stop if trailing and value else stops.with_stoploss
        return self._keep(change(trade, value, market=self._market.price))

    def remove_stoploss(self, trade_id: str) -> Trade:
        return self._keep(stops.without_stoploss(self._live_one(trade_id)))

    def set_takeprofit(self, trade_id: str, value: Decimal) -> Trade:
        """Set a take profit, or remove it with 0; no event tells of it (5.9)."""
        trade = self._live_one(trade_id)
        return self._keep(stops.with_takeprofit(trade, value, market=self._market.price))

    def remove_takeprofit(self, trade_id: str) -> Trade:
        return self._keep(replace(self._live_one(trade_id), takeprofit=None))

    def settle(self, before: UsdPerBtc, now: UsdPerBtc, now_ms: int) -> None:
        """Carry out what one price step does to every trade."""
        if self._quiet.holds(before, now):
            return
        for trade in list(self._live.values()):
            if trade.state is State.RUNNING:
                self._step(trade, before, now, now_ms)
            elif fills(trade, before, now):
                # The rest of the same step may already end what its first part began.
                self._step(self._fill(trade, trade.price, now_ms), trade.price, now, now_ms)

    def fund(self, settlement: Settlement) -> None:
        """Let every running trade pay funding from its margin, or receive it by the rules (6.5)."""
        for trade in self.listed(State.RUNNING):
            self._fund(trade, settlement)

    def funding_fees(self) -> list[FundingFee]:
        """Return what was paid, the newest first."""
        return self._funding[::-1]

    def _fund(self, trade: Trade, settlement: Settlement) -> None:
        fee = formulas.funding_fee(trade.side, trade.quantity, settlement.fixing, settlement.rate)
        self._funding.append(
            FundingFee(fee=fee, settlement=settlement.id, time_ms=settlement.time_ms, trade=trade.id)
        )
        to_balance = 0 if self._desk.rules.funding_to_margin else max(0, -fee)
        self._desk.wallet.give(to_balance)
        margin = Sats(trade.margin - fee - to_balance)
        funded = replace(trade, sum_funding_fees=Sats(trade.sum_funding_fees + fee))
        if margin * MAX_LEVERAGE < formulas.notional(trade.quantity, trade.price):
            # Beyond the highest leverage no trade may run: it is closed at the market (6.11).
            price = self._market.execution_price(trade.side.opposite, trade.quantity)
            self._end(replace(funded, margin=margin), Exit.BY_USER, price, settlement.time_ms)
            return
        if margin != trade.margin:
            funded = with_margin(funded, margin)
        self._keep(funded)
        self._desk.emit(events.trade_funded(self._desk.account, funded, self._funding[-1]))
        self._step(funded, self._market.price, self._market.price, settlement.time_ms)

    def _step(self, trade: Trade, before: UsdPerBtc, now: UsdPerBtc, now_ms: int) -> None:
        exit_ = exit_in(trade, before, now)
        if exit_ is not None:
            kind, level = exit_
            slips = self._desk.rules.slippage and kind is not Exit.LIQUIDATION
            self._end(trade, kind, now if slips else level, now_ms)
        elif trade.trailing is not None:
            self._keep(trailed(trade, now))

    def _fill(self, trade: Trade, market: UsdPerBtc, now_ms: int) -> Trade:
        self._market.traded(trade.quantity)
        fee = formulas.fee(trade.quantity, trade.price, self._desk.fees.rate)
        filled = replace(
            trade,
            state=State.RUNNING,
            filled_at_ms=now_ms,
            opening_fee=fee,
            maintenance_margin=Sats(trade.maintenance_margin - fee),
        )
        self._desk.emit(events.trade_created(self._desk.account, filled, "filled"))
        return self._keep(trailed(filled, market))

    def _end(self, trade: Trade, exit_: Exit, price: UsdPerBtc, now_ms: int) -> Trade:
        """End a running trade. A liquidation uses up margin and reserve (6.5)."""
        if exit_ is Exit.LIQUIDATION:
            profit, fee = Sats(-trade.margin), trade.maintenance_margin
        else:
            profit = trade.profit_sats(price)
            fee = formulas.fee(trade.quantity, price, self._desk.fees.rate)
        self._market.traded(trade.quantity)
        self._desk.wallet.give(trade.locked - fee + profit)
        closed = replace(
            trade,
            state=State.CLOSED,
            closed_at_ms=now_ms,
            exit_price=price,
            closing_fee=fee,
            realised=profit,
            maintenance_margin=Sats(max(0, trade.maintenance_margin - fee)),
        )
        self._retire(closed)
        self._desk.emit(events.trade_ended(self._desk.account, closed, exit_))
        return closed

    def _found(self, trade_id: str) -> Trade:
        trade = self._live.get(trade_id) or self._ended.get(trade_id)
        if trade is None:
            raise Refused("You do not own this trade")
        return trade

    def _running(self, trade_id: str) -> Trade:
        trade = self._found(trade_id)
        if trade.state is not State.RUNNING:
            raise Refused("Trade is not running")
        return trade

    def _live_one(self, trade_id: str) -> Trade:
        trade = self._found(trade_id)
        if trade.id not in self._live:
            raise Refused("Trade is neither open nor running")
        return trade

    def _check_margin(self, of_trade: int, added: int) -> None:
        """Refuse what would break the caps on margin, where there are any."""
        rules = self._desk.rules
        if rules.most_trade_margin is not None and of_trade > rules.most_trade_margin:
            raise Refused(f"Margin of a trade must be at most {rules.most_trade_margin}")
        of_all = added + sum(trade.margin for trade in self._live.values())
        if rules.most_account_margin is not None and of_all > rules.most_account_margin:
            raise Refused(f"Margin of all trades must be at most {rules.most_account_margin}")

    def _levels(self) -> Iterator[UsdPerBtc]:
        """Yield every price at which something would happen."""
        for trade in self._live.values():
            if trade.state is State.OPEN:
                yield trade.price
                continue
            yield from (level for _, level in levels_of(trade))
            if (best := tightens_beyond(trade)) is not None:
                yield best

    def _keep(self, trade: Trade) -> Trade:
        self._quiet.forget()
        self._live[trade.id] = trade
        return trade

    def _retire(self, trade: Trade) -> None:
        self._quiet.forget()
        del self._live[trade.id]
        self._ended[trade.id] = trade
