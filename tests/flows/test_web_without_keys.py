"""A web that cannot open credentials: a worker tests connections for it, and looks for its previews."""

import os

import pytest
from django.contrib.auth.models import User
from django.test import Client as Browser
from django.urls import reverse
from pytest_django.fixtures import Settings

from accounts.models import Account, Inquiry
from automations import previewing
from automations.models import AutoEntry, MarginGuard
from automations.previewing import CannotBeSeenError
from exchange.position import Regime
from tests.flows.conftest import Story
from tests.waiting import wait_until


@pytest.fixture
def guard(story: Story, settings: Settings) -> MarginGuard:
    """A guard on an account with a position, in a process that has public keys alone."""
    story.open()
    settings.SEAL_PRIVATE_KEYS = []
    guard = MarginGuard.objects.create(enabled=True, account=story.account, name="guard")
    guard.steps.create(threshold_percent=50, does="add_fixed", amount_sats=20_000)
    return guard


def test_a_preview_is_what_a_worker_saw(story: Story, guard: MarginGuard) -> None:
    browser = Browser()
    browser.force_login(User.objects.create_superuser("root"))

    page = browser.get(reverse("admin:automations_marginguard_preview", args=[guard.pk]))

    assert "Add 20,000 sats of margin" in page.content.decode()
    assert "95,238" in page.content.decode()
    assert story.account.inquiries.get().kind == Inquiry.Kind.SIGHT


def test_an_entry_on_cross_is_previewed_with_all_that_the_exchange_shows(
    story: Story, settings: Settings
) -> None:
    story.deposit(500_000)
    settings.SEAL_PRIVATE_KEYS = []
    entry = AutoEntry.objects.create(
        enabled=True, account=story.account, name="entry", regime=Regime.CROSS, side="buy",
        quantity=100, trigger_price=90_000,
    )  # fmt: skip
    entry.refresh_from_db()

    through_a_worker = previewing.see(entry)

    settings.SEAL_PRIVATE_KEYS = os.environ["SEAL_PRIVATE_KEYS"].split(",")
    itself = previewing.see(entry)
    assert through_a_worker.cross == itself.cross
    assert through_a_worker.account == itself.account
    assert through_a_worker.needed == itself.needed
    assert through_a_worker.seen.quote.price == itself.seen.quote.price


def test_what_a_worker_cannot_read_is_said_as_if_web_had_looked(guard: MarginGuard) -> None:
    Account.objects.update(credentials_sealed="spoilt")
    guard.refresh_from_db()

    with pytest.raises(CannotBeSeenError, match="enter key, secret and passphrase again"):
        previewing.preview(guard)


def test_a_connection_is_tested_by_a_worker(story: Story, guard: MarginGuard) -> None:
    Account.objects.update(verified_at=None)
    browser = Browser()
    browser.force_login(User.objects.create_superuser("root"))
    chosen = {"action": "test_connection", "_selected_action": [guard.account_id]}

    browser.post(reverse("admin:accounts_account_changelist"), chosen)

    wait_until(lambda: Account.objects.get().may_act, what="the account is verified")
    wait_until(lambda: story.account.inquiries.get().answer is not None, what="its test is answered")
