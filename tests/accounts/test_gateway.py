"""The one door to an authenticated client."""

import pytest
from django.contrib.auth.models import User

from accounts.gateway import client_for, endpoints_of, rest_client
from exchange.config import Network
from exchange.errors import OperatorNeededError
from exchange.simulator.running import Simulator
from tests.accounts.conftest import other_key, saved


def test_a_client_lives_as_long_as_its_credentials(owner: User, paper: Simulator) -> None:
    account = saved(owner, paper.accounts[0].credentials)
    first = client_for(account)

    assert client_for(account) is first
    assert first.account().balance == paper.accounts[0].balance

    account.set_credentials(other_key())
    assert client_for(account) is not first


@pytest.mark.usefixtures("paper")
def test_a_network_that_is_not_known_is_named_with_what_to_do() -> None:
    with pytest.raises(OperatorNeededError, match="knows no signet exchange: set LN_MARKETS_NETWORK"):
        endpoints_of(Network.SIGNET)


def test_public_endpoints_need_no_key_and_private_ones_do(paper: Simulator) -> None:
    client = rest_client(Network.PAPER)

    assert client.quote().price == paper.price()
    with pytest.raises(OperatorNeededError, match="needs an API key"):
        client.account()
