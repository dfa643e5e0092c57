"""The frames of Stream v1: our requests as texts, the answers and failures to them."""

import json
from collections.abc import Mapping
from typing import Final

from exchange.auth import Credentials, sign_stream
from exchange.errors import (
    ExchangeError,
    KeyRefusedError,
    OperatorNeededError,
    RejectedError,
    TransientError,
)
from exchange.fields import Fields

_TRY_AGAIN: Final = frozenset({-32603, -32429})
"""Errors that pass by themselves."""
_LONGEST_WAIT_S: Final = 60.0
"""A longer one may be a mistake, and no session stays away for that."""
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


def failure(answer: Fields, method: str) -> ExchangeError:
    """Return what to raise for an answer frame with an error (5.3), however odd that is.

    A key is refused where it is shown, by `authenticate`, or where a topic is not for it; to any other
    request the same word says only that this connection has no key now.
    """
    try:
        error = answer.inner("error")
        code = error.integer("code", least=-99_999, most=99_999)
        message = error.text_or_none("message", most=300) or "no reason given"
    except OperatorNeededError as unreadable:
        return TransientError(f"the stream did nothing: {unreadable}")
    said = f"({code}): {message}"
    if code in _TRY_AGAIN:
        return TransientError(f"the stream did nothing {said}", after_s=_retry_after_s(error))
    if code == _UNAUTHORIZED and method == "authenticate":
        return KeyRefusedError(f"LN Markets refused the key on the stream {said}")
    if code == _FORBIDDEN and method in {"authenticate", "subscribe"}:
        return KeyRefusedError(f"LN Markets does not allow {method} on the stream {said}")
    if code == _UNAUTHORIZED:
        return TransientError(f"the stream does not know us any more, {method} was answered {said}")
    return RejectedError(f"the stream refused {method} {said}")


def _retry_after_s(error: Fields) -> float:
    """Return the patience asked for, `_LONGEST_WAIT_S` at most; 1 s where it cannot be read."""
    try:
        wait_ms = error.inner("data").number_or_none("retryAfterMs", least=0, most=10**15)
    except OperatorNeededError:
        return 1.0
    return 1.0 if wait_ms is None else min(float(wait_ms) / 1000, _LONGEST_WAIT_S)
