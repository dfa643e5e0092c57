"""Testing a connection: each way it can end, in one sentence, and what it does to the account."""

import logging
import traceback
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import pytest
from django.contrib.auth.models import User
from pytest_django.fixtures import Settings

from accounts import services
from accounts.gateway import client_for
from accounts.models import Account
from exchange.auth import Credentials
from exchange.config import Endpoints, Network
from exchange.errors import KeyRefusedError
from exchange.simulator.running import Simulator
from hubdefisats.embedded import free_port
from hubdefisats.logs import LineFormatter
from tests.accounts.conftest import NOW, saved
from tests.exchange.scripted import Answer, scripted_exchange


@pytest.fixture
def good(paper: Simulator) -> Credentials:
    return paper.accounts[0].credentials


def test_a_good_key_verifies_its_account(owner: User, good: Credentials, paper: Simulator) -> None:
    account = saved(owner, good, fault="an old one")

    verdict = services.verify(account)

    assert verdict == services.Verified(balance=paper.accounts[0].balance)
    account.refresh_from_db()
    assert account.may_act
    assert account.fault == ""


def test_a_test_of_credentials_that_were_replaced_meanwhile_verifies_nothing(
    owner: User, good: Credentials
) -> None:
    tested = saved(owner, good)
    Account.objects.update(credentials_sealed="others by now")

    verdict = services.verify(tested)

    assert isinstance(verdict, services.NotVerified)
    assert "entered meanwhile" in verdict.fault
    assert not Account.objects.get().may_act


def fault_of(account: Account) -> str:
    """Test a connection for the first time; return the one sentence about it, as stored."""
    verdict = services.verify(account)

    assert isinstance(verdict, services.NotVerified)
    account.refresh_from_db()
    assert not account.may_act
    assert account.fault == verdict.fault
    assert account.recheck_at is not None, "it is tested again by itself"
    assert "\n" not in verdict.fault
    return verdict.fault


def fault_of_one_that_acts(account: Account) -> str:
    """The same for an account that acts: whatever was found, it acts on as before."""
    account.mark_verified(NOW)

    verdict = services.verify(account)

    assert isinstance(verdict, services.NotVerified)
    account.refresh_from_db()
    assert (account.verified_at, account.fault) == (NOW, "")
    return verdict.fault


@pytest.mark.parametrize(
    "changes",
    [
        pytest.param({"key": "another"}, id="unknown key"),
        pytest.param({"secret": "wrong"}, id="wrong secret"),
        pytest.param({"passphrase": "wrong"}, id="wrong passphrase"),
    ],
)
def test_a_key_that_is_refused_is_not_verified(
    owner: User, good: Credentials, changes: dict[str, str]
) -> None:
    fault = fault_of(saved(owner, replace(good, **changes)))

    assert fault.startswith("LN Markets refused the key (401")


def test_a_key_that_is_refused_once_is_in_doubt_and_its_account_acts_on(
    owner: User, good: Credentials
) -> None:
    account = saved(owner, replace(good, secret="wrong"))

    assert fault_of_one_that_acts(account).startswith("LN Markets refused the key (401")

    assert account.refusals == 1
    assert account.recheck_at is not None, "it is asked again, and suspended on the third refusal"


def test_a_key_that_may_not_read_positions_is_not_enough(
    owner: User, good: Credentials, paper: Simulator
) -> None:
    paper.fault("status", status=403, path="/v3/futures/isolated/trades/running")

    fault = fault_of(saved(owner, good))

    assert fault.startswith("LN Markets does not allow GET /futures/isolated/trades/running (403")


def test_an_exchange_that_cannot_be_reached_is_named(
    owner: User, good: Credentials, settings: Settings
) -> None:
    address = f"http://127.0.0.1:{free_port()}"
    settings.LN_MARKETS_ENDPOINTS = {Network.PAPER: Endpoints(api_url=address, stream_url="ws://x")}

    assert fault_of(saved(owner, good)) == f"{address} cannot be reached: Connection refused"


