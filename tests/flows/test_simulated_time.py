"""That the survival benchmark's simulated time tells what the whole stack does."""

import random
from collections.abc import Iterator
from decimal import Decimal

import pytest
from django.contrib.auth.models import User
from pytest_django.fixtures import Settings

from accounts import services
from accounts.gateway import client_for, live_view
from accounts.models import Account
from automations.deciding import table
from automations.models import Execution
from automations.rules.presets import PresetName, preset
from benchmarks.survival.cases import Case
from benchmarks.survival.paths import START, PricePath
from benchmarks.survival.playing import simulated
from benchmarks.survival.slow_exchange import QUANTITY
from exchange.config import Endpoints, Network
from exchange.formulas import Side
from exchange.money import UsdPerBtc
from exchange.position import Position, Regime
from exchange.trade import NewTrade
from tests.flows.processes import STREAM, WORKER, Paper, paper_exchange, program
from tests.waiting import wait_until

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.timeout(180)]
LEVERAGE = 25
TICKS = 40

Did = tuple[str, int, Decimal]
"""What was done, with how many sats, on which price."""


@pytest.fixture
def paper(settings: Settings, redis_url: str) -> Iterator[Paper]:  # noqa: ARG001
    with paper_exchange() as running:
        settings.LN_MARKETS_ENDPOINTS = {
            Network.PAPER: Endpoints(api_url=running.api_url, stream_url=running.stream_url)
        }
        yield running


def falling(seed: int) -> PricePath:
    """Return prices that fall by fits and starts; what one brings is over before the next."""
    rng = random.Random(seed)  # noqa: S311 - a market, not a secret
    prices = [START, START - 1_500, START - 2_900]
    while len(prices) < TICKS:
        prices.append(prices[-1] - rng.randrange(-80, 180))
    return PricePath([number * 10_000 for number in range(TICKS)], [price * 2 for price in prices])


def by_simulation(path: PricePath) -> list[list[Did]]:
    """Return what simulated time does, for each tick of the path."""
    case = Case(
        name="one",
        kind="steady",
        preset=PresetName.BALANCED,
        side=Side.BUY,
        regime=Regime.ISOLATED,
        leverages=(LEVERAGE,),
        answer_ms=100,
        money=None,
        path=lambda: path,
    )
    _, _, workers = simulated(case, path)
    assert {entry.state for entry in workers.entries} == {Execution.State.CONFIRMED}
    return [
        [(it.does, it.amount, it.price) for it in workers.entries if it.decided_ms // 10_000 == tick]
        for tick in range(TICKS)
    ]


def guarded(paper: Paper) -> Position:
    account = Account(owner=User.objects.create_user("owner"), name="first", network="paper")
    account.set_credentials(paper.credentials(0))
    account.save()
    assert isinstance(services.verify(account), services.Verified)
    opened = client_for(account).open_trade(
        NewTrade(side=Side.BUY, leverage=Decimal(LEVERAGE), quantity=QUANTITY)
    )
    assert isinstance(opened, Position)
    guard = table(preset(PresetName.BALANCED, [opened]), Regime.ISOLATED, account)
    guard.enabled = True
    guard.save()
    for step in guard.ladder:
        step.save()
    return opened


def done() -> list[Did]:
    """Return all that was tried; simulated time knows of no failure."""
    return [(it.does, it.amount_sats or 0, it.price) for it in Execution.objects.order_by("id")]


def confirmed() -> int:
    return Execution.objects.filter(state=Execution.State.CONFIRMED).count()


def test_the_same_case_does_the_same_at_the_same_prices(paper: Paper) -> None:
    path = falling(seed=8)
    expected = by_simulation(path)
    kinds = [does for tick in expected for does, _, _ in tick]
    assert kinds.count("add_margin") >= 3
    assert kinds.count("set_stoploss") >= 3

    guarded(paper)
    so_far: list[Did] = []
    with program(*WORKER, paper=paper), program(*STREAM, paper=paper):
        for tick, should in enumerate(expected):
            so_far += should
            go_to(path.price(tick), paper, actions=len(so_far))

    assert done() == so_far


def go_to(price: UsdPerBtc, paper: Paper, *, actions: int) -> None:
    """Move the price; return when the stack has seen it and has done so many things altogether."""
    paper.set_price(int(price))
    wait_until(lambda: _seen() == price, within_s=40, what=f"{price} is in the live view")
    wait_until(lambda: confirmed() >= actions, within_s=40, what=f"{actions} actions at {price}")


def _seen() -> Decimal | None:
    quote = live_view().read("paper", None).quote
    return None if quote is None else quote.price
