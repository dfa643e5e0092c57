"""What a key may do is on a list, checked when it is tested and looked at every day."""

from collections.abc import Iterator
from datetime import timedelta

import pytest
from django.utils import timezone
from pytest_django.fixtures import Settings

from accounts import services
from accounts.models import Account
from automations import suspending
from automations.models import Notification
from exchange.config import Endpoints, Network
from exchange.simulator.running import Simulator
from exchange.verify import ALLOWED, NEEDED
from tests.automations.acting import events
from tests.automations.conftest import new_account
from tests.automations.test_suspending import Clock, stored
from tests.exchange.places import endpoints_of
from tests.exchange.stream_script import StreamScript, scripted_stream

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("chain")]
DAY_S = 24 * 3600


@pytest.fixture
def stream(paper: Simulator, settings: Settings) -> Iterator[StreamScript]:
    """The stream that tells what a key may do: all that is allowed, until a test says otherwise."""
    with scripted_stream() as script:
        places = Endpoints(api_url=endpoints_of(paper).api_url, stream_url=script.url)
        settings.LN_MARKETS_ENDPOINTS = {Network.PAPER: places}
        script.permissions = sorted(ALLOWED)
        yield script


def test_a_key_with_all_that_is_allowed_is_taken_and_asked_again_after_a_day(
    stream: StreamScript, account: Account
) -> None:
    clock, asked = Clock(), len(stream.permissions)
    assert isinstance(services.verify(account), services.Verified)
    assert clock.ask_after(DAY_S - 60) == 0

    assert clock.ask_after(120) == 1

    assert stored(account).verified_at == clock.moment
    assert clock.ask_after(60) == 0
    assert asked == len(ALLOWED)
    assert events() == []


@pytest.mark.parametrize(
    "more",
    [
        "account:deposits:read",
        "account:deposits:write",
        "account:withdrawals:read",
        "account:notifications:write",
        "synthetic-usd:write",
        "a scope that nobody has heard of",
        "*",
    ],
)
def test_a_key_that_may_do_more_is_not_taken(stream: StreamScript, account: Account, more: str) -> None:
    Account.objects.update(verified_at=None)
    stream.permissions = [*ALLOWED, more]

    verdict = services.verify(stored(account))

    assert isinstance(verdict, services.NotVerified)
    assert f"may do more than automations need ({more})" in verdict.fault
    assert not stored(account).may_act
    assert stored(account).fault == verdict.fault


def test_a_key_in_use_that_may_do_more_goes_on_protecting_and_its_owner_is_told_each_day(
    stream: StreamScript, account: Account
) -> None:
    clock, stream.permissions = Clock(), [*ALLOWED, "account:deposits:write"]

    assert clock.ask_after(DAY_S + 1) == 1
    assert clock.ask_after(60) == 0
    assert clock.ask_after(DAY_S) == 1

    assert stored(account).may_act
    assert events() == ["key_too_wide", "key_too_wide"]
    told = Notification.objects.first()
    assert told is not None
    assert "account:deposits:write" in told.text
    assert not Notification.objects.filter(ends=True).exists()


@pytest.mark.parametrize(
    ("permissions", "why"),
    [
        pytest.param(
            [*ALLOWED, "account:withdrawals:write"], "may move bitcoin out", id="it may withdraw"
        ),
        pytest.param(sorted(NEEDED)[:2], "lacks", id="it may not trade any more"),
    ],
)
def test_a_key_that_cannot_be_entrusted_any_more_is_found_within_a_day_and_told(
    stream: StreamScript, account: Account, permissions: list[str], why: str
) -> None:
    clock, stream.permissions = Clock(), permissions

    clock.ask_after(DAY_S + 1)

    assert not stored(account).may_act
    assert events() == ["key_refused"]
    assert why in Notification.objects.get().text


def test_a_daily_look_that_finds_nothing_out_takes_nothing(
    stream: StreamScript, account: Account
) -> None:
    clock, stream.silent = Clock(), True
    stream.permissions = []
    verdict = services.NotVerified(fault="the stream did not answer")
    Account.objects.update(recheck_at=clock.moment)

    suspending._judge(stored(account), verdict, clock.moment)  # noqa: SLF001 - waits 10 s else

    assert stored(account).may_act
    assert clock.wait_s(account) == Account.VERIFIED_AGAIN.total_seconds()


def test_a_key_that_is_refused_at_its_daily_look_is_asked_again_before_it_is_believed(
    stream: StreamScript, account: Account, venue: Simulator
) -> None:
    clock = Clock()
    venue.fault("status", status=401, account=venue.accounts[0].credentials.key, next=1)

    assert clock.ask_after(DAY_S + 1) == 1

    assert stored(account).refusals == 1
    assert stored(account).may_act
    clock.ask_after(2)
    assert stored(account).refusals == 0
    assert stored(account).verified_at == clock.moment, "and looked at, once it is in no doubt"
    assert stream.permissions


@pytest.mark.usefixtures("stream")
def test_looks_at_many_accounts_leave_the_stream_its_authentications(
    account: Account, venue: Simulator
) -> None:
    other = new_account(venue, 1)
    clock = Clock()

    clock.ask_after(DAY_S + 1)

    looked_at = Account.objects.filter(verified_at__gt=timezone.now() + timedelta(seconds=DAY_S / 2))
    assert looked_at.count() == 1
    clock.ask_after(10)
    assert looked_at.count() == 1
    clock.ask_after(5.1)
    assert {each.pk for each in looked_at} == {account.pk, other.pk}
