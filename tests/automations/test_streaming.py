"""The stream process in a thread: whom it watches, what it arms, and what it survives."""

import logging
from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta
from decimal import Decimal
from typing import Any

import pytest
from django.utils import timezone
from pytest_django.fixtures import Settings

from accounts.gateway import live_view, redis_client
from accounts.models import Account
from automations import changes, counting
from automations.models import GuardStep, JournalEntry, MarginGuard, StreamProcess
from automations.streaming import HEARTBEAT_KEY, HEARTBEAT_TTL_S
from exchange.client import Client
from exchange.config import Endpoints, Network
from exchange.market import Source
from exchange.position import Position, PositionId
from exchange.simulator.running import Simulator
from hubdefisats.embedded import free_port
from tests.accounts.conftest import CREDENTIALS
from tests.automations.acting import ask_keys_again
from tests.automations.conftest import new_account, open_long
from tests.automations.queues import waiting
from tests.automations.streams import (
    armed,
    closed_database,
    guarded,
    heartbeat,
    streaming,
    wait_for,
)
from tests.exchange.places import endpoints_of
from tests.waiting import wait_until

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def stream(account: Account) -> Iterator[None]:  # noqa: ARG001 - the exchange must be known before
    with streaming():
        yield


@pytest.mark.usefixtures("stream", "long", "guard")
def test_a_guard_is_watched_while_it_is_enabled() -> None:
    wait_for(accounts=1, triggers=1)
    (process,) = StreamProcess.objects.all()
    assert heartbeat() == {
        "process": process.pk,
        "accounts": 1,
        "markets": {
            "paper": {
                "state": "live",
                "silent": False,
                "prices": "live",
                "armed": 1,
                "pool": {"members": 1, "sockets": 1, "live": 1, "fallback": 0, "refused": 0},
                "sight": {"live": 1, "polled": 0, "dark": []},
            }
        },
    }
    assert 0 < redis_client().ttl(HEARTBEAT_KEY) <= HEARTBEAT_TTL_S

    MarginGuard.objects.update(enabled=False)
    wait_for(accounts=0, triggers=0)
    MarginGuard.objects.update(enabled=True)
    wait_for(accounts=1, triggers=1)


@pytest.mark.usefixtures("stream", "long", "guard")
def test_the_balance_of_who_is_watched_is_known_beforehand(venue: Simulator, account: Account) -> None:
    known: Any = wait_until(lambda: live_view().read(None, account.pk).balance, what="a balance")
    assert known.free == venue.balance()


@pytest.mark.usefixtures("stream")
def test_a_changed_threshold_is_taken_over_and_crossing_it_sends_a_message_without_secrets(
    venue: Simulator, guard: MarginGuard, long: Position, account: Account
) -> None:
    wait_for(accounts=1, triggers=1)
    for price in (98_500, 97_000):
        venue.set_price(price)
    assert waiting("urgent") == [], "only from 95,238 on"

    GuardStep.objects.update(threshold_percent=Decimal(25))

    wait_until(lambda: waiting("urgent"), what="97,000 is beyond the new threshold")
    message = waiting("urgent")[0]
    assert message.task == "automations.tasks.act"
    guard_id, position_id, tick = message.arguments
    assert (guard_id, position_id) == (guard.pk, long.id)
    assert (tick["price"], tick["source"]) == ("97000", "stream")
    assert tick["time_ms"] >= venue.ticks()[-1].time
    credentials = account.credentials()
    for secret in (credentials.key, credentials.secret, credentials.passphrase):
        assert secret not in message.raw


def account_is(state: str, caplog: pytest.LogCaptureFixture) -> bool:
    """Whether an account's session ever reached that state."""
    moves = [each for each in caplog.records if each.getMessage() == "account session moved"]
    return any(
        (vars(move)["state"], vars(move)["account_name"]) == (state, "account 0") for move in moves
    )


@pytest.mark.usefixtures("guard")
def test_what_happens_by_hand_is_heard_from_the_exchange(
    client: Client, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.INFO), streaming():
        wait_until(lambda: account_is("live", caplog), what="its session is live")

        opened = open_long(client)
        wait_for(accounts=1, triggers=1)
        client.close(opened.id)
        wait_for(accounts=1, triggers=0)


@pytest.mark.usefixtures("guard")
def test_without_a_session_of_its_own_an_account_is_read_when_a_worker_says_so(
    client: Client, settings: Settings, account: Account
) -> None:
    settings.STREAM_SOCKETS = 1
    with streaming():
        wait_for(accounts=1, triggers=0)
        open_long(client)

        def announced() -> bool:
            changes.announce(redis_client(), Account(pk=10**9))  # an account that nobody watches
            changes.announce(redis_client(), account)
            return armed() == 1

        wait_until(announced, what="the new position is armed")


