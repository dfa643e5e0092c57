"""The price of the real exchange, from its public stream."""

import asyncio
import json
import logging
from collections.abc import Callable
from decimal import Decimal
from fractions import Fraction
from typing import Final

from tornado.httpclient import HTTPClientError
from tornado.iostream import IOStream
from tornado.websocket import WebSocketClientConnection, WebSocketError, websocket_connect

from exchange.money import MAX_PRICE, MIN_PRICE, UsdPerBtc, nearest_tick
from exchange.simulator import codec

logger = logging.getLogger(__name__)

TOPICS: Final = ("futures/inverse/btc_usd/lastPrice", "futures/inverse/btc_usd/ticker")
"""The ticker too: it comes even while the price rests."""
PATIENCE_S: Final = 15.0
"""For the connection and its first price, and for each price after that before dialling anew."""


class Unreachable(Exception):  # noqa: N818 - one sentence for the person who chose live prices
    """The real stream cannot be reached; the message says so and what else can be done."""


class LiveFeed:
    """Prices as they are pushed; a lost connection is dialled again until it stands.

    Args:
        pause_s: between two attempts to dial again.
    """

    def __init__(self, url: str, *, pause_s: float = 5.0) -> None:
        self._url = url
        self._pause_s = pause_s
        self._line: WebSocketClientConnection | None = None
        self._wire: IOStream

    async def open(self) -> UsdPerBtc:
        """Return the first price; `Unreachable` where none comes."""
        try:
            await self._dial()
            return await self._next()
        except (OSError, TimeoutError, HTTPClientError, WebSocketError, ValueError) as error:
            self.close()
            reason = str(error) or "it did not answer"
            raise Unreachable(
                f"The live prices of {self._url} cannot be reached ({reason}): "
                "this needs internet; without it use --prices synthetic or a file."
            ) from None

    async def run(self, move: Callable[[UsdPerBtc], None]) -> None:
        """Move the price with every push, for ever."""
        while True:
            try:
                move(await self._next())
            except (OSError, TimeoutError, HTTPClientError, WebSocketError, ValueError):
                logger.warning("live prices are lost, dialling again")
                await self._dial_again()

    def close(self) -> None:
        """Say goodbye and leave at once, so that no socket outlives the loop."""
        if self._line is not None:
            self._line.close()
            self._wire.close()

    async def _dial_again(self) -> None:
        self.close()
        while True:
            try:
                await self._dial()
            except (OSError, TimeoutError, HTTPClientError, WebSocketError):
                await asyncio.sleep(self._pause_s)
            else:
                return

    async def _dial(self) -> None:
        line = await asyncio.wait_for(websocket_connect(self._url, ping_interval=30), PATIENCE_S)
        request = {
            "jsonrpc": "2.0",
            "id": "1",
            "method": "subscribe",
            "params": {"topics": TOPICS},
        }
        assert line.protocol is not None
        assert line.protocol.stream is not None
        self._line, self._wire = line, line.protocol.stream
        await line.write_message(json.dumps(request))

    async def _next(self) -> UsdPerBtc:
        assert self._line is not None
        async with asyncio.timeout(PATIENCE_S):
            while True:
                text = await self._line.read_message()
                if text is None:
                    raise WebSocketError("the connection was closed")
                price = _price_in(codec.decode(text))
                if price is not None:
                    return price


def _price_in(frame: object) -> UsdPerBtc | None:
    """Return the price of a push, None for a frame without one."""
    match frame:
        case {"params": {"data": {"lastPrice": int() | Decimal() as price}}}:
            return nearest_tick(Fraction(price)) if MIN_PRICE <= price <= MAX_PRICE else None
        case _:
            return None
