"""Who may pass: the checks of API notes 2.7, in their order, on the bytes as they came."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from math import ceil
from typing import Final

from exchange.simulator.engine.account import Account, Scope
from exchange.simulator.rest.answers import forbidden, too_many_requests, unauthorized
from exchange.simulator.settings import Limits
from exchange.simulator.signatures import in_clock_window, same, signature_of
from exchange.simulator.windows import Windows

_HEADERS: Final = ("key", "passphrase", "timestamp", "signature")


@dataclass(frozen=True, slots=True, kw_only=True)
class Incoming:
    """One request as it came; `target` is the raw path with its query, `body` the raw body."""

    method: str
    target: str
    body: bytes
    headers: Mapping[str, str]
    ip: str
    received_at_us: int
    now_s: float
    """On a clock that never goes back."""

    @property
    def now_ms(self) -> int:
        return self.received_at_us // 1000

    @property
    def path(self) -> str:
        return self.target.partition("?")[0]

    @property
    def query(self) -> str:
        return self.target.partition("?")[2]

    @property
    def key(self) -> str | None:
        """The API key that the request names, proven or not."""
        return self.headers.get("lnm-access-key")


class Gate:
    """The door to the endpoints."""

    def __init__(self, find: Callable[[str], Account | None], limits: Limits | None) -> None:
        self._find = find
        self._private = Windows(limits.private_rest) if limits else None
        self._public = Windows(limits.public_rest) if limits else None

    def quota(self, request: Incoming, *, private: bool) -> Mapping[str, str]:
        """Return the headers that tell the limit, and what is left of it (12)."""
        windows, name = (self._private, request.key) if private else (self._public, request.ip)
        if windows is None or name is None:
            return {}
        policy = "private" if private else "public"
        left, full_in_s = windows.left(name, request.now_s), windows.full_in_s(name, request.now_s)
        rate = windows.rate
        window_s = rate.window_s * rate.at_once / rate.most
        return {
            "RateLimit-Policy": f'"{policy}";q={rate.at_once};w={ceil(window_s)}',
            "RateLimit": f'"{policy}";r={left};t={ceil(full_in_s)}',
        }

    def admit_anyone(self, request: Incoming) -> None:
        if self._public and not self._public.take(request.ip, request.now_s):
            raise too_many_requests()

    def admit(self, request: Incoming, scope: Scope) -> Account:
        """Return whose request this is; `ApiError` where it may not pass."""
        account = self._authenticated(request)
        if scope not in account.scopes:
            raise forbidden(f"This key lacks the permission {scope}")
        key = account.identity.credentials.key
        if self._private and not self._private.take(key, request.now_s):
            raise too_many_requests()
        return account

    def _authenticated(self, request: Incoming) -> Account:
        values = [request.headers.get(f"lnm-access-{name}") for name in _HEADERS]
        key, passphrase, timestamp, signature = values
        if not key or not passphrase or not timestamp or not signature:
            raise unauthorized("All four lnm-access headers are needed")
        account = self._find(key)
        if account is None or not same(account.identity.credentials.passphrase, passphrase):
            raise unauthorized("API key or passphrase is not valid")
        if not in_clock_window(timestamp, request.now_ms):
            raise unauthorized("Timestamp is not within 30 seconds of the server's time")
        secret = account.identity.credentials.secret
        if not same(signature_of(secret, prehash(request, timestamp)), signature):
            raise unauthorized("Signature is not valid")
        return account


def prehash(request: Incoming, timestamp: str) -> bytes:
    """Return the bytes that a request's signature covers (2.3).

    The data part is the body if there is one, else the query with its `?`, exactly as on the wire.
    """
    data = request.body
    if not data and request.query:
        data = f"?{request.query}".encode("latin-1")
    return f"{timestamp}{request.method.lower()}{request.path}".encode("latin-1") + data