@pytest.mark.usefixtures("guard")
def test_a_position_that_a_worker_announces_is_armed_before_it_can_be_read(
    venue: Simulator, long: Position, account: Account
) -> None:
    with streaming():
        wait_for(accounts=1, triggers=1)
        venue.fault("status", status=503, path="/v3/futures/isolated/trades/running", next=10_000)

        opened = replace(long, id=PositionId("opened just now"))
        changes.announce(redis_client(), account, position=opened)
        wait_for(accounts=1, triggers=2)

        venue.clear_faults()
        wait_for(accounts=1, triggers=1)


@pytest.mark.usefixtures("long")
def test_when_a_cooldown_ends_somebody_looks_at_once_and_not_before(
    venue: Simulator, guard: MarginGuard, long: Position, account: Account
) -> None:
    with streaming():
        wait_for(accounts=1, triggers=1)
        venue.set_price(95_000)
        wait_until(lambda: waiting("urgent"), what="the first look is asked for")

        until = timezone.now() + timedelta(seconds=3)
        changes.announce_cooldown(redis_client(), account, guard.pk, long.id, until)
        before = len(waiting("urgent"))
        wait_until(lambda: len(waiting("urgent")) > before, what="a look after the cooldown")

    assert timezone.now() >= until
    assert len(waiting("urgent")) == before + 1


@pytest.mark.usefixtures("guard")
@pytest.mark.timeout(120)
def test_without_any_word_an_account_is_read_again_after_a_while(
    client: Client, settings: Settings
) -> None:
    settings.STREAM_SOCKETS = 1
    with streaming():
        wait_for(accounts=1, triggers=0)

        open_long(client)
        wait_for(accounts=1, triggers=1, within_s=80)

        MarginGuard.objects.update(enabled=False)
        wait_for(accounts=0, triggers=0)


@pytest.mark.usefixtures("guard", "long")
@pytest.mark.timeout(90)
def test_a_stream_that_falls_silent_gives_way_to_rest_and_takes_back(
    venue: Simulator, account: Account, caplog: pytest.LogCaptureFixture
) -> None:
    with streaming():
        wait_for(accounts=1, triggers=1)

        venue.fault("half_open", account=venue.accounts[0].credentials.key)

        wait_until(lambda: events(account) == ["fallback_activated"], what="a fallback")
        wait_until(
            lambda: events(account) == ["fallback_activated", "stream_recovered"],
            within_s=15,
            what="the stream took back",
        )
        assert armed() == 1, "the positions stayed guarded"
    counted = counting.counts(redis_client())
    assert counted == {("fallback_activated", account.pk): 1, ("stream_recovered", account.pk): 1}
    assert "fallback_activated" in caplog.text


def events(account: Account) -> list[str]:
    entries = JournalEntry.objects.filter(account=account).order_by("id")
    return list(entries.values_list("event", flat=True))


@pytest.mark.usefixtures("guard", "long")
def test_accounts_that_cannot_be_watched_disturb_no_other(
    venue: Simulator, caplog: pytest.LogCaptureFixture
) -> None:
    wrong = new_account(venue, 1)
    wrong.set_credentials(replace(venue.accounts[1].credentials, passphrase="wrong"))
    wrong.verified_at = wrong.created_at
    wrong.save()
    broken, unknown, contradictory = (another(wrong, name) for name in ("broken", "unknown", "twisted"))
    Account.objects.filter(pk=broken.pk).update(credentials_sealed="broken")
    Account.objects.filter(pk=unknown.pk).update(network=Network.SIGNET)
    for account in (wrong, broken, unknown, contradictory):
        guarded(account)
    # No form lets this pass, but a script may write it.
    MarginGuard.objects.filter(account=contradictory).update(metric="liquidation_distance")
    GuardStep.objects.filter(guard__account=contradictory).update(threshold_percent=100)

    with streaming():
        wait_until(lambda: Account.objects.filter(refusals=1), what="the wrong key is in doubt")
        ask_keys_again()
        wait_for(accounts=1, triggers=1)

    wrong.refresh_from_db()
    assert not wrong.may_act
    assert "passphrase is not valid" in wrong.fault
    left_out = {
        vars(record)["account_name"]: vars(record)["error"]
        for record in caplog.records
        if record.getMessage() in {"account cannot be watched", "automation cannot be used"}
    }
    assert set(left_out) == {"broken", "unknown", "twisted"}
    assert left_out["broken"] == "no credential key opens these credentials"
    assert "knows no signet exchange" in left_out["unknown"]
    assert events(broken) == ["key_unopened"]
    assert "the threshold must be" in left_out["twisted"]


def another(like: Account, name: str) -> Account:
    account = Account(owner=like.owner, name=name, network=like.network)
    account.set_credentials(replace(like.credentials(), key=f"key of {name}"))
    account.verified_at = like.verified_at
    account.save()
    return account


@pytest.mark.usefixtures("guard", "long", "stream")
def test_a_key_that_is_refused_once_while_watched_ends_nothing(
    venue: Simulator, account: Account
) -> None:
    wait_for(accounts=1, triggers=1)

    venue.fault("status", status=401, account=venue.accounts[0].credentials.key)
    changes.announce(redis_client(), account)  # or the next reading would notice, 15 s later

    wait_until(lambda: Account.objects.get().refusals == 1, what="the key is in doubt")
    wait_for(accounts=1, triggers=1)
    ask_keys_again()
    wait_for(accounts=1, triggers=1)
    assert (Account.objects.get().may_act, Account.objects.get().refusals) == (True, 0)
    assert events(account) == []


