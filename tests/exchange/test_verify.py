from collections.abc import Iterator

import pytest

from exchange.auth import Credentials
from exchange.config import Endpoints, Timeouts
from exchange.errors import KeyRefusedError, TransientError
from exchange.rest import RestClient
from exchange.serverclock import ServerClock
from exchange.simulator.running import Simulator
from exchange.verify import Verified, permissions_of, verify
from tests.exchange.places import endpoints_of
from tests.exchange.stream_script import StreamScript, scripted_stream

TRADING = ["account:read", "futures:isolated:read", "futures:isolated:write"]


@pytest.fixture
def stream() -> Iterator[StreamScript]:
    with scripted_stream() as stream:
        yield stream


def verified(venue: Simulator, stream: StreamScript) -> Verified:
    """Verify a key that works at the venue and may do what the script says."""
    credentials = venue.accounts[0].credentials
    endpoints = Endpoints(api_url=endpoints_of(venue).api_url, stream_url=stream.url)
    rest = RestClient(endpoints, credentials)
    return verify(rest, endpoints, credentials, server_clock=ServerClock())


def test_a_key_that_may_trade_and_no_more_is_accepted(venue: Simulator, stream: StreamScript) -> None:
    stream.permissions = TRADING
    assert verified(venue, stream).account.balance == venue.balance()


@pytest.mark.parametrize(
    ("permissions", "why"),
    [
        pytest.param(
            [*TRADING, "account:withdrawals:write"],
            "may move bitcoin out of the account",
            id="it could empty the account",
        ),
        pytest.param(TRADING[:2], "lacks futures:isolated:write", id="it may only look"),
    ],
)
def test_a_key_with_the_wrong_permissions_is_refused_in_one_sentence(
    venue: Simulator, stream: StreamScript, permissions: list[str], why: str
) -> None:
    stream.permissions = permissions
    with pytest.raises(KeyRefusedError, match=why):
        verified(venue, stream)


def test_a_wrong_key_is_refused(venue: Simulator) -> None:
    right = venue.accounts[0].credentials
    wrong = Credentials(key=right.key, secret="wrong", passphrase=right.passphrase)
    with pytest.raises(KeyRefusedError, match="refused the key on the stream"):
        permissions_of(endpoints_of(venue), wrong, server_clock=ServerClock())


def test_permissions_come_from_the_exchange(venue: Simulator) -> None:
    credentials = venue.accounts[0].credentials
    found = permissions_of(endpoints_of(venue), credentials, server_clock=ServerClock())
    assert found >= set(TRADING)


def test_a_stream_that_cannot_be_reached_says_so() -> None:
    nowhere = Endpoints(api_url="", stream_url="ws://127.0.0.1:1")
    with pytest.raises(TransientError, match="cannot be reached"):
        permissions_of(
            nowhere, Credentials(key="k", secret="s", passphrase="p"), server_clock=ServerClock()
        )


def test_a_stream_that_does_not_answer_says_so(stream: StreamScript) -> None:
    stream.silent = True
    endpoints = Endpoints(api_url="", stream_url=stream.url)
    credentials = Credentials(key="k", secret="s", passphrase="p")
    with pytest.raises(TransientError, match=r"gave no answer within 0\.2 s"):
        permissions_of(
            endpoints, credentials, server_clock=ServerClock(), timeouts=Timeouts(read_s=0.2)
        )
