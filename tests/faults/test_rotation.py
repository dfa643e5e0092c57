"""The key that seals credentials is replaced while accounts are acted for."""

from decimal import Decimal
from io import StringIO

import pytest
from django.core.management import call_command
from pytest_django.fixtures import Settings

from accounts import crypto
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
    public, private = crypto.new_pair()
    old, old_public = settings.SEAL_PRIVATE_KEYS, settings.SEAL_PUBLIC_KEYS
    sealed = account.credentials_sealed
    MarginGuard.objects.update(budget_per_day_sats=None)
    guard.steps.update(threshold_percent=Decimal(20))
    for step, keys in enumerate([old, [private, *old], [private]]):
        settings.SEAL_PRIVATE_KEYS = keys
        if step == 1:  # sealed anew, in the midst of it
            settings.SEAL_PUBLIC_KEYS = [public, *old_public]
            call_command("rotate_keys", stdout=StringIO())
            account.refresh_from_db()
            assert account.credentials_sealed != sealed
        move(venue, 96_000 - 1_000 * step)
        if step < 2:
            assert look(guard, long) == "confirmed"
        rest_until_ready(guard)

    assert look(guard, long) == "confirmed", "what the new key sealed opens without the old one"
    assert effects(venue) == 3
