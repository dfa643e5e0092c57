"""Keys may have leaked: everything off, everybody out, owners told, all of it or nothing."""

from io import StringIO
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.contrib.auth.tokens import default_token_generator
from django.contrib.sessions.models import Session
from django.core.management import call_command
from django.db import IntegrityError, connection, transaction
from django.test import Client as Browser
from django.utils import timezone

from accounts.models import Account
from automations import protection, suspending
from automations.models import JournalEntry, MarginGuard, Notification
from exchange.position import Position
from exchange.simulator.running import Simulator
from tests.automations.acting import effects, look, move
from tests.automations.conftest import new_account

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("chain")]


def called(*arguments: str) -> str:
    output = StringIO()
    call_command("revoke", *arguments, stdout=output)
    return output.getvalue()


def signed_in() -> Browser:
    browser = Browser()
    browser.force_login(User.objects.create_superuser("root"))
    return browser


def everything() -> list[Any]:
    return [
        list(model.objects.order_by("pk").values())
        for model in (Account, Session, User, JournalEntry, Notification)
    ]


def test_without_yes_it_says_what_it_would_do_and_changes_nothing(
    venue: Simulator, account: Account
) -> None:
    new_account(venue, 1)
    signed_in()
    before = everything()

    told = called()

    assert f"account {account.pk}, account 0 (paper), of owner, key {account.key_hint}" in told
    assert "2 accounts would be switched off, 1 sessions would be ended" in told
    assert told.endswith("Nothing was changed: repeat it with --yes.\n")
    assert everything() == before


def test_nothing_acts_nobody_is_signed_in_and_every_owner_is_told(
    venue: Simulator, long: Position, guard: MarginGuard, account: Account
) -> None:
    other = new_account(venue, 1)
    browser = signed_in()
    owner = User.objects.get(username="owner")
    link = default_token_generator.make_token(owner)
    assert browser.get("/admin/").status_code == 200

    told = called("--yes", "--reason", "a laptop was stolen")

    assert "2 accounts were switched off, 1 sessions were ended" in told
    assert "1. At LN Markets delete every API key named above" in told
    move(venue, 95_000)
    assert look(guard, long) == "disabled, quarantined, or its account may not act"
    assert effects(venue) == 0
    assert browser.get("/admin/").status_code == 302
    owner.refresh_from_db()
    assert not default_token_generator.check_token(owner, link)
    for each in (account, other):
        entry = JournalEntry.objects.get(account=each, event="key_revoked")
        assert "a laptop was stolen" in entry.message
        message = Notification.objects.get(account=each)
        assert "NOT protected" in message.subject
        assert "Delete its API key at LN Markets now" in message.text
        assert message.ends


@pytest.mark.usefixtures("guard")
def test_an_account_comes_back_only_by_a_person_and_its_owner_is_told(account: Account) -> None:
    called("--yes")
    suspending.ask_again()
    protection.look(timezone.now())
    account.refresh_from_db()
    assert not account.may_act
    assert "keys may have leaked" in account.fault

    account.set_credentials(account.credentials())
    account.is_active = True
    account.save()
    account.mark_verified(timezone.now())
    protection.look(timezone.now())

    events = list(JournalEntry.objects.order_by("id").values_list("event", flat=True))
    assert events == ["key_revoked", "key_accepted"]
    assert not Notification.objects.filter(ends=True).exists()


def test_it_is_all_or_nothing(account: Account, venue: Simulator) -> None:
    others = new_account(venue, 1)
    signed_in()
    with connection.cursor() as cursor:  # the last thing that it does cannot be done
        never = "CHECK (username <> 'owner' OR last_login IS NULL)"
        cursor.execute(f"ALTER TABLE auth_user ADD CONSTRAINT stays {never}")
    before = everything()

    with pytest.raises(IntegrityError, match="stays"), transaction.atomic():
        called("--yes")

    assert everything() == before
    assert all(Account.objects.get(pk=each.pk).may_act for each in (account, others))
