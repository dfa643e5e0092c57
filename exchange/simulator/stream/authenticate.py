"""The stream's own proof of who one is (API notes, 2.6, 5.4)."""

from collections.abc import Callable, Mapping
from typing import Final

from exchange.simulator.engine.account import Account
from exchange.simulator.settings import Limits
from exchange.simulator.signatures import in_clock_window, same, signature_of
from exchange.simulator.stream import rpc
from exchange.simulator.stream.rpc import RpcError
from exchange.simulator.windows import Windows

NONCE_MEMORY_S: Final = 60.0


class Authenticator:
    """One for all sessions: it remembers nonces and counts attempts per IP."""

    def __init__(self, find: Callable[[str], Account | None], limits: Limits | None) -> None:
        self._find = find
        self._attempts = Windows(limits.authentications) if limits else None
        self._nonces: dict[tuple[str, str], float] = {}

    def account(self, params: Mapping[str, object], *, ip: str, now_ms: int, now_s: float) -> Account:
        """Return whose key signed; `RpcError` where the proof fails."""
        key, passphrase, nonce, signature = (
            _text(params, name) for name in ("key", "passphrase", "nonce", "signature")
        )
        timestamp = params.get("timestamp")
        if isinstance(timestamp, bool) or not isinstance(timestamp, int):
            raise RpcError(rpc.INVALID_PARAMS, "timestamp must be an integer of milliseconds")
        self._count(ip, now_s)
        account = self._find(key)
        if account is None or not same(account.identity.credentials.passphrase, passphrase):
            raise RpcError(rpc.UNAUTHORIZED, "API key or passphrase is not valid")
        if not in_clock_window(str(timestamp), now_ms):
            raise RpcError(rpc.UNAUTHORIZED, "Timestamp is not within 30 seconds of the server's time")
        secret = account.identity.credentials.secret
        if not same(signature_of(secret, f"{timestamp}{nonce}".encode()), signature):
            raise RpcError(rpc.UNAUTHORIZED, "Signature is not valid")
        self._spend_nonce(key, nonce, now_s)
        return account

    def _count(self, ip: str, now_s: float) -> None:
        if self._attempts and not self._attempts.take(ip, now_s):
            wait_ms = int(self._attempts.full_in_s(ip, now_s) * 1000) + 1
            raise RpcError(
                rpc.TOO_MANY_REQUESTS,
                "Too many authentications",
                more={"retryAfterMs": wait_ms},
            )

    def _spend_nonce(self, key: str, nonce: str, now_s: float) -> None:
        for used, at_s in list(self._nonces.items()):
            if now_s - at_s > NONCE_MEMORY_S:
                del self._nonces[used]
        if (key, nonce) in self._nonces:
            raise RpcError(rpc.UNAUTHORIZED, "Nonce was used before")
        self._nonces[key, nonce] = now_s


def _text(params: Mapping[str, object], name: str) -> str:
    value = params.get(name)
    if not isinstance(value, str) or not value:
        raise RpcError(rpc.INVALID_PARAMS, f"{name} must be a text")
    return value
