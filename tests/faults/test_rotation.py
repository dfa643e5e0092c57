"""The key that seals credentials is replaced while accounts are acted for."""

from decimal import Decimal

import pytest
from cryptography.fernet import Fernet
from pytest_django.fixtures import Settings

from accounts.models import Account
from automations.models import MarginGuard
from exchange.position import Position
from exchange.simulator.running import Simulator
from tests.automations.acting import effects, look, move, rest_until_ready
from tests.automations.conftest import account, chain, client, guard, long, paper, venue

__all__ = ["account", "chain", "client", "guard", "long", "paper", "venue"]


@pytest.mark.usefixtures("chain")
def test_a_key_rotated_while_accounts_are_acted_for_stops_nobody(
    settings: Settings, venue: Simulator, account: Account, guard: MarginGuard, long: Position
) -> None:
    old, new = settings.CREDENTIAL_KEYS, Fernet.generate_key().decode()
    sealed = account.credentials_sealed
    MarginGuard.objects.update(budget_per_day_sats=None)
    guard.steps.update(threshold_percent=Decimal(20))
    for step, keys in enumerate([old, [new, *old], [new]]):
        settings.CREDENTIAL_KEYS = keys
        if step == 1:  # sealed anew, in the midst of it
            account.set_credentials(account.credentials())
            assert account.credentials_sealed != sealed
            Account.objects.update(credentials_sealed=account.credentials_sealed)
        move(venue, 96_000 - 1_000 * step)
        if step < 2:
            assert look(guard, long) == "confirmed"
        rest_until_ready(guard)

    assert look(guard, long) == "confirmed", "what the new key sealed opens without the old one"
    assert effects(venue) == 3
