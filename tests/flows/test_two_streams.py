"""Two stream processes share the accounts; one is killed, and the other guards everything."""

import signal
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from django.contrib.auth.models import User
from pytest_django.fixtures import Settings

from accounts.gateway import client_for
from accounts.models import Account
from automations.models import Lease, MarginGuard, StreamProcess
from exchange.config import Network
from exchange.simulator.running import Simulator
from tests.automations.conftest import new_account, open_long
from tests.automations.queues import waiting
from tests.automations.streams import guarded
from tests.exchange.places import endpoints_of
from tests.flows.processes import STREAM, Paper, program
from tests.waiting import wait_until

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.timeout(180)]
ACCOUNTS = 6


@pytest.fixture
def venue(settings: Settings, redis_url: str) -> Iterator[Simulator]:  # noqa: ARG001
    with Simulator(accounts=ACCOUNTS) as simulator:
        settings.LN_MARKETS_ENDPOINTS = {Network.PAPER: endpoints_of(simulator)}
        yield simulator


@pytest.fixture
def paper(venue: Simulator) -> Paper:
    """Return what a program must know of the exchange."""
    return Paper({"rest": venue.rest, "stream": venue.stream, "control": None, "accounts": []})


@pytest.fixture
def positions(venue: Simulator) -> list[str]:
    """One long on each account, half lost at 95,238, and a guard for each."""
    User.objects.create_user("owner")
    accounts = [new_account(venue, number) for number in range(ACCOUNTS)]
    for account in accounts:
        guarded(account)
    return [open_long(client_for(account)).id for account in accounts]


@contextmanager
def never_two_sessions(venue: Simulator) -> Iterator[None]:
    """Look all the time whether any key has two sessions at the exchange."""
    seen: list[dict[str, int]] = []
    over = threading.Event()

    def look() -> None:
        while not over.wait(0.02):
            twice = {key: count for key, count in venue.streams().items() if count > 1}
            seen.extend([twice] if twice else [])

    looking = threading.Thread(target=look, daemon=True)
    looking.start()
    yield
    over.set()
    looking.join(5)
    assert seen == []


def held_by(process: subprocess.Popen[str]) -> int:
    """Return how many accounts the leases give to a program."""
    return Lease.objects.filter(holder__name__endswith=f":{process.pid}").count()


def live(venue: Simulator) -> int:
    return len(venue.streams())


def test_a_killed_stream_process_is_replaced_by_the_other(
    venue: Simulator, paper: Paper, positions: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    with never_two_sessions(venue), program(*STREAM, paper=paper) as first:
        wait_until(lambda: held_by(first) == ACCOUNTS, within_s=40, what="the first has all")
        wait_until(lambda: live(venue) == ACCOUNTS, within_s=40, what="all have sessions")
        with program(*STREAM, paper=paper) as second:
            wait_until(lambda: held_by(second) == ACCOUNTS / 2, within_s=40, what="each has its part")
            wait_until(lambda: live(venue) == ACCOUNTS, within_s=40, what="all have sessions again")
            assert held_by(first) == ACCOUNTS / 2

            killed_s = time.monotonic()
            second.send_signal(signal.SIGKILL)
            second.wait(10)
        wait_until(lambda: held_by(first) == ACCOUNTS, within_s=60, what="the first took over")
        wait_until(lambda: live(venue) == ACCOUNTS, within_s=60, what="and has their sessions")
        taken_s = time.monotonic() - killed_s

        venue.set_price(95_000)
        wait_until(
            lambda: {each.arguments[1] for each in waiting("urgent")} == set(positions),
            what="every guard is called, through the one that lives",
        )
    with capsys.disabled():
        print(f"\nserved again {taken_s:.1f} s after the kill")  # noqa: T201 - the figure
    assert not StreamProcess.objects.exists(), "one that is told to stop leaves at once"
    assert Lease.objects.filter(holder=None).count() == ACCOUNTS
    assert Account.objects.acting().count() == MarginGuard.objects.count() == ACCOUNTS
