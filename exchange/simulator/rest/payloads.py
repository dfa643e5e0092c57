"""How the engine's values look in REST answers (API notes, 3.4 to 3.6)."""

from fractions import Fraction

from exchange.money import UsdPerBtc
from exchange.simulator.codec import iso, iso_or_none
from exchange.simulator.engine.account import Account
from exchange.simulator.engine.chart import Candle
from exchange.simulator.engine.cross import CrossBook, Transfer
from exchange.simulator.engine.cross_events import position_fields
from exchange.simulator.engine.cross_position import CrossOrder, OrderState
from exchange.simulator.engine.funding import FundingFee, Settlement
from exchange.simulator.engine.market import Bucket
from exchange.simulator.engine.trade import State, Trade


def trade(value: Trade, price: UsdPerBtc) -> dict[str, object]:
    """Return the trade object; a running trade's profit is taken at `price`."""
    return {
        "id": value.id,
        "type": value.type,
        "side": value.side,
        "openingFee": value.opening_fee,
        "closingFee": value.closing_fee,
        "maintenanceMargin": value.maintenance_margin,
        "quantity": value.quantity,
        "margin": value.margin,
        "leverage": value.leverage,
        "price": value.price,
        "liquidation": value.liquidation,
        "stoploss": value.stoploss or 0,
        "stoplossTrailingDistance": value.trailing or 0,
        "takeprofit": value.takeprofit or 0,
        "exitPrice": value.exit_price,
        "pl": value.profit_sats(price),
        "createdAt": iso(value.created_at_ms),
        "filledAt": iso_or_none(value.filled_at_ms),
        "closedAt": iso_or_none(value.closed_at_ms),
        "entryPrice": value.entry_price,
        "entryMargin": value.entry_margin,
        **{state: value.state is state for state in State},
        "sumFundingFees": value.sum_funding_fees,
        "sumCashInPl": value.sum_cash_in_pl,
        "sumCashInMargin": value.sum_cash_in_margin,
        "clientId": value.client_id,
    }


def account(value: Account) -> dict[str, object]:
    return {
        "id": value.id,
        "username": value.identity.username,
        "email": None,
        "balance": value.wallet.balance,
        "syntheticUsdBalance": Fraction(value.movements.usd_cents, 100),
        "feeTier": value.fees.tier,
        "linkingPublicKey": None,
    }


def funding_fee(value: FundingFee) -> dict[str, object]:
    return {
        "fee": value.fee,
        "settlementId": value.settlement,
        "time": iso(value.time_ms),
        "tradeId": value.trade,
    }


def settlement(value: Settlement) -> dict[str, object]:
    return {
        "id": value.id,
        "time": iso(value.time_ms),
        "fundingRate": value.rate,
        "fixingPrice": value.fixing,
    }


def candle(value: Candle) -> dict[str, object]:
    return {
        "time": iso(value.time_ms),
        "open": value.open,
        "high": value.high,
        "low": value.low,
        "close": value.close,
        "volume": value.volume,
    }


def cross_order(value: CrossOrder) -> dict[str, object]:
    return {
        "id": value.id,
        "type": value.type,
        "side": value.side,
        "quantity": value.quantity,
        "price": value.price,
        "tradingFee": value.trading_fee,
        "createdAt": iso(value.created_at_ms),
        "filledAt": iso_or_none(value.filled_at_ms),
        "canceledAt": iso_or_none(value.canceled_at_ms),
        **{state: value.state is state for state in OrderState},
        "clientId": value.client_id,
    }


def cross_position(book: CrossBook, price: UsdPerBtc) -> dict[str, object]:
    position = book.position
    return {
        "id": position.id,
        **position_fields(position, initial=book.initial_margin, price=price),
        "updatedAt": iso(position.updated_at_ms),
    }


def transfer(value: Transfer) -> dict[str, object]:
    return {"id": value.id, "amount": value.amount, "time": iso(value.time_ms)}


def bucket(value: Bucket) -> dict[str, object]:
    return {
        "minSize": value.min_size,
        "maxSize": value.max_size,
        "askPrice": value.ask,
        "bidPrice": value.bid,
    }
