"""The plainest possible clients of the paper exchange, so that its tests lean on nothing of ours."""

import itertools
import json
import secrets
import time
from collections.abc import Mapping
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Self
from urllib.parse import urlencode

import requests
import websocket

from exchange.auth import Credentials, rest_headers, sign_stream

LAST_PRICE = "futures/inverse/btc_usd/lastPrice"
TRADES = "futures/inverse/btc_usd/isolated/trades"


@dataclass(frozen=True, slots=True, kw_only=True)
class Reply:
    status: int
    body: Any
    headers: Any


class Rest:
    """Signed and public calls; `path` begins after `/v3`."""

    def __init__(self, base: str, credentials: Credentials) -> None:
        self._base = base
        self._credentials = credentials

    def get(self, path: str, **query: object) -> Reply:
        return self.send("GET", path, query=_query(query))

    def delete(self, path: str, **query: object) -> Reply:
        return self.send("DELETE", path, query=_query(query))

    def post(self, path: str, **body: object) -> Reply:
        return self.send("POST", path, body=_body(body))

    def put(self, path: str, **body: object) -> Reply:
        return self.send("PUT", path, body=_body(body))

    def public(self, path: str, **query: object) -> Reply:
        return _reply(requests.get(self._base + path + _query(query), timeout=5))

    def send(
        self,
        method: str,
        path: str,
        *,
        query: str = "",
        body: str = "",
        changed: Mapping[str, str | None] | None = None,
    ) -> Reply:
        """Send a request; `changed` replaces headers after signing, None takes one away."""
        headers: dict[str, str | None] = dict(
            rest_headers(
                self._credentials,
                timestamp_ms=time.time_ns() // 1_000_000,
                method=method,
                path=f"/v3{path}",
                data=body or query,
            )
        )
        if body:
            headers["content-type"] = "application/json"
        headers |= changed or {}
        return _reply(
            requests.request(
                method,
                self._base + path + query,
                data=body.encode(),
                headers={name: value for name, value in headers.items() if value is not None},
                timeout=5,
            )
        )

    def trade(self, **fields: object) -> dict[str, Any]:
        """Create a trade that must be accepted: by default a market buy of 1000 at 10x."""
        order = {"type": "market", "side": "buy", "quantity": 1000, "leverage": 10, **fields}
        reply = self.post("/futures/isolated/trade", **order)
        assert reply.status == 200, reply.body
        trade: dict[str, Any] = reply.body
        return trade

    def running(self) -> list[dict[str, Any]]:
        trades: list[dict[str, Any]] = self.get("/futures/isolated/trades/running").body
        return trades

    def closed(self) -> list[dict[str, Any]]:
        trades: list[dict[str, Any]] = self.get("/futures/isolated/trades/closed").body["data"]
        return trades

    def balance(self) -> int:
        balance: int = self.get("/account").body["balance"]
        return balance


class Stream:
    """One connection; a context manager."""

    def __init__(self, url: str) -> None:
        self._url = url
        self._ids = itertools.count(1)
        self.pushes: list[dict[str, Any]] = []
        """Pushes that came while waiting for a response."""

    def __enter__(self) -> Self:
        self.socket = websocket.create_connection(self._url, timeout=5)
        return self

    def __exit__(
        self,
        _kind: type[BaseException] | None,
        _error: BaseException | None,
        _trace: TracebackType | None,
    ) -> None:
        self.socket.close(timeout=0.2)
        # A socket that answered the server's farewell counts as closed before it is.
        self.socket.shutdown()  # type: ignore[no-untyped-call] # the library types it in part

    def call(self, method: str, **params: object) -> dict[str, Any]:
        """Return the response frame of one request."""
        frame = {"jsonrpc": "2.0", "id": next(self._ids), "method": method}
        return self.exchange(json.dumps({**frame, "params": params} if params else frame))

    def exchange(self, text: str) -> dict[str, Any]:
        """Send any text and return the first frame that is no push."""
        self.socket.send(text)
        while "params" in (frame := self._receive()):
            self.pushes.append(frame["params"])
        return frame

    def push(self) -> dict[str, Any]:
        """Return the next push: its topic and data."""
        if self.pushes:
            return self.pushes.pop(0)
        push: dict[str, Any] = self._receive()["params"]
        return push

    def authenticate(self, credentials: Credentials, **changed: object) -> dict[str, Any]:
        return self.call("authenticate", **{**self.authentication(credentials), **changed})

    def authentication(self, credentials: Credentials) -> dict[str, object]:
        """Return params that prove who one is, with a fresh nonce."""
        timestamp_ms, nonce = time.time_ns() // 1_000_000, secrets.token_hex(16)
        return {
            "key": credentials.key,
            "passphrase": credentials.passphrase,
            "timestamp": timestamp_ms,
            "nonce": nonce,
            "signature": sign_stream(credentials.secret, timestamp_ms=timestamp_ms, nonce=nonce),
        }

    def _receive(self) -> dict[str, Any]:
        frame: dict[str, Any] = json.loads(self.socket.recv())
        return frame


def _query(values: dict[str, object]) -> str:
    return f"?{urlencode(values)}" if values else ""


def _body(values: dict[str, object]) -> str:
    return json.dumps(values, separators=(",", ":")) if values else ""


def _reply(response: requests.Response) -> Reply:
    return Reply(status=response.status_code, body=response.json(), headers=response.headers)
