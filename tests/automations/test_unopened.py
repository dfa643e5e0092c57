"""A stored key that nothing opens: that account alone does nothing, and its owner knows why."""

from collections.abc import Iterator

import pytest
from django.utils import timezone
from pytest_django.fixtures import Settings

from accounts import crypto, gateway
from accounts.models import Account
from automations import protection
from automations.models import MarginGuard, Notification
from exchange.position import Position
from exchange.simulator.running import Simulator
from tests.automations.acting import effects, events, look, move
from tests.automations.conftest import new_account, open_long

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("chain")]


@pytest.fixture
def lost(settings: Settings) -> Iterator[list[str]]:
    """The private keys, taken from this process, as if it had been started without them."""
    keys, settings.SEAL_PRIVATE_KEYS = settings.SEAL_PRIVATE_KEYS, [crypto.new_pair()[1]]
    gateway._opened.cache_clear()  # noqa: SLF001 - what a process starts with
    yield keys
    gateway._opened.cache_clear()  # noqa: SLF001


def copied_into(account: Account, other: Account) -> None:
    Account.objects.filter(pk=account.pk).update(credentials_sealed=other.credentials_sealed)


def test_a_seal_of_another_account_stops_that_account_alone_and_its_owner_is_told(
    venue: Simulator, long: Position, guard: MarginGuard, account: Account
) -> None:
    other = new_account(venue, 1)
    opened = open_long(gateway.client_for(other))
    others = MarginGuard.objects.create(enabled=True, account=other, name="of the other")
    others.steps.create(threshold_percent=50, does="add_fixed", amount_sats=20_000)
    copied_into(account, other)
    move(venue, 95_000)
    before = effects(venue)

    assert "not opened: it was sealed for another account" in look(guard, long)
    assert look(others, opened) == "confirmed"
    protection.look(timezone.now())

    assert effects(venue) == before + 1
    told = Notification.objects.get(entry__event="key_unopened")
    assert told.account == account
    assert "NOT protected, the stored key cannot be opened" in told.subject
    assert "another account, owner, network or installation" in told.text
    assert Account.objects.get(pk=account.pk).may_act, "it is not suspended: a key may come back"


def test_without_a_key_nothing_is_sent_and_with_it_all_is_as_before(
    venue: Simulator,
    long: Position,
    guard: MarginGuard,
    lost: list[str],
    settings: Settings,
) -> None:
    move(venue, 95_000)
    assert "does not hold the private key" in look(guard, long)
    for _ in range(3):
        protection.look(timezone.now())
    assert effects(venue) == 0
    assert events().count("key_unopened") == 1

    settings.SEAL_PRIVATE_KEYS = lost
    protection.look(timezone.now())

    assert events()[-1] == "key_opened"
    assert not Notification.objects.filter(ends=True).exists()
    assert look(guard, long) == "confirmed"
    protection.look(timezone.now())
    assert events().count("key_opened") == 1


@pytest.mark.usefixtures("guard", "lost")
def test_an_owner_is_told_although_nobody_looked_at_the_account() -> None:
    protection.look(timezone.now())

    assert events() == ["key_unopened"]
    assert Notification.objects.get().ends
