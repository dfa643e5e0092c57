"""Sealing of credentials at rest: who has a public key seals, who has its private key opens.

HPKE (RFC 9180) with X25519, HKDF-SHA256 and ChaCha20-Poly1305. What is sealed is bound to its place: at
another account, owner, network or installation, or under the name of another key, it does not open.

Plain functions: the keys are an argument.
"""

import base64
import binascii
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from functools import lru_cache
from hashlib import sha256
from typing import Final

from cryptography.exceptions import InvalidTag
from cryptography.fernet import Fernet, InvalidToken, MultiFernet
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.hpke import AEAD, KDF, KEM, Suite
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from exchange.auth import Credentials

_SUITE: Final = Suite(KEM.X25519, KDF.HKDF_SHA256, AEAD.CHACHA20_POLY1305)
FORM: Final = "hpke1."
"""How everything begins that is bound to its place."""
_OLDER_FORM: Final = "gAAAA"
"""How every Fernet token begins."""
_OVERHEAD: Final = 32 + 16
"""Bytes of the encapsulated key and of the tag."""


class SealBrokenError(Exception):
    """The credentials cannot be opened here; one sentence says why. Nothing can be sent with them."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """Where credentials belong: they open nowhere else."""

    installation: str
    account: int
    owner: int
    network: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Keys:
    """The keys of one process, by their ids."""

    sealing: str
    """The id of the public key that seals."""
    public: Mapping[str, X25519PublicKey]
    private: Mapping[str, X25519PrivateKey]
    """Empty: this process cannot open anything."""
    older: MultiFernet | None
    """Opens what was sealed before there were pairs of keys."""

    @property
    def may_open(self) -> bool:
        return bool(self.private) or self.older is not None


def new_pair() -> tuple[str, str]:
    """Return a fresh public key and its private key, as they stand in the settings."""
    private = X25519PrivateKey.generate()
    return _text(private.public_key().public_bytes_raw()), _text(private.private_bytes_raw())


@lru_cache(maxsize=16)
def keys_of(public: tuple[str, ...], private: tuple[str, ...], older: tuple[str, ...] = ()) -> Keys:
    """Return the keys of their texts, 32 bytes each in url-safe base64; the newest come first.

    Without public ones the newest private key's own seals. `older` are Fernet keys: they open what
    they sealed, and where nothing else is given a pair is derived from the first.

    Raises:
        ValueError: one cannot be read, or there is none that could seal.
    """
    fernet = [Fernet(key) for key in older]
    held = [X25519PrivateKey.from_private_bytes(_bytes(key)) for key in private]
    held += [_derived(key) for key in older]
    sealing = [X25519PublicKey.from_public_bytes(_bytes(key)) for key in public]
    sealing = sealing or [key.public_key() for key in held]
    if not sealing:
        raise ValueError("there is no key that could seal")
    return Keys(
        sealing=key_id(sealing[0]),
        public={key_id(key): key for key in sealing},
        private={key_id(key.public_key()): key for key in held},
        older=MultiFernet(fernet) if fernet else None,
    )


def newest_alone(keys: Keys) -> Keys:
    """Return the keys as they are once every older one is gone."""
    held = {name: key for name, key in keys.private.items() if name == keys.sealing}
    return Keys(sealing=keys.sealing, public=keys.public, private=held, older=None)


def key_id(public: X25519PublicKey) -> str:
    """Return the name of a pair of keys: 16 hexadecimal digits that follow from the public key."""
    return sha256(public.public_bytes_raw()).hexdigest()[:16]


def seal(credentials: Credentials, place: Place, keys: Keys) -> str:
    """Return the credentials sealed to their place with the newest public key."""
    name = keys.sealing
    text = json.dumps(asdict(credentials)).encode()
    sealed = _SUITE.encrypt(text, keys.public[name], info=_bound_to(place, name))
    return f"{prefix(name)}{_text(sealed)}"


def prefix(name: str) -> str:
    """Return how everything begins that the key of that id has sealed."""
    return f"{FORM}{name}."


def sealed_with(sealed: str) -> str | None:
    """Return the id of the key that opens it; None where it was sealed before keys had ids."""
    bound = sealed.startswith(FORM)
    return sealed.removeprefix(FORM).partition(".")[0] if bound else None


def unseal(sealed: str, place: Place, keys: Keys) -> Credentials:
    """Open what `seal` made for this place.

    What was sealed before places were bound opens with the older keys, and only with them.

    Raises:
        SealBrokenError: the key is not here, or it was sealed for another place, or was changed.
    """
    name = sealed_with(sealed)
    if name is None:
        return _unseal_older(sealed, keys)
    key = keys.private.get(name)
    if key is None:
        raise SealBrokenError(f"this process does not hold the private key {name!r:.20}")
    try:
        text = _SUITE.decrypt(_bytes_of(sealed), key, info=_bound_to(place, name))
    except (InvalidTag, ValueError):
        raise SealBrokenError(
            "it was sealed for another account, owner, network or installation, or was changed since"
        ) from None
    return Credentials(**json.loads(text))


def _unseal_older(sealed: str, keys: Keys) -> Credentials:
    if keys.older is None or not sealed.startswith(_OLDER_FORM):
        raise SealBrokenError("no credential key opens these credentials")
    try:
        return Credentials(**json.loads(keys.older.decrypt(sealed.encode())))
    except InvalidToken:
        raise SealBrokenError("no credential key opens these credentials") from None


def _bound_to(place: Place, name: str) -> bytes:
    """Return what sealing and opening must agree on, in one form of its own."""
    return json.dumps({"for": "hubdefisats credentials", "key": name, **asdict(place)}).encode()


def _bytes_of(sealed: str) -> bytes:
    return _bytes(sealed.rpartition(".")[2], least=_OVERHEAD)


def _derived(older: str) -> X25519PrivateKey:
    """Return the private key of an installation that has a Fernet key only."""
    spread = HKDF(algorithm=SHA256(), length=32, salt=None, info=b"hubdefisats seal")
    return X25519PrivateKey.from_private_bytes(spread.derive(base64.urlsafe_b64decode(older)))


def _text(raw: bytes) -> str:
    return base64.urlsafe_b64encode(raw).decode().rstrip("=")


def _bytes(text: str, *, least: int = 32) -> bytes:
    try:
        raw = base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True)
    except (binascii.Error, ValueError):
        raise ValueError("a key must be 32 bytes in url-safe base64") from None
    if len(raw) < least:
        raise ValueError("a key must be 32 bytes in url-safe base64")
    return raw
