"""Documents as the exchange sends them, to be changed by the tests (API notes, 3.6.2)."""

from typing import Any

TRADE_ID = "d0b9f9a0-4f6e-4a5a-8b7a-7f0f5f9a8a1e"


def running_trade(**changed: object) -> dict[str, Any]:
    """Return the consistent running trade of the API notes."""
    return {
        "id": TRADE_ID,
        "type": "market",
        "side": "buy",
        "openingFee": 1000,
        "closingFee": 0,
        "maintenanceMargin": 1100,
        "quantity": 1000,
        "margin": 100000,
        "leverage": 10,
        "price": 100000,
        "liquidation": 90909,
        "stoploss": 0,
        "stoplossTrailingDistance": 0,
        "takeprofit": 0,
        "exitPrice": None,
        "pl": 0,
        "createdAt": "2026-01-01T00:00:00.000Z",
        "filledAt": "2026-01-01T00:00:00.000Z",
        "closedAt": None,
        "entryPrice": 100000,
        "entryMargin": 100000,
        "open": False,
        "running": True,
        "canceled": False,
        "closed": False,
        "sumFundingFees": 0,
        "sumCashInPl": 0,
        "sumCashInMargin": 0,
        "clientId": "bot-1",
    } | changed


def open_trade(**changed: object) -> dict[str, Any]:
    """Return the official live vector of a resting limit trade (TS1)."""
    return (
        running_trade(
            type="limit",
            quantity=1,
            margin=10,
            leverage=100,
            liquidation=99010,
            maintenanceMargin=2,
            openingFee=0,
            filledAt=None,
            running=False,
            open=True,
            clientId="",
        )
        | changed
    )


def closed_trade(**changed: object) -> dict[str, Any]:
    return (
        running_trade(
            running=False,
            closed=True,
            exitPrice=105000,
            pl=47619,
            closingFee=952,
            closedAt="2026-01-01T01:00:00.000Z",
        )
        | changed
    )


def canceled_trade(**changed: object) -> dict[str, Any]:
    return open_trade(open=False, canceled=True, closedAt="2026-01-01T01:00:00.000Z") | changed


def account(**changed: object) -> dict[str, Any]:
    return {
        "id": "0b5a2f4e-6a52-4d3e-9a58-0d3f7f6a3f10",
        "username": "alice",
        "email": None,
        "balance": 500_000,
        "syntheticUsdBalance": 12.5,
        "feeTier": 0,
        "linkingPublicKey": None,
    } | changed


def ticker(**changed: object) -> dict[str, Any]:
    return {
        "time": "2026-01-01T00:00:00.000Z",
        "index": 100010.25,
        "lastPrice": 100000.5,
        "fundingRate": 0.0001,
        "fundingTime": "2026-01-01T08:00:00.000Z",
        "prices": [
            {"minSize": 0, "maxSize": 100000, "askPrice": 100001, "bidPrice": 100000},
            {"minSize": 100001, "maxSize": 500000},
        ],
        "priceChange24h": None,
        "exchangesWeights": {"bybit": 0.5, "binance": 0.25, "okx": 0.25},
    } | changed


def cross_order(**changed: object) -> dict[str, Any]:
    return {
        "id": "c0b9f9a0-4f6e-4a5a-8b7a-7f0f5f9a8a1e",
        "type": "market",
        "side": "sell",
        "quantity": 10,
        "price": 77055,
        "tradingFee": 12,
        "createdAt": "2026-01-01T00:00:00.000Z",
        "filledAt": "2026-01-01T00:00:00.000Z",
        "canceledAt": None,
        "open": False,
        "filled": True,
        "canceled": False,
        "clientId": "bot-1",
    } | changed


def cross_position(**changed: object) -> dict[str, Any]:
    """Return the short of the API notes (6.12, example 2)."""
    return {
        "id": "a0b9f9a0-4f6e-4a5a-8b7a-7f0f5f9a8a1e",
        "quantity": -1000,
        "leverage": 10,
        "margin": 500000,
        "entryPrice": 100000,
        "runningMargin": 100000,
        "maintenanceMargin": 1500,
        "initialMargin": 0,
        "liquidation": 199402,
        "tradingFees": 1000,
        "fundingFees": -5,
        "totalPl": -7,
        "deltaPl": 9,
        "updatedAt": "2026-01-01T00:00:00.000Z",
    } | changed


def candle(**changed: object) -> dict[str, Any]:
    return {
        "time": "2026-01-01T00:00:00.000Z",
        "open": 100000,
        "high": 100010.5,
        "low": 99990,
        "close": 100005,
        "volume": 1234.5,
    } | changed


def funding_fee(**changed: object) -> dict[str, Any]:
    return {
        "fee": -3,
        "settlementId": "s",
        "time": "2026-01-01T00:00:00.000Z",
        "tradeId": None,
    } | changed


def page(*items: dict[str, Any], cursor: str | None = None) -> dict[str, Any]:
    return {"data": list(items), "nextCursor": cursor}
