"""Margin Guard's whole story: every process real, effects counted at the exchange."""

import json
import signal
from collections.abc import Iterator
from decimal import Decimal
from typing import Any

import pytest
from django.contrib.auth.models import User
from django_celery_beat.models import IntervalSchedule, PeriodicTask
from pytest_django.fixtures import Settings

from accounts import services
from accounts.gateway import client_for, redis_client
from accounts.models import Account
from automations.models import Execution, GuardStep, JournalEntry, MarginGuard
from automations.streaming import HEARTBEAT_KEY
from exchange.config import Endpoints, Network
from exchange.formulas import Side
from exchange.money import Usd
from exchange.position import Position
from exchange.trade import NewTrade
from tests.flows.processes import BEAT, STREAM, WORKER, Paper, paper_exchange, program
from tests.waiting import wait_until

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.timeout(120)]
ADD_MARGIN = "/v3/futures/isolated/trade/add-margin"


@pytest.fixture
def paper() -> Iterator[Paper]:
    with paper_exchange() as running:
        yield running


@pytest.fixture
def guarded(paper: Paper, settings: Settings, redis_url: str) -> Position:  # noqa: ARG001
    """A long of 1,000 USD at 10x from 100,000, guarded from half its margin lost: 95,238."""
    settings.LN_MARKETS_ENDPOINTS = {
        Network.PAPER: Endpoints(api_url=paper.api_url, stream_url=paper.stream_url)
    }
    account = Account(owner=User.objects.create_user("owner"), name="first", network="paper")
    account.set_credentials(paper.credentials(0))
    account.save()
    assert isinstance(services.verify(account), services.Verified)
    opened = client_for(account).open_trade(
        NewTrade(side=Side.BUY, leverage=Decimal(10), quantity=Usd(1000))
    )
    MarginGuard.objects.create(enabled=True, account=account, name="guard").steps.create(
        threshold_percent=50, does=GuardStep.Does.ADD_TO_REACH, target_percent=30
    )
    assert isinstance(opened, Position)
    return opened


def armed() -> int:
    """Return how many triggers the stream process has armed."""
    heartbeat = redis_client().get(HEARTBEAT_KEY)
    if heartbeat is None:
        return 0
    seen: dict[str, Any] = json.loads(heartbeat)
    return sum(market["armed"] for market in seen["markets"].values() if market["state"] == "live")


def test_a_tick_saves_the_position(paper: Paper, guarded: Position) -> None:
    with program(*WORKER, paper=paper), program(*STREAM, paper=paper):
        wait_until(lambda: armed() == 1, within_s=30, what="the stream armed the trigger")

        paper.set_price(95_000)

        wait_until(
            lambda: Execution.objects.filter(state="confirmed").exists(),
            within_s=30,
            what="a worker confirmed the top-up",
        )
        # The stream arms the position anew from what the worker did: far from this price.
        wait_until(lambda: armed() == 1, what="the stream armed the trigger again")

    (effect,) = paper.effects(ADD_MARGIN)
    execution = Execution.objects.get()
    assert effect["params"] == {"id": guarded.id, "amount": execution.amount_sats}
    assert (execution.origin, execution.tick_price) == ("tick", Decimal(95_000))
    assert execution.after["margin"] == guarded.margin + (execution.amount_sats or 0)
    events = JournalEntry.objects.order_by("id").values_list("event", flat=True)
    assert list(events) == [
        "margin_guard_intended", "margin_guard_executed", "margin_guard_read_back",
    ]  # fmt: skip


def test_the_sweep_saves_the_position_when_the_stream_is_dead(paper: Paper, guarded: Position) -> None:
    every, _ = IntervalSchedule.objects.get_or_create(every=1, period=IntervalSchedule.SECONDS)
    PeriodicTask.objects.update_or_create(
        name="Sweep the margin guards",
        defaults={"task": "automations.tasks.sweep_margin_guards", "interval": every},
    )
    with program(*WORKER, paper=paper), program(*STREAM, paper=paper) as stream:
        wait_until(lambda: armed() == 1, within_s=30, what="the stream armed the trigger")
        stream.send_signal(signal.SIGKILL)
        stream.wait(5)

        paper.set_price(95_000)
        with program(*BEAT, paper=paper):
            wait_until(
                lambda: Execution.objects.filter(state="confirmed").exists(),
                within_s=30,
                what="the sweep saved the position",
            )

    assert len(paper.effects(ADD_MARGIN)) == 1
    execution = Execution.objects.get()
    assert execution.origin == "sweep"
    assert execution.position_id == guarded.id
