"""The settings of the seal: which keys a process must have, and whether they are keys at all."""

import sys
from typing import Final

from django.core.exceptions import ImproperlyConfigured

from accounts import crypto
from hubdefisats.env import Environment
from hubdefisats.process import Process

_TOUCH_NO_CREDENTIALS: Final = frozenset({Process.BEAT, Process.FLOWER})
_MAKE_ONE: Final = "make a pair with `python -m hubdefisats.sealkeys`"


def read(env: Environment, process: Process) -> tuple[list[str], list[str], list[str]]:
    """Return public keys, private keys, and the keys of before there were pairs.

    Raises:
        ImproperlyConfigured: what the process needs is missing, or cannot be read.
    """
    names = ("SEAL_PUBLIC_KEYS", "SEAL_PRIVATE_KEYS", "CREDENTIAL_KEYS")
    public, private, older = (env.words(name, default="") for name in names)
    if process in _TOUCH_NO_CREDENTIALS:
        return public, private, older
    if not (public or private or older):
        raise ImproperlyConfigured(
            "SEAL_PUBLIC_KEYS is not set, and the older CREDENTIAL_KEYS is not set either:"
            f" {_MAKE_ONE}, or start the local stack of this folder with `make run`."
        )
    for name, keys in zip(names, (public, private, older), strict=True):
        _check(name, keys)
    return public, private, older


def _check(name: str, keys: list[str]) -> None:
    given = tuple(keys)
    places: dict[str, tuple[tuple[str, ...], ...]] = {
        "SEAL_PUBLIC_KEYS": (given, ()),
        "SEAL_PRIVATE_KEYS": ((), given),
        "CREDENTIAL_KEYS": ((), (), given),
    }
    try:
        if keys:
            crypto.keys_of(*places[name])
    except ValueError:
        like = "Fernet keys" if name == "CREDENTIAL_KEYS" else "keys of 32 bytes in url-safe base64"
        raise ImproperlyConfigured(
            f"{name} must be {like}, newest first, with commas between."
        ) from None


if __name__ == "__main__":
    public, private = crypto.new_pair()
    sys.stdout.write(f"SEAL_PUBLIC_KEYS={public}\nSEAL_PRIVATE_KEYS={private}\n")
