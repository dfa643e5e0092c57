"""Encryption of credentials at rest. Plain functions: the keys are an argument."""

import json
from collections.abc import Sequence
from dataclasses import asdict

from cryptography.fernet import Fernet, InvalidToken, MultiFernet

from exchange.auth import Credentials


class SealBrokenError(Exception):
    """None of the keys opens the credentials: a key was lost, or the text was changed."""


def keyring(keys: Sequence[str]) -> MultiFernet:
    """Return the keys as one ring: the first seals, all of them open.

    Raises:
        ValueError: no key was given, or one is not 32 bytes in url-safe base64.
    """
    if not keys:
        raise ValueError("at least one credential key is needed")
    return MultiFernet([Fernet(key) for key in keys])


def seal(credentials: Credentials, ring: MultiFernet) -> str:
    return ring.encrypt(json.dumps(asdict(credentials)).encode()).decode()


def unseal(sealed: str, ring: MultiFernet) -> Credentials:
    """Open what `seal` made.

    Raises:
        SealBrokenError: none of the ring's keys opens it.
    """
    try:
        return Credentials(**json.loads(ring.decrypt(sealed.encode())))
    except InvalidToken as broken:
        raise SealBrokenError("no credential key opens these credentials") from broken
