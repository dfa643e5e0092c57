"""Being told: a guard fires and a mail arrives."""

from collections.abc import Iterator
from decimal import Decimal

import pytest
from django.contrib.auth.models import User
from pytest_django.fixtures import Settings

from accounts import services
from accounts.gateway import client_for
from accounts.models import Account
from automations import tasks
from automations.models import GuardStep, MarginGuard, Notification
from exchange.config import Endpoints, Network
from exchange.formulas import Side
from exchange.money import Usd
from exchange.position import Position
from exchange.trade import NewTrade
from tests.flows.processes import CELERY, Paper, paper_exchange, program
from tests.mail import mail_server, silent_server
from tests.waiting import wait_until

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.timeout(120)]
TWO_AT_A_TIME = (*CELERY, "worker", "--concurrency", "2")
ADD_MARGIN = "/v3/futures/isolated/trade/add-margin"


@pytest.fixture
def paper() -> Iterator[Paper]:
    with paper_exchange() as running:
        yield running


@pytest.fixture
def position(paper: Paper, settings: Settings, redis_url: str) -> Position:  # noqa: ARG001
    """A long of 1,000 USD at 10x from 100,000, of an owner with an address."""
    settings.LN_MARKETS_ENDPOINTS = {
        Network.PAPER: Endpoints(api_url=paper.api_url, stream_url=paper.stream_url)
    }
    owner = User.objects.create_user("owner", email="owner@example.com")
    account = Account(owner=owner, name="first", network="paper")
    account.set_credentials(paper.credentials(0))
    account.save()
    assert isinstance(services.verify(account), services.Verified)
    order = NewTrade(side=Side.BUY, leverage=Decimal(10), quantity=Usd(1000))
    opened = client_for(account).open_trade(order)
    assert isinstance(opened, Position)
    return opened


@pytest.fixture
def guard(position: Position) -> MarginGuard:  # noqa: ARG001 - of the same account
    made = MarginGuard.objects.create(account=Account.objects.get(), name="guard")
    made.steps.create(threshold_percent=50, does=GuardStep.Does.ADD_FIXED, amount_sats=20_000)
    return made


def test_the_guard_fires_and_a_mail_arrives(
    paper: Paper, position: Position, guard: MarginGuard
) -> None:
    paper.set_price(95_000)
    with mail_server() as inbox:
        variables = {"EMAIL_URL": inbox.url, "EMAIL_FROM": "hub@example.com"}
        with program(*TWO_AT_A_TIME, paper=paper, **variables):
            tasks.send(guard.pk, position.id, urgent=True)
            wait_until(lambda: inbox.mails, within_s=60, what="the mail arrived")
            wait_until(
                lambda: Notification.objects.filter(state="sent").exists(), what="that is written down"
            )

    (mail,) = inbox.mails
    assert mail["To"] == "owner@example.com"
    assert mail["Subject"] == "[hubdefisats] first: guard: add margin"
    assert position.id in mail.get_content()
    assert len(paper.effects(ADD_MARGIN)) == 1


def test_while_a_mail_server_hangs_the_next_guard_fires(
    paper: Paper, position: Position, guard: MarginGuard
) -> None:
    paper.set_price(95_000)
    second = MarginGuard.objects.create(account=guard.account, name="second")
    second.steps.create(threshold_percent=40, does=GuardStep.Does.ADD_FIXED, amount_sats=10_000)
    with silent_server() as url:
        variables = {"EMAIL_URL": url, "EMAIL_FROM": "hub@example.com"}
        with program(*TWO_AT_A_TIME, paper=paper, **variables):
            tasks.send(guard.pk, position.id, urgent=True)
            waiting = Notification.objects.filter(attempts=1, state="waiting", error="")
            wait_until(waiting.exists, within_s=60, what="the mail server is being asked")

            tasks.send(second.pk, position.id, urgent=True)

            wait_until(lambda: len(paper.effects(ADD_MARGIN)) == 2, what="the second guard acted")
            assert not Notification.objects.exclude(state="waiting").exists()
