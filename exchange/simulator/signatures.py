"""The server's side of a signature, over bytes and in constant time (API notes, 2.3 to 2.6)."""

import base64
import hashlib
import hmac
from typing import Final

CLOCK_WINDOW_MS: Final = 30_000


def signature_of(secret: str, text: bytes) -> str:
    return base64.b64encode(hmac.new(secret.encode(), text, hashlib.sha256).digest()).decode()


def in_clock_window(timestamp: str, now_ms: int) -> bool:
    """Whether the text is an integer of milliseconds within 30 s of `now_ms` (2.4)."""
    if not timestamp.isascii() or not timestamp.isdigit() or len(timestamp) > 16:
        return False
    return abs(now_ms - int(timestamp)) <= CLOCK_WINDOW_MS


def same(one: str, other: str) -> bool:
    """Compare in constant time; unlike the library's own function, of any text."""
    return hmac.compare_digest(one.encode(), other.encode())
