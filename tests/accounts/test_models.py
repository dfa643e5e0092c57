"""What an account promises: one key each, sealed, and verified before anything acts for it."""

import uuid
from typing import Any

import pytest
from django.conf import settings as django_settings
from django.contrib.auth.models import User
from django.core import serializers
from django.db import IntegrityError
from pytest_django.fixtures import Settings

from accounts import crypto
from accounts.crypto import SealBrokenError
from accounts.gateway import client_for
from accounts.models import Account, Installation
from exchange.auth import Credentials
from exchange.config import Network
from exchange.simulator.running import Simulator
from tests.accounts.conftest import CREDENTIALS, NOW, other_key, saved
from tests.exchange.places import endpoints_of


def test_credentials_come_back_from_the_database(owner: User) -> None:
    stored = Account.objects.get(pk=saved(owner).pk)

    assert stored.credentials() == CREDENTIALS
    assert stored.key_hint == "…1234"


def test_nothing_that_prints_an_account_shows_its_secrets(owner: User) -> None:
    mine = saved(owner)
    everyone = Account.objects.all()
    shown = [
        str(mine),
        repr(mine),
        repr(everyone),
        repr(vars(mine)),
        repr(list(everyone.values())),
        serializers.serialize("json", everyone),
        repr(mine.credentials()).replace(CREDENTIALS.key, ""),
    ]

    for text in shown:
        for secret in (CREDENTIALS.key, CREDENTIALS.secret, CREDENTIALS.passphrase):
            assert secret not in text


def test_new_credentials_must_be_verified_again(owner: User) -> None:
    mine = saved(owner)
    mine.mark_verified(NOW)

    mine.set_credentials(other_key())

    assert not mine.may_act
    assert mine.fault == ""


def test_a_rotated_key_still_opens_and_a_lost_one_does_not(owner: User, settings: Settings) -> None:
    mine = saved(owner)
    public, private = crypto.new_pair()

    settings.SEAL_PUBLIC_KEYS = [public, *django_settings.SEAL_PUBLIC_KEYS]
    settings.SEAL_PRIVATE_KEYS = [private, *django_settings.SEAL_PRIVATE_KEYS]
    assert mine.credentials() == CREDENTIALS

    settings.SEAL_PRIVATE_KEYS = [private]
    with pytest.raises(SealBrokenError):
        mine.credentials()


@pytest.mark.usefixtures("paper")
def test_sealed_credentials_open_in_no_other_row(owner: User) -> None:
    mine = saved(owner)
    other = saved(User.objects.create_user("another"), other_key(), name="other")

    Account.objects.filter(pk=other.pk).update(credentials_sealed=mine.credentials_sealed)

    other.refresh_from_db()
    with pytest.raises(SealBrokenError, match="for another account, owner, network or installation"):
        other.credentials()
    with pytest.raises(SealBrokenError):
        client_for(other)


@pytest.mark.parametrize("moved", ["owner", "network", "installation"])
def test_sealed_credentials_open_for_no_other_owner_network_or_installation(
    owner: User, paper: Simulator, settings: Settings, moved: str
) -> None:
    settings.LN_MARKETS_ENDPOINTS |= {Network.SIGNET: endpoints_of(paper)}
    mine = saved(owner, paper.accounts[0].credentials)
    assert client_for(mine).account().balance == paper.balance()

    match moved:
        case "owner":
            Account.objects.update(owner=User.objects.create_user("another"))
        case "network":
            Account.objects.update(network="signet")
        case _:
            Installation.objects.update(identity=uuid.uuid4())

    mine.refresh_from_db()
    with pytest.raises(SealBrokenError):
        mine.credentials()
    if moved != "installation":  # of a running process nobody changes that
        with pytest.raises(SealBrokenError):
            client_for(mine)


def test_an_account_goes_on_acting_when_it_is_sealed_anew(owner: User, settings: Settings) -> None:
    mine = saved(owner)
    mine.mark_verified(NOW)
    public, private = crypto.new_pair()
    settings.SEAL_PUBLIC_KEYS = [public, *django_settings.SEAL_PUBLIC_KEYS]
    with pytest.raises(SealBrokenError):
        mine.seal_anew()  # nobody here could open it again

    settings.SEAL_PRIVATE_KEYS = [private, *django_settings.SEAL_PRIVATE_KEYS]
    assert mine.seal_anew()

    settings.SEAL_PRIVATE_KEYS = [private]
    stored = Account.objects.get()
    assert stored.may_act
    assert stored.credentials() == CREDENTIALS


def test_credentials_entered_meanwhile_are_not_overwritten_by_sealing_anew(owner: User) -> None:
    read_before = saved(owner)
    entered = Account.objects.get()
    entered.set_credentials(other_key())
    entered.save()

    assert not read_before.seal_anew()

    assert Account.objects.get().credentials() == other_key()


def test_only_an_active_and_verified_account_may_act(owner: User) -> None:
    acting = saved(owner)
    acting.mark_verified(NOW)
    saved(owner, other_key("unverified"), name="unverified")
    saved(owner, other_key("inactive"), name="inactive", is_active=False).mark_verified(NOW)

    assert list(Account.objects.all().acting()) == [acting]
    assert [each.name for each in Account.objects.all() if each.may_act] == ["first"]


def test_a_suspended_account_says_why_and_may_not_act(owner: User) -> None:
    mine = saved(owner)
    mine.mark_verified(NOW)

    mine.suspend("the key was revoked " * 50)

    stored = Account.objects.get()
    assert not stored.may_act
    assert stored.fault.startswith("the key was revoked")
    assert len(stored.fault) == 500


def test_what_was_said_about_credentials_says_nothing_about_those_entered_meanwhile(
    owner: User,
) -> None:
    asked = saved(owner)
    mine = Account.objects.get()
    mine.set_credentials(other_key("new"))
    mine.save()

    assert not asked.mark_verified(NOW)
    assert not Account.objects.get().may_act
    assert mine.mark_verified(NOW)
    assert not asked.suspend("the old key was revoked")
    assert Account.objects.get().may_act


def test_a_verified_account_has_no_fault_any_more(owner: User) -> None:
    mine = saved(owner)
    mine.suspend("the key was revoked")

    mine.mark_verified(NOW)

    stored = Account.objects.get()
    assert stored.may_act
    assert stored.fault == ""


@pytest.mark.parametrize(
    ("credentials", "changes", "promise"),
    [
        pytest.param(
            other_key(), {}, "account_name_is_unique_per_owner", id="a name twice for one owner"
        ),
        pytest.param(
            CREDENTIALS, {"name": "second"}, "api_key_belongs_to_one_account", id="a key twice"
        ),
        pytest.param(
            other_key(), {"name": "second", "network": "moon"}, "account_network_is_known",
            id="an unknown network",
        ),
    ],
)  # fmt: skip
def test_the_database_refuses_an_account_that_cannot_be(
    owner: User, credentials: Credentials, changes: dict[str, Any], promise: str
) -> None:
    saved(owner)

    with pytest.raises(IntegrityError, match=promise):
        saved(owner, credentials, **changes)


def test_the_database_refuses_an_account_without_credentials(owner: User) -> None:
    with pytest.raises(IntegrityError, match="account_has_credentials"):
        Account.objects.create(owner=owner, name="first", network="paper")


def test_one_key_may_stand_on_two_networks_and_one_name_with_two_owners(owner: User) -> None:
    saved(owner)
    saved(owner, name="second", network="signet")
    saved(User.objects.create_user("another"), other_key())

    assert Account.objects.count() == 3
