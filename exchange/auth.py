"""Signatures of the LN Markets API: who we are, proven without sending the secret."""

import base64
import hashlib
import hmac
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True, kw_only=True)
class Credentials:
    """One API key. The secret parts hide from `repr`, so that no log or traceback shows them."""

    key: str
    secret: str = field(repr=False)
    passphrase: str = field(repr=False)


def sign_request(secret: str, *, timestamp_ms: int, method: str, path: str, data: str) -> str:
    """Return the base64 signature of one REST request (API notes, 2.3).

    Args:
        secret: the key's secret.
        timestamp_ms: what the timestamp header says.
        method: any case; signed in lower case, as v3 wants it.
        path: beginning with `/v3`, without host and query.
        data: the query with its `?`, or the body, exactly as on the wire; empty where there is none.
    """
    return _sign(secret, f"{timestamp_ms}{method.lower()}{path}{data}")


def sign_stream(secret: str, *, timestamp_ms: int, nonce: str) -> str:
    """Return the base64 signature of the stream's `authenticate` (API notes, 2.6)."""
    return _sign(secret, f"{timestamp_ms}{nonce}")


def rest_headers(
    credentials: Credentials, *, timestamp_ms: int, method: str, path: str, data: str
) -> dict[str, str]:
    """Return the four headers that every private endpoint wants (API notes, 2.2)."""
    return {
        "lnm-access-key": credentials.key,
        "lnm-access-passphrase": credentials.passphrase,
        "lnm-access-timestamp": str(timestamp_ms),
        "lnm-access-signature": sign_request(
            credentials.secret, timestamp_ms=timestamp_ms, method=method, path=path, data=data
        ),
    }


def _sign(secret: str, text: str) -> str:
    digest = hmac.new(secret.encode(), text.encode(), hashlib.sha256).digest()
    return base64.b64encode(digest).decode()
