"""Sealing credentials to their place, and opening them there and nowhere else."""

from dataclasses import replace
from typing import Any

import pytest
from cryptography.fernet import Fernet

from accounts.crypto import Place, SealBrokenError, keys_of, new_pair, seal, sealed_with, unseal
from exchange.auth import Credentials

CREDENTIALS = Credentials(key="a-key", secret="hunter2 ü €", passphrase='with "quotes" and \\')
PLACE = Place(installation="here", account=1, owner=2, network="mainnet")
OLD, NEW, STRANGE = new_pair(), new_pair(), new_pair()
FERNET = Fernet.generate_key().decode()
OLD_KEYS = keys_of((OLD[0],), (OLD[1],))


def test_what_was_sealed_is_opened_unchanged() -> None:
    sealed = seal(CREDENTIALS, PLACE, OLD_KEYS)

    assert unseal(sealed, PLACE, OLD_KEYS) == CREDENTIALS
    assert "a-key" not in sealed
    assert "hunter2" not in sealed


def test_the_same_credentials_never_look_the_same_sealed() -> None:
    assert seal(CREDENTIALS, PLACE, OLD_KEYS) != seal(CREDENTIALS, PLACE, OLD_KEYS)


@pytest.mark.parametrize(
    "elsewhere",
    [
        pytest.param({"account": 2}, id="another account"),
        pytest.param({"owner": 1}, id="another owner"),
        pytest.param({"network": "signet"}, id="another network"),
        pytest.param({"installation": "there"}, id="another installation"),
        pytest.param({"account": 2, "owner": 1}, id="account and owner changed places"),
    ],
)
def test_what_was_sealed_opens_nowhere_else(elsewhere: dict[str, Any]) -> None:
    sealed = seal(CREDENTIALS, PLACE, OLD_KEYS)

    with pytest.raises(SealBrokenError, match="for another account, owner, network or installation"):
        unseal(sealed, replace(PLACE, **elsewhere), OLD_KEYS)


def test_who_has_the_public_key_seals_and_opens_nothing() -> None:
    web = keys_of((OLD[0],), ())

    sealed = seal(CREDENTIALS, PLACE, web)

    assert not web.may_open
    with pytest.raises(SealBrokenError, match="does not hold the private key"):
        unseal(sealed, PLACE, web)
    assert unseal(sealed, PLACE, OLD_KEYS) == CREDENTIALS


def test_the_first_public_key_seals_and_every_private_key_opens() -> None:
    rotated = keys_of((NEW[0], OLD[0]), (NEW[1], OLD[1]))

    before, after = seal(CREDENTIALS, PLACE, OLD_KEYS), seal(CREDENTIALS, PLACE, rotated)

    assert unseal(before, PLACE, rotated) == unseal(after, PLACE, rotated) == CREDENTIALS
    assert sealed_with(after) == rotated.sealing != sealed_with(before)
    assert unseal(after, PLACE, keys_of((), (NEW[1],))) == CREDENTIALS
    with pytest.raises(SealBrokenError, match=rotated.sealing):
        unseal(after, PLACE, OLD_KEYS)


def test_a_seal_does_not_open_under_the_name_of_another_key() -> None:
    rotated = keys_of((NEW[0], OLD[0]), (NEW[1], OLD[1]))
    sealed = seal(CREDENTIALS, PLACE, OLD_KEYS)

    with pytest.raises(SealBrokenError):
        unseal(sealed.replace(OLD_KEYS.sealing, rotated.sealing), PLACE, rotated)


def test_what_an_older_version_sealed_opens_with_its_key_alone() -> None:
    before = Fernet(FERNET).encrypt(b'{"key": "a", "secret": "b", "passphrase": "c"}').decode()
    upgraded = keys_of((OLD[0],), (OLD[1],), (FERNET,))

    assert unseal(before, PLACE, upgraded) == Credentials(key="a", secret="b", passphrase="c")
    assert sealed_with(before) is None
    with pytest.raises(SealBrokenError):
        unseal(before, PLACE, OLD_KEYS)
    with pytest.raises(SealBrokenError):
        unseal(before, PLACE, keys_of((), (), (Fernet.generate_key().decode(),)))


def test_an_installation_that_has_only_the_older_key_seals_to_places_with_it() -> None:
    alone = keys_of((), (), (FERNET,))
    sealed = seal(CREDENTIALS, PLACE, alone)

    assert unseal(sealed, PLACE, alone) == CREDENTIALS
    assert unseal(sealed, PLACE, keys_of((NEW[0],), (NEW[1],), (FERNET,))) == CREDENTIALS
    with pytest.raises(SealBrokenError):
        unseal(sealed, replace(PLACE, account=7), alone)


@pytest.mark.parametrize(
    "broken",
    [
        pytest.param(seal(CREDENTIALS, PLACE, keys_of((), (STRANGE[1],))), id="a key that was lost"),
        pytest.param(seal(CREDENTIALS, PLACE, OLD_KEYS)[:-8], id="cut off"),
        pytest.param(seal(CREDENTIALS, PLACE, OLD_KEYS)[:40], id="cut off early"),
        pytest.param(f"hpke1.{OLD_KEYS.sealing}.", id="empty"),
        pytest.param(f"hpke1.{OLD_KEYS.sealing}.ü!", id="no base64"),
        pytest.param("hpke1", id="its form alone"),
        pytest.param("gAAAAhunter2", id="a Fernet token, as far as it goes"),
        pytest.param("hunter2: no seal at all", id="no seal"),
        pytest.param("", id="nothing"),
        pytest.param("hunter2 ünsealed", id="not even ASCII"),
    ],
)
def test_a_broken_seal_says_so_and_shows_nothing(broken: str) -> None:
    with pytest.raises(SealBrokenError) as refused:
        unseal(broken, PLACE, keys_of((NEW[0], OLD[0]), (NEW[1], OLD[1]), (FERNET,)))

    assert "hunter2" not in str(refused.value)
    assert str(refused.value).count(".") == 0


@pytest.mark.parametrize("place", [20, 40, 80, -1])
def test_a_changed_letter_breaks_the_seal(place: int) -> None:
    sealed = list(seal(CREDENTIALS, PLACE, OLD_KEYS))
    sealed[place] = "A" if sealed[place] != "A" else "Q"

    with pytest.raises(SealBrokenError):
        unseal("".join(sealed), PLACE, OLD_KEYS)


@pytest.mark.parametrize(
    ("public", "private", "older"),
    [
        pytest.param((), (), (), id="none"),
        pytest.param(("short",), (), (), id="a short public one"),
        pytest.param((), (OLD[1], "short"), (), id="one of two private ones"),
        pytest.param((OLD[0] + "AAAA",), (), (), id="a long one"),
        pytest.param(("ü" * 43,), (), (), id="no base64"),
        pytest.param((), (), ("short",), id="no Fernet key"),
    ],
)
def test_keys_must_be_true_keys(
    public: tuple[str, ...], private: tuple[str, ...], older: tuple[str, ...]
) -> None:
    with pytest.raises(ValueError, match=r"key|Fernet"):
        keys_of(public, private, older)
