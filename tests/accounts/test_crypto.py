"""Sealing credentials, and opening them with old and new keys."""

import pytest
from cryptography.fernet import Fernet

from accounts.crypto import SealBrokenError, keyring, seal, unseal
from exchange.auth import Credentials

CREDENTIALS = Credentials(key="a-key", secret="hunter2 ü €", passphrase='with "quotes" and \\')
OLD, NEW, STRANGE = (Fernet.generate_key().decode() for _ in range(3))


def test_what_was_sealed_is_opened_unchanged() -> None:
    ring = keyring([OLD])

    sealed = seal(CREDENTIALS, ring)

    assert unseal(sealed, ring) == CREDENTIALS
    assert "a-key" not in sealed
    assert "hunter2" not in sealed


def test_the_same_credentials_never_look_the_same_sealed() -> None:
    ring = keyring([OLD])

    assert seal(CREDENTIALS, ring) != seal(CREDENTIALS, ring)


def test_the_first_key_seals_and_every_key_opens() -> None:
    before = seal(CREDENTIALS, keyring([OLD]))
    rotated = keyring([NEW, OLD])
    after = seal(CREDENTIALS, rotated)

    assert unseal(before, rotated) == unseal(after, rotated) == CREDENTIALS
    assert unseal(after, keyring([NEW])) == CREDENTIALS
    with pytest.raises(SealBrokenError):
        unseal(after, keyring([OLD]))


@pytest.mark.parametrize(
    "broken",
    [
        pytest.param(seal(CREDENTIALS, keyring([STRANGE])), id="a key that was lost"),
        pytest.param(seal(CREDENTIALS, keyring([OLD]))[:-8], id="cut off"),
        pytest.param("no seal at all", id="no seal"),
        pytest.param("", id="nothing"),
        pytest.param("ünsealed", id="not even ASCII"),
    ],
)
def test_a_broken_seal_says_so_and_shows_nothing(broken: str) -> None:
    with pytest.raises(SealBrokenError) as refused:
        unseal(broken, keyring([NEW, OLD]))

    assert str(refused.value) == "no credential key opens these credentials"


def test_a_changed_letter_breaks_the_seal() -> None:
    ring = keyring([OLD])
    sealed = seal(CREDENTIALS, ring)
    middle = len(sealed) // 2
    changed = sealed[:middle] + ("A" if sealed[middle] != "A" else "B") + sealed[middle + 1 :]

    with pytest.raises(SealBrokenError):
        unseal(changed, ring)


@pytest.mark.parametrize(
    "keys",
    [
        pytest.param([], id="none"),
        pytest.param(["short"], id="no Fernet key"),
        pytest.param([OLD, "short"], id="one of two is none"),
    ],
)
def test_a_ring_needs_true_keys(keys: list[str]) -> None:
    with pytest.raises(ValueError, match="key"):
        keyring(keys)