@pytest.mark.usefixtures("guard", "long", "stream")
def test_a_key_that_is_revoked_while_watched_suspends_its_account_until_it_is_accepted_again(
    venue: Simulator, account: Account
) -> None:
    wait_for(accounts=1, triggers=1)

    venue.fault("status", status=401, account=venue.accounts[0].credentials.key, next=100)
    changes.announce(redis_client(), account)

    wait_until(lambda: Account.objects.get().refusals == 1, what="the key is in doubt")
    wait_for(accounts=1, triggers=1)
    ask_keys_again()
    wait_for(accounts=0, triggers=0)
    account.refresh_from_db()
    assert "refused the key (401" in account.fault

    venue.clear_faults()
    ask_keys_again(400)
    wait_for(accounts=1, triggers=1)
    assert events(account) == ["key_refused", "key_accepted"]
    assert ("key_refused", account.pk) in counting.counts(redis_client())


@pytest.mark.usefixtures("guard", "long")
def test_word_of_an_account_that_was_deleted_since_ends_nothing() -> None:
    with streaming() as process:
        process.serving.refused(10**9, CREDENTIALS, "nobody's key")

        wait_for(accounts=1, triggers=1)


@pytest.mark.usefixtures("guard", "long")
def test_late_word_of_credentials_that_were_replaced_since_suspends_nobody(account: Account) -> None:
    with streaming() as process:
        wait_for(accounts=1, triggers=1)
        serving, old = process.serving, replace(account.credentials(), secret="the old one")
        serving.refused(account.pk, old, "too late")
        serving.fallback_activated(account.pk, "what is written down after it")
        fallen = JournalEntry.objects.filter(event="fallback_activated")
        wait_until(fallen.exists, what="the word after the late one")

    assert Account.objects.get().may_act
    assert not JournalEntry.objects.filter(event="key_refused").exists()


@pytest.mark.usefixtures("guard", "long", "stream")
def test_new_credentials_are_watched_in_place_of_the_old(venue: Simulator, account: Account) -> None:
    wait_for(accounts=1, triggers=1)

    account.set_credentials(venue.accounts[1].credentials)
    account.verified_at = account.created_at
    account.save()

    wait_for(accounts=1, triggers=0)
    assert live_view().read(None, account.pk).positions is not None


@pytest.mark.usefixtures("guard", "long", "stream")
def test_an_account_that_moves_to_another_network_is_followed_there(
    account: Account, settings: Settings
) -> None:
    wait_for(accounts=1, triggers=1)
    with Simulator(seed=2) as other:
        settings.LN_MARKETS_ENDPOINTS |= {Network.SIGNET: endpoints_of(other)}
        account.network = Network.SIGNET
        account.set_credentials(other.accounts[0].credentials)
        account.verified_at = account.created_at
        account.save()

        wait_until(lambda: "signet" in heartbeat()["markets"], what="signet is followed")
        wait_for(accounts=1, triggers=0)


@pytest.mark.usefixtures("guard", "long")
def test_without_the_database_what_is_leased_stays_watched(
    venue: Simulator, settings: Settings, caplog: pytest.LogCaptureFixture
) -> None:
    settings.STREAM_LEASE_S = 100
    with streaming():
        wait_for(accounts=1, triggers=1)

        with closed_database():
            wait_until(lambda: "database out of reach" in caplog.text, what="the outage is noticed")
            venue.set_price(95_000)
            wait_until(lambda: waiting("urgent"), what="the trigger is on its way")

        MarginGuard.objects.update(enabled=False)
        wait_for(accounts=0, triggers=0)


@pytest.mark.usefixtures("guard", "long")
def test_without_the_stream_prices_and_positions_come_by_rest(
    venue: Simulator, settings: Settings, caplog: pytest.LogCaptureFixture
) -> None:
    settings.LN_MARKETS_ENDPOINTS = {
        Network.PAPER: Endpoints(
            api_url=endpoints_of(venue).api_url, stream_url=f"ws://127.0.0.1:{free_port()}"
        )
    }
    settings.DATA_MAX_AGE_S = 1
    with streaming():
        wait_until(lambda: "fallback_activated" in caplog.text, what="it falls back to REST")
        venue.set_price(95_000)
        wait_until(lambda: waiting("urgent"), what="REST's price crossed the trigger")
        wait_until(
            lambda: heartbeat()["markets"]["paper"]["prices"] == "polled", what="it says that it polls"
        )
        assert heartbeat()["markets"]["paper"]["sight"] == {"live": 0, "polled": 1, "dark": []}

    assert waiting("urgent")[0].arguments[2]["source"] == Source.REST
    assert heartbeat()["markets"]["paper"]["silent"]
