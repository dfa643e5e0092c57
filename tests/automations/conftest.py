"""An account of the platform whose exchange is a paper exchange of its own."""

from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from django.contrib.auth.models import User
from django.utils import timezone
from pytest_django.fixtures import Settings

from accounts.gateway import client_for, redis_client
from accounts.models import Account
from automations.models import GuardStep, MarginGuard
from exchange.client import Client
from exchange.config import Network
from exchange.formulas import Side
from exchange.money import Usd
from exchange.position import Position
from exchange.simulator.running import Simulator
from exchange.trade import NewTrade
from hubdefisats import embedded
from tests.accounts.conftest import browser, paper, venue
from tests.automations.acting import check_the_chain

__all__ = ["browser", "paper", "venue"]


@pytest.fixture
def account(
    db: None,  # noqa: ARG001
    paper: Simulator,
) -> Account:
    """A verified account on `venue`, with the price at 100,000 and 10,000,000 sats."""
    return new_account(paper, 0)


def new_account(venue: Simulator, number: int) -> Account:
    owner, _ = User.objects.get_or_create(username="owner")
    account = Account(owner=owner, name=f"account {number}", network=Network.PAPER)
    account.set_credentials(venue.accounts[number].credentials)
    account.verified_at = timezone.now()
    account.save()
    return account


@pytest.fixture
def chain(db: None) -> Iterator[None]:  # noqa: ARG001
    """Whatever a test did, the journal's chain is whole afterwards."""
    yield
    check_the_chain()


@pytest.fixture
def client(account: Account) -> Client:
    return client_for(account)


@pytest.fixture
def long(client: Client) -> Position:
    """1,000 USD at 10x from 100,000: margin 100,000, liquidation 90,909, half lost at 95,238."""
    return open_long(client)


def open_long(client: Client, *, leverage: int = 10) -> Position:
    trade = NewTrade(side=Side.BUY, leverage=Decimal(leverage), quantity=Usd(1000))
    opened = client.open_trade(trade)
    assert isinstance(opened, Position)
    return opened


@pytest.fixture
def guard(account: Account) -> MarginGuard:
    """Adds 20,000 sats when half of the margin is lost."""
    made = MarginGuard.objects.create(
        enabled=True,
        account=account,
        name="guard",
        metric="margin_used",
        budget_per_position_sats=50_000,
        budget_per_day_sats=80_000,
        cooldown_s=1,
    )
    made.steps.create(threshold_percent=Decimal(50), does=GuardStep.Does.ADD_FIXED, amount_sats=20_000)
    return made


@pytest.fixture
def own_redis() -> Iterator[str]:
    """A Redis of this test alone: it may fill and stop it, and nobody else hears what is announced."""
    # Not below pytest's own folder, whose path is too long for a socket.
    with (
        TemporaryDirectory(prefix="hubdefisats-redis-") as folder,
        embedded.redis_server(Path(folder), "own") as url,
    ):
        yield url


@pytest.fixture
def without_redis(paper: Simulator, settings: Settings) -> Iterator[None]:  # noqa: ARG001
    """Redis is out of reach for this process, though there to be looked into."""
    settings.REDIS_URL = "redis://127.0.0.1:1/0"
    redis_client.cache_clear()
    yield
    redis_client.cache_clear()


@pytest.fixture
def common(account: Account) -> dict[str, str]:
    """What is typed into the form of any kind."""
    return {
        "account": str(account.pk),
        "name": "typed name",
        "enabled": "on",
        "switch": "active",
        "cooldown_s": "10",
    }
