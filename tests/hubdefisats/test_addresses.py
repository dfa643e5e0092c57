"""What the URLs of the environment mean."""

import pytest
from django.core.exceptions import ImproperlyConfigured

from exchange.config import PUBLIC_ENDPOINTS, Network
from hubdefisats.addresses import database, endpoints
from hubdefisats.env import Environment


def test_a_database_behind_a_host_is_read() -> None:
    found = database(Environment({"DATABASE_URL": "postgresql://ann:p%40ss@db.example:5433/hub"}))

    assert (found["USER"], found["PASSWORD"]) == ("ann", "p@ss")
    assert (found["HOST"], found["PORT"], found["NAME"]) == ("db.example", 5433, "hub")
    assert (found["CONN_MAX_AGE"], found["CONN_HEALTH_CHECKS"]) == (0, True)


def test_a_database_behind_a_socket_is_read() -> None:
    url = "postgresql://postgres@/hub?host=%2FTmp%2FA"

    found = database(Environment({"DATABASE_URL": url, "DATABASE_MAX_AGE_S": "600"}))

    assert (found["HOST"], found["NAME"], found["CONN_MAX_AGE"]) == ("/Tmp/A", "hub", 600)


@pytest.mark.parametrize(
    "url",
    [
        pytest.param("hunter2", id="no URL"),
        pytest.param("sqlite:///hunter2", id="no row locks there"),
        pytest.param("mysql://a:hunter2@host/db", id="another database"),
        pytest.param("postgresql://a:hunter2@host", id="no name"),
        pytest.param("postgresql://a@host:hunter2/name", id="port is no number"),
        pytest.param("hunter2://a@host/name", id="unknown scheme"),
    ],
)
def test_a_database_that_is_none_is_refused_without_being_shown(url: str) -> None:
    with pytest.raises(ImproperlyConfigured, match="DATABASE_URL must be a URL like") as refused:
        database(Environment({"DATABASE_URL": url}))

    assert "hunter2" not in str(refused.value)


def test_the_real_networks_are_known_and_paper_is_not() -> None:
    assert endpoints(Environment({}), Network.MAINNET) == PUBLIC_ENDPOINTS


def test_the_variables_move_their_network_alone() -> None:
    env = Environment({"LN_MARKETS_API_URL": "http://127.0.0.1:1"})

    found = endpoints(env, Network.SIGNET)

    assert found[Network.SIGNET].api_url == "http://127.0.0.1:1"
    assert found[Network.SIGNET].stream_url == PUBLIC_ENDPOINTS[Network.SIGNET].stream_url
    assert found[Network.MAINNET] == PUBLIC_ENDPOINTS[Network.MAINNET]


def test_paper_has_no_address_until_one_is_given() -> None:
    with pytest.raises(ImproperlyConfigured, match="LN_MARKETS_API_URL is not set"):
        endpoints(Environment({}), Network.PAPER)

    env = Environment({"LN_MARKETS_API_URL": "http://[::1]:1", "LN_MARKETS_STREAM_URL": "ws://[::1]:2"})

    assert endpoints(env, Network.PAPER)[Network.PAPER].stream_url == "ws://[::1]:2"
