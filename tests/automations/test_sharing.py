"""Several stream processes: each account with one of them, and nothing served past its lease."""

import threading
from collections import Counter
from collections.abc import Iterator
from decimal import Decimal

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext
from pytest_django.fixtures import Settings

from accounts.gateway import live_view
from accounts.models import Account
from automations import planning
from automations.models import AutoEntry, Lease, MarginGuard, StreamProcess, TakeProfitStopLoss
from automations.streaming import Streaming
from exchange.config import Network
from exchange.simulator.running import Simulator
from tests.automations.conftest import new_account
from tests.automations.queues import waiting
from tests.automations.streams import closed_database, guarded, heartbeat, streaming, wait_for
from tests.waiting import wait_until

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def venue() -> Iterator[Simulator]:
    with Simulator(accounts=5) as simulator:
        yield simulator


@pytest.mark.usefixtures("guard", "long")
def test_who_cannot_renew_its_leases_stops_before_another_may_begin(
    venue: Simulator, settings: Settings
) -> None:
    settings.STREAM_LEASE_S, settings.STREAM_HEARTBEAT_S = 3, 1
    with streaming() as process:
        wait_for(accounts=1, triggers=1)

        with closed_database():
            wait_until(lambda: not process.serving.accounts, what="nothing is watched any more")
            assert not process.leases.fence.stands
            venue.set_price(95_000)
            wait_until(lambda: shown_price() == 95_000, what="prices go on")
            wait_until(lambda: not venue.streams(), what="its session is closed")
            assert waiting("urgent") == [], "and nothing is fired"

        wait_until(lambda: waiting("urgent"), what="with the database back it is watched again")


def shown_price() -> Decimal | None:
    quote = live_view().read(Network.PAPER, None).quote
    return quote.price if quote else None


def held() -> dict[int | None, int]:
    """Return how many accounts each process holds; under None those that nobody does."""
    return dict(Counter(Lease.objects.values_list("holder", flat=True)))


@pytest.mark.usefixtures("redis_url")
def test_two_share_the_accounts_and_one_that_ends_gives_its_part_back(paper: Simulator) -> None:
    for number in range(4):
        guarded(new_account(paper, number))
    with streaming() as first:
        wait_until(lambda: len(first.serving.accounts) == 4, what="the first has all")
        with streaming() as second:
            wait_until(
                lambda: len(first.serving.accounts) == len(second.serving.accounts) == 2,
                what="each has its part",
            )
            assert not first.serving.accounts & second.serving.accounts
            assert held() == {first.leases.process_id: 2, second.leases.process_id: 2}

        assert held() == {first.leases.process_id: 2, None: 2} or len(first.leases.held) > 2
        wait_until(lambda: len(first.serving.accounts) == 4, what="the first has all again")
    assert held() == {None: 4}
    assert not StreamProcess.objects.exists()


@pytest.mark.usefixtures("guard", "long")
def test_one_that_was_given_up_for_dead_begins_anew() -> None:
    with streaming() as process:
        wait_for(accounts=1, triggers=1)
        before = process.leases.process_id

        Lease.objects.update(holder=None)
        StreamProcess.objects.all().delete()

        wait_until(lambda: process.leases.process_id not in {before, None}, what="it joins again")
        wait_for(accounts=1, triggers=1)


@pytest.mark.usefixtures("long")
def test_what_is_created_or_changed_many_times_while_it_runs_is_taken_over(account: Account) -> None:
    with streaming():
        wait_until(lambda: heartbeat()["accounts"] == 0, what="there is nothing to watch")
        guarded(account)
        wait_for(accounts=1, triggers=1)
        second = MarginGuard.objects.create(enabled=True, account=account, name="second")
        second.steps.create(threshold_percent=60, does="close_position")
        wait_for(accounts=1, triggers=2)
        AutoEntry.objects.create(
            enabled=True, account=account, name="entry", side="buy", quantity=1, trigger_price=50_000
        )
        wait_for(accounts=1, triggers=3)

        second.delete()
        wait_for(accounts=1, triggers=2)


def test_a_thousand_accounts_are_planned_in_as_many_queries_as_one(paper: Simulator) -> None:
    made = [new_account(paper, number).pk for number in range(5)]
    for account in Account.objects.all():
        guarded(account)
        TakeProfitStopLoss.objects.create(
            enabled=True, account=account, name="exit", does="close_tp", trigger_pnl_percentage=10
        )
        AutoEntry.objects.create(enabled=True, account=account, name="entry", side="buy", quantity=1)

    def queries(accounts: list[int]) -> int:
        with CaptureQueriesContext(connection) as captured:
            plans = planning.plans_of_all(list(planning.acting(accounts).values()))
        assert [len(each) for each in plans] == [3] * len(accounts)
        return len(captured)

    assert queries(made[:1]) == queries(made)


def test_a_quiet_round_asks_the_database_once(paper: Simulator) -> None:
    guarded(new_account(paper, 0))
    process = Streaming(threading.Event())
    rounds = []
    try:
        for _ in range(6):
            with CaptureQueriesContext(connection) as captured:
                process._round()  # noqa: SLF001 - one after the other, to count
            rounds.append(len(captured))
    finally:
        process.serving.stop()
        process.leases.leave()
    assert rounds[-1] in {1, 4}, "what changed; with each heartbeat three more: renew, bury, share"
