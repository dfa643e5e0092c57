"""The exchange's field names of Stream v1: frames to typed events, requests to frames."""

import json
from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Final

from exchange.auth import Credentials, sign_stream
from exchange.errors import ExchangeError, KeyRefusedError, RejectedError, TransientError
from exchange.events import PriceTick, StreamEvent, TickerUpdate, TradeEvent, TradeEventKind
from exchange.fields import Fields
from exchange.formulas import Side
from exchange.position import PositionId

_MARKET: Final = "futures/inverse/btc_usd"
LAST_PRICE: Final = f"{_MARKET}/lastPrice"
TICKER: Final = f"{_MARKET}/ticker"
ISOLATED_TRADES: Final = f"{_MARKET}/isolated/trades"


_TRY_AGAIN: Final = frozenset({-32603, -32429})
"""Errors that pass by themselves."""
_UNAUTHORIZED: Final = -32401
_FORBIDDEN: Final = -32403


def request_text(request_id: int, method: str, params: Mapping[str, object] | None = None) -> str:
    """Return one JSON-RPC request (API notes, 5.2)."""
    request: dict[str, object] = {"jsonrpc": "2.0", "id": request_id, "method": method}
    if params is not None:
        request["params"] = params
    return json.dumps(request, separators=(",", ":"))


def authentication(credentials: Credentials, *, timestamp_ms: int, nonce: str) -> Mapping[str, object]:
    """Return the parameters of `authenticate`, with a fresh nonce each time (2.6)."""
    return {
        "key": credentials.key,
        "passphrase": credentials.passphrase,
        "timestamp": timestamp_ms,
        "nonce": nonce,
        "signature": sign_stream(credentials.secret, timestamp_ms=timestamp_ms, nonce=nonce),
    }


def topics_answered(result: Fields, name: str) -> frozenset[str]:
    """Return the topics that an answer to `subscribe` or `unsubscribe` names."""
    topics = result.items(name)
    return frozenset(topic for topic in topics if isinstance(topic, str))


def failure(error: Fields, method: str) -> ExchangeError:
    """Return what to raise for an error answer (5.3)."""
    code = error.integer("code", least=-99_999, most=99_999)
    message = error.text_or_none("message", most=300) or "no reason given"
    said = f"({code}): {message}"
    if code in _TRY_AGAIN:
        return TransientError(f"the stream did nothing {said}", after_s=_retry_after_s(error))
    if code == _UNAUTHORIZED:
        return KeyRefusedError(f"LN Markets refused the key on the stream {said}")
    if code == _FORBIDDEN:
        return KeyRefusedError(f"LN Markets does not allow {method} on the stream {said}")
    return RejectedError(f"the stream refused {method} {said}")


def _retry_after_s(error: Fields) -> float:
    if error.values.get("data") is None:
        return 1.0
    wait_ms = error.inner("data").number_or_none("retryAfterMs", least=0, most=3_600_000)
    return 1.0 if wait_ms is None else float(wait_ms) / 1000


def event(params: Fields, received_at: datetime) -> StreamEvent:
    """Return the event of one push.

    Raises:
        OperatorNeededError: the topic is unknown, or a field is not as it should be.
    """
    topic = params.text("topic")
    read = _READERS.get(topic)
    if read is None:
        raise params.fault("topic", f"is none we know: {topic[:60]!r}")
    return read(params.inner("data"), received_at)


def _price_tick(data: Fields, received_at: datetime) -> PriceTick:
    return PriceTick(
        price=data.price("lastPrice"), time_ms=data.time_ms("time"), received_at=received_at
    )


def _ticker(data: Fields, received_at: datetime) -> TickerUpdate:
    funding = data.inner("funding")
    return TickerUpdate(
        last_price=data.price_or_none("lastPrice"),
        index=data.price_or_none("index"),
        funding_rate=funding.number_or_none("rate", least=-1, most=1),
        funding_time_ms=funding.time_ms("time") if funding.values.get("time") is not None else None,
        time_ms=data.time_ms("time"),
        received_at=received_at,
    )


def _trade(data: Fields, received_at: datetime) -> TradeEvent:
    kind = data.choice("event", TradeEventKind)
    trade = data.inner("trade")
    begins = kind in {TradeEventKind.OPEN, TradeEventKind.FILLED}
    funding = kind is TradeEventKind.FUNDING
    exits = kind.ends_trade and kind is not TradeEventKind.CANCELED
    books = exits and kind is not TradeEventKind.LIQUIDATION
    return TradeEvent(
        kind=kind,
        trade_id=PositionId(trade.text("id", most=64)),
        client_id=trade.text_or_none("clientId", most=1000),
        received_at=received_at,
        side=trade.choice("side", Side) if begins else None,
        quantity=trade.usd("quantity") if begins else None,
        margin=trade.sats("margin") if begins or funding else None,
        price=trade.price("price") if begins else None,
        profit=trade.signed_sats("pl") if books else None,
        exit=trade.price("exitPrice") if exits else None,
        liquidation=trade.price("liquidationPrice") if funding else None,
        funding_fee=trade.signed_sats("fundingFee") if funding else None,
    )


_READERS: Final[Mapping[str, Callable[[Fields, datetime], StreamEvent]]] = {
    LAST_PRICE: _price_tick,
    TICKER: _ticker,
    ISOLATED_TRADES: _trade,
}
