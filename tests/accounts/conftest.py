"""A paper exchange that this installation knows, and someone to own accounts on it."""

from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.test import Client as Browser
from pytest_django.fixtures import Settings

from accounts.models import Account
from exchange.auth import Credentials
from exchange.config import Network
from exchange.simulator.running import Simulator
from tests.exchange.places import endpoints_of

CREDENTIALS = Credentials(key="key-of-mine-1234", secret="hunter2", passphrase="opensesame")
NOW = datetime(2026, 8, 1, tzinfo=UTC)


def saved(owner: User, credentials: Credentials = CREDENTIALS, **changes: Any) -> Account:
    account = unsaved(owner, credentials, **changes)
    account.save()
    return account


def unsaved(owner: User, credentials: Credentials, **changes: Any) -> Account:
    account = Account(**({"owner": owner, "name": "first", "network": "paper"} | changes))
    account.set_credentials(credentials)
    return account


def other_key(key: str = "key-5678") -> Credentials:
    return Credentials(key=key, secret="s", passphrase="p")


@pytest.fixture
def venue() -> Iterator[Simulator]:
    with Simulator() as simulator:
        yield simulator


@pytest.fixture
def paper(
    venue: Simulator,
    settings: Settings,
    redis_url: str,  # noqa: ARG001 - empties the live view
) -> Simulator:
    """`venue` as the only exchange this installation knows, asked without our own limits."""
    settings.LN_MARKETS_ENDPOINTS = {Network.PAPER: endpoints_of(venue)}
    settings.PRIVATE_CALLS_PER_S = settings.PUBLIC_CALLS_PER_S = 10_000
    return venue


@pytest.fixture
def owner(db: None) -> User:  # noqa: ARG001
    return User.objects.create_user("owner")


@pytest.fixture
def browser(db: None) -> Browser:  # noqa: ARG001
    """A superuser, signed in."""
    browser = Browser()
    browser.force_login(User.objects.create_superuser("root"))
    return browser
