"""Rotating the seal's keys: everything sealed anew, resumable, and no word too early."""

from io import StringIO

import pytest
from cryptography.fernet import Fernet
from django.contrib.auth.models import User
from django.core.management import CommandError, call_command
from pytest_django.fixtures import Settings

from accounts import crypto, rotation
from accounts.models import Account, held_keys
from exchange.auth import Credentials
from tests.accounts.conftest import NOW, other_key, saved


@pytest.fixture
def accounts(db: None) -> list[Account]:  # noqa: ARG001
    owner = User.objects.create_user("owner")
    made = [saved(owner, other_key(f"key-{number}"), name=f"a {number}") for number in range(5)]
    for each in made:
        each.mark_verified(NOW)
    return made


@pytest.fixture
def rotated(accounts: list[Account], settings: Settings) -> str:
    """A newer pair of keys, once the accounts were sealed with the older; the newer private key."""
    assert accounts
    public, private = crypto.new_pair()
    settings.SEAL_PUBLIC_KEYS = [public, *settings.SEAL_PUBLIC_KEYS]
    settings.SEAL_PRIVATE_KEYS = [private, *settings.SEAL_PRIVATE_KEYS]
    return private


def called(*arguments: str) -> str:
    output = StringIO()
    call_command("rotate_keys", *arguments, stdout=output)
    return output.getvalue()


def keys_open() -> list[str]:
    return [each.credentials().key for each in Account.objects.order_by("pk")]


def test_everything_is_sealed_with_the_newest_key_and_goes_on_acting(
    rotated: str, settings: Settings
) -> None:
    told = called()

    assert "5 of 5 accounts" in told
    assert f"5 accounts sealed anew with the key {held_keys().sealing}." in told
    assert f"No row needs a key other than {held_keys().sealing}." in told
    settings.SEAL_PRIVATE_KEYS = [rotated]
    assert keys_open() == [f"key-{number}" for number in range(5)]
    assert all(each.may_act for each in Account.objects.all())
    assert "0 accounts sealed anew" in called()


@pytest.mark.usefixtures("rotated")
def test_what_was_done_before_it_ended_is_not_done_again() -> None:
    class KilledError(Exception):
        pass

    def killed(done: int, _of: int) -> None:
        if done == 2:
            raise KilledError

    with pytest.raises(KilledError):
        rotation.rotate(killed)
    done = list(Account.objects.order_by("pk").values_list("credentials_sealed", flat=True)[:2])

    assert "3 accounts sealed anew" in called()

    assert list(Account.objects.order_by("pk").values_list("credentials_sealed", flat=True)[:2]) == done


@pytest.mark.usefixtures("rotated")
def test_as_long_as_a_row_needs_an_older_key_it_is_not_said_otherwise(
    accounts: list[Account], settings: Settings
) -> None:
    with pytest.raises(CommandError) as refused:
        called("--check")
    assert str(refused.value).count("it needs the key") == 5
    called()

    older = settings.SEAL_PUBLIC_KEYS
    settings.SEAL_PUBLIC_KEYS = older[1:]  # as web does that was not started anew
    accounts[2].set_credentials(other_key("entered meanwhile"))
    accounts[2].save()
    settings.SEAL_PUBLIC_KEYS = older

    with pytest.raises(CommandError, match=rf"account {accounts[2].pk}, .* needs the key"):
        called("--check")
    assert "1 accounts sealed anew" in called()


@pytest.mark.usefixtures("rotated")
def test_a_row_that_cannot_be_opened_holds_up_no_other_and_is_named(accounts: list[Account]) -> None:
    stolen = accounts[0].credentials_sealed
    Account.objects.filter(pk=accounts[3].pk).update(credentials_sealed=stolen)

    with pytest.raises(CommandError) as refused:
        called()

    assert f"account {accounts[3].pk}, a 3 (paper): it needs the key" in str(refused.value)
    assert "cannot be opened" in str(refused.value)
    assert "1 accounts are not sealed with" in str(refused.value)
    accounts[3].refresh_from_db()
    assert accounts[3].credentials_sealed == stolen, "left as it is"


def test_nothing_is_sealed_with_a_key_whose_private_half_is_not_here(
    accounts: list[Account], settings: Settings
) -> None:
    settings.SEAL_PUBLIC_KEYS = [crypto.new_pair()[0], *settings.SEAL_PUBLIC_KEYS]

    with pytest.raises(CommandError, match="has no private key here: nothing was changed"):
        called()

    assert keys_open() == [f"key-{number}" for number in range(5)]
    assert accounts


def test_what_an_older_version_sealed_is_bound_to_its_place_and_nothing_is_lost(
    accounts: list[Account], settings: Settings
) -> None:
    older = Fernet.generate_key().decode()
    text = b'{"key": "from before", "secret": "s", "passphrase": "p"}'
    sealed = Fernet(older).encrypt(text).decode()
    Account.objects.filter(pk=accounts[1].pk).update(credentials_sealed=sealed)
    settings.CREDENTIAL_KEYS = [older]
    accounts[1].refresh_from_db()
    assert accounts[1].credentials() == Credentials(key="from before", secret="s", passphrase="p")

    assert rotation.seal_older() == 1

    settings.CREDENTIAL_KEYS = []
    accounts[1].refresh_from_db()
    assert accounts[1].credentials().key == "from before"
    assert accounts[1].may_act
    assert rotation.seal_older() == 0


def test_without_the_older_key_such_a_row_is_kept_and_named(accounts: list[Account]) -> None:
    sealed = Fernet(Fernet.generate_key()).encrypt(b"{}").decode()
    Account.objects.filter(pk=accounts[1].pk).update(credentials_sealed=sealed)

    with pytest.raises(CommandError, match="it needs the older CREDENTIAL_KEYS, and cannot be opened"):
        called()

    assert rotation.seal_older() == 0
    assert Account.objects.get(pk=accounts[1].pk).credentials_sealed == sealed