@pytest.fixture
def answering(settings: Settings) -> Iterator[Callable[..., None]]:
    """Make the known exchange one that gives this answer to each of a few requests."""
    with scripted_exchange() as script:
        settings.LN_MARKETS_ENDPOINTS = {Network.PAPER: script.endpoints}
        settings.PRIVATE_CALLS_PER_S = settings.PUBLIC_CALLS_PER_S = 10_000
        yield lambda **answer: script.then(*[Answer(**answer)] * 5)


@pytest.mark.parametrize(
    ("answer", "says"),
    [
        pytest.param({"content": "<html>hello"}, "GET /account", id="a page instead of JSON"),
        pytest.param({"content": '{"id": "much"}'}, "(GET /account): field", id="wrong fields"),
        pytest.param({"content": "[]"}, "GET /account", id="a list"),
        pytest.param({"status": 302}, "not at this address", id="a redirect"),
        pytest.param({"status": 403}, "does not allow GET /account (403)", id="a key without scope"),
        pytest.param({"status": 500}, "broke down at GET /account (500)", id="a breakdown"),
        pytest.param({"cut": True}, "gave no answer to GET /account", id="a cut connection"),
    ],
)
def test_an_exchange_that_answers_rubbish_gets_one_sentence(
    owner: User, good: Credentials, answering: Callable[..., None], answer: dict[str, Any], says: str
) -> None:
    answering(**answer)

    assert says in fault_of(saved(owner, good))


@pytest.mark.parametrize(
    "answer",
    [
        pytest.param({"status": 503, "content": '{"code": "SERVICE_UNAVAILABLE"}'}, id="it is away"),
        pytest.param({"status": 503, "content": "<html>"}, id="a gateway is"),
        pytest.param({"status": 401, "content": "<html>denied"}, id="a page with 401"),
        pytest.param({"status": 403, "content": "<html>denied"}, id="a page with 403"),
        pytest.param({"status": 403, "content": '{"message": "Forbidden"}'}, id="not its own JSON"),
        pytest.param({"status": 400, "content": '{"code": "BAD_REQUEST"}'}, id="400"),
        pytest.param({"status": 404, "content": "<html>"}, id="404"),
        pytest.param({"status": 302}, id="a redirect"),
        pytest.param({"content": "<html>hello"}, id="a page with 200"),
        pytest.param({"content": "[]"}, id="not what was asked for"),
        pytest.param({"cut": True}, id="no answer"),
    ],
)
def test_a_failed_test_takes_nothing_from_an_account_that_acts(
    owner: User, good: Credentials, answering: Callable[..., None], answer: dict[str, Any]
) -> None:
    answering(**answer)
    account = saved(owner, good)

    fault_of_one_that_acts(account)

    assert (account.refusals, account.recheck_at) == (0, None), "and no key is in doubt"


def test_a_seal_that_cannot_be_opened_now_unverifies_nothing(owner: User, good: Credentials) -> None:
    account = saved(owner, good)
    account.credentials_sealed = "broken"
    account.save()

    assert fault_of_one_that_acts(account).startswith("The stored key cannot be opened")


def test_a_network_that_is_not_known_says_what_to_set(owner: User, good: Credentials) -> None:
    fault = fault_of(saved(owner, good, network="mainnet"))

    assert fault.startswith("This installation knows no mainnet exchange: set LN_MARKETS_NETWORK")


def test_a_broken_seal_asks_for_the_credentials_again(owner: User, good: Credentials) -> None:
    account = saved(owner, good)
    account.credentials_sealed = "broken"
    account.save()

    assert fault_of(account) == (
        "The stored key cannot be opened: enter key, secret and passphrase again."
    )


def test_neither_logs_nor_tracebacks_show_a_secret(
    owner: User, paper: Simulator, caplog: pytest.LogCaptureFixture
) -> None:
    hidden = Credentials(key="k-hidden-9876", secret="s-hidden-9876", passphrase="p-hidden-9876")
    account = saved(owner, hidden)

    with caplog.at_level(logging.DEBUG):
        services.verify(account)
        with pytest.raises(KeyRefusedError) as refused:
            client_for(account).account()
        paper.fault("status", status=500, next=9)
        services.verify(account)

    lines = [LineFormatter().format(record) for record in caplog.records]
    told = "\n".join([*lines, *traceback.format_exception(refused.value)])
    assert lines
    assert "hidden-9876" not in told
