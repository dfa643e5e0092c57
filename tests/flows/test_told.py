"""Being told: a guard fires and a mail arrives; a task that kills its worker is stopped, and told."""

from collections.abc import Iterator
from decimal import Decimal

import pytest
from django.contrib.auth.models import User
from pytest_django.fixtures import Settings

from accounts import services
from accounts.gateway import client_for, redis_client
from accounts.models import Account
from automations import quarantine, tasks
from automations.models import GuardStep, JournalEntry, MarginGuard, Notification, Quarantine
from exchange.config import Endpoints, Network
from exchange.formulas import Side
from exchange.money import Usd
from exchange.position import Position
from exchange.trade import NewTrade
from tests.flows.processes import CELERY, Paper, paper_exchange, program
from tests.mail import mail_server, silent_server
from tests.waiting import wait_until

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.timeout(120)]
ONE_AT_A_TIME = (*CELERY, "worker", "--concurrency", "1")
TWO_AT_A_TIME = (*CELERY, "worker", "--concurrency", "2")
ADD_MARGIN = "/v3/futures/isolated/trade/add-margin"
RUNNING = "/v3/futures/isolated/trades/running"


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
    made = MarginGuard.objects.create(enabled=True, account=Account.objects.get(), name="guard")
    made.steps.create(threshold_percent=50, does=GuardStep.Does.ADD_FIXED, amount_sats=20_000)
    return made


def test_the_guard_fires_and_a_mail_arrives(
    paper: Paper, position: Position, guard: MarginGuard
) -> None:
    paper.set_price(95_000)
    with (
        mail_server() as inbox,
        program(*TWO_AT_A_TIME, paper=paper, EMAIL_URL=inbox.url, EMAIL_FROM="hub@example.com"),
    ):
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
    second = MarginGuard.objects.create(enabled=True, account=guard.account, name="second")
    second.steps.create(threshold_percent=40, does=GuardStep.Does.ADD_FIXED, amount_sats=10_000)
    with (
        silent_server() as url,
        program(*TWO_AT_A_TIME, paper=paper, EMAIL_URL=url, EMAIL_FROM="hub@example.com"),
    ):
        tasks.send(guard.pk, position.id, urgent=True)
        waiting = Notification.objects.filter(attempts=1, state="waiting", error="")
        wait_until(waiting.exists, within_s=60, what="the mail server is being asked")

        tasks.send(second.pk, position.id, urgent=True)

        wait_until(lambda: len(paper.effects(ADD_MARGIN)) == 2, what="the second guard acted")
        assert not Notification.objects.exclude(state="waiting").exists()


def looks(guard: MarginGuard, position: Position) -> int:
    return int(redis_client().get(quarantine.key(guard.pk, position.id)) or 0)


def test_a_task_that_kills_its_worker_three_times_is_not_carried_out_again(
    paper: Paper, position: Position, guard: MarginGuard, capfd: pytest.CaptureFixture[str]
) -> None:
    paper.set_price(95_000)
    paper.fault(kind="delay", path=RUNNING, ms=60_000, next=100)
    for number in (1, 2, 3):
        with program(*ONE_AT_A_TIME, paper=paper) as worker:
            tasks.send(guard.pk, position.id, urgent=True)
            wait_until(
                lambda count=number: looks(guard, position) == count,  # type: ignore[misc]
                within_s=60,
                what=f"look {number} began",
            )
            worker.kill()
            worker.wait(10)
    with program(*ONE_AT_A_TIME, paper=paper):
        tasks.send(guard.pk, position.id, urgent=True)
        wait_until(Quarantine.objects.exists, within_s=60, what="the pair is quarantined")
        wait_until(
            lambda: Notification.objects.filter(state="logged").exists(), what="the owner was told"
        )

    assert Quarantine.objects.get().deliveries == 3
    assert "nobody is mailed" in capfd.readouterr().err, "the worker said so as it started"
    assert paper.effects(ADD_MARGIN) == []
    assert [entry.event for entry in JournalEntry.objects.all()] == ["margin_guard_quarantined"]
