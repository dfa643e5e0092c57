"""What the URLs of the environment mean."""

from contextlib import closing
from pathlib import Path
from urllib.parse import quote

import pytest
from django.core.exceptions import ImproperlyConfigured
from django.db import connection
from django.db.backends.postgresql.base import DatabaseWrapper

from exchange.config import PUBLIC_ENDPOINTS, Network
from exchange.simulator.certificate import Certificate
from hubdefisats.addresses import Mail, database, endpoints, mail, trust
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


def test_a_statement_can_be_given_a_time_limit() -> None:
    url = "postgresql://postgres@/hub?host=%2FTmp%2FA"
    found = database(Environment({"DATABASE_URL": url, "DATABASE_STATEMENT_S": "20"}))

    planned = "-c plan_cache_mode=force_generic_plan"
    assert found["OPTIONS"]["options"] == f"{planned} -c statement_timeout=20s"
    assert database(Environment({"DATABASE_URL": url}))["OPTIONS"]["options"] == planned


def test_the_options_of_the_url_are_kept() -> None:
    url = "postgresql://postgres@db/hub?options=-c%20search_path%3Dother"

    found = database(Environment({"DATABASE_URL": url, "DATABASE_STATEMENT_S": "20"}))

    assert found["OPTIONS"]["options"] == (
        "-c search_path=other -c plan_cache_mode=force_generic_plan -c statement_timeout=20s"
    )


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


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        pytest.param(
            "smtp+tls://ann%40x.example:p%2Fw@mail.example",
            Mail(
                host="mail.example",
                port=587,
                user="ann@x.example",
                password="p/w",
                starts_tls=True,
                sender="hub@x.example",
            ),
            id="TLS after the greeting",
        ),
        pytest.param(
            "smtps://ann:pw@mail.example",
            Mail(
                host="mail.example",
                port=465,
                user="ann",
                password="pw",
                is_tls=True,
                sender="hub@x.example",
            ),
            id="TLS from the first byte",
        ),
        pytest.param(
            "smtp://[::1]:1025", Mail(host="::1", port=1025, sender="hub@x.example"), id="in the clear"
        ),
    ],
)
def test_a_mail_server_is_read(url: str, expected: Mail) -> None:
    assert mail(Environment({"EMAIL_URL": url, "EMAIL_FROM": "hub@x.example"})) == expected


@pytest.mark.parametrize("values", [{}, {"EMAIL_URL": ""}, {"EMAIL_FROM": "hub@x.example"}])
def test_without_a_mail_server_there_is_none(values: dict[str, str]) -> None:
    assert mail(Environment(values)).host == ""


@pytest.mark.parametrize(
    ("sender", "values"),
    [
        pytest.param("hub <hub@x.example>", {"EMAIL_FROM": "hub <hub@x.example>"}, id="with a name"),
        pytest.param("ann@x.example", {}, id="whoever signs in, where it is an address"),
    ],
)
def test_mails_come_from_an_address(sender: str, values: dict[str, str]) -> None:
    env = Environment({"EMAIL_URL": "smtps://ann%40x.example:pw@mail.example"} | values)

    assert mail(env).sender == sender


@pytest.mark.parametrize(
    "url",
    [
        pytest.param("mail.example", id="no scheme"),
        pytest.param("http://ann:hunter2@mail.example", id="no mail server"),
        pytest.param("smtps://ann:hunter2@mail.example:port", id="port is no number"),
        pytest.param("smtps://ann:hunter2@", id="no host"),
        pytest.param("smtp://ann:hunter2@mail.example", id="a password in the clear"),
    ],
)
def test_a_mail_server_that_is_none_is_refused_without_being_shown(url: str) -> None:
    with pytest.raises(ImproperlyConfigured, match="EMAIL_URL must ") as refused:
        mail(Environment({"EMAIL_URL": url, "EMAIL_FROM": "hub@x.example"}))

    assert "hunter2" not in str(refused.value)


@pytest.mark.parametrize("sender", ["", "hub", "hub@x.example\nBcc: b@x.example"])
def test_a_sender_that_is_no_address_is_refused(sender: str) -> None:
    with pytest.raises(ImproperlyConfigured, match="EMAIL_FROM must be an address"):
        mail(Environment({"EMAIL_URL": "smtp://mail.example", "EMAIL_FROM": sender}))


@pytest.mark.parametrize(
    ("hosts", "host", "port"),
    [
        pytest.param("one:5433,two:5434", "one,two", "5433,5434", id="each with its port"),
        pytest.param("one,two:5434,three", "one,two,three", "5432,5434,5432", id="some with none"),
        pytest.param("[::1]:5433,[::2]", "::1,::2", "5433,5432", id="by number"),
    ],
)
def test_of_several_hosts_the_one_that_takes_writes_is_used(hosts: str, host: str, port: str) -> None:
    found = database(
        Environment({"DATABASE_URL": f"postgresql://ann:p%40ss@{hosts}/hub?sslmode=prefer"})
    )

    assert (found["USER"], found["PASSWORD"], found["NAME"]) == ("ann", "p@ss", "hub")
    assert (found["HOST"], found["PORT"]) == (host, port)
    assert found["OPTIONS"]["target_session_attrs"] == "read-write"
    assert found["OPTIONS"]["sslmode"] == "prefer"


@pytest.mark.django_db(transaction=True)
def test_of_several_hosts_another_answers_where_the_first_is_away() -> None:
    here = connection.get_connection_params()
    second = f"{quote(here['host'], safe='')}:{here.get('port', 5432)}"
    url = f"postgresql://{here['user']}@127.0.0.1:1,{second}/postgres"
    found = database(Environment({"DATABASE_URL": url}))

    another = DatabaseWrapper({**connection.settings_dict, **found})
    with closing(another), another.cursor() as cursor:
        cursor.execute("SELECT 1")


def test_who_is_trusted_is_named_once_for_every_exchange(tmp_path: Path) -> None:
    mine = Certificate("exchange.example")
    for name in ("SSL_CERT_FILE", "REQUESTS_CA_BUNDLE"):
        env = Environment({name: str(mine.path)})

        found = endpoints(env, Network.MAINNET)

        assert {each.ca_file for each in found.values()} == {str(mine.path)}
    mine.remove()
    (tmp_path / "none.pem").write_text("hunter2")
    with pytest.raises(ImproperlyConfigured, match=r"REQUESTS_CA_BUNDLE cannot be used: .*none.pem"):
        trust(Environment({"REQUESTS_CA_BUNDLE": str(tmp_path / "none.pem")}))


def test_one_proxy_is_for_every_network_and_both_doors() -> None:
    env = Environment({"LN_MARKETS_PROXY": "http://us:hunter2@proxy.example:3128"})
    found = endpoints(env, Network.MAINNET)
    assert {each.proxy for each in found.values()} == {"http://us:hunter2@proxy.example:3128"}
    assert "hunter2" not in repr(found)


@pytest.mark.parametrize("url", ["https://proxy.example:1", "proxy.example:3128", "socks5://p:1"])
def test_a_proxy_of_another_kind_is_refused_with_what_it_may_be(url: str) -> None:
    with pytest.raises(ImproperlyConfigured, match="LN_MARKETS_PROXY must be a URL like http://"):
        endpoints(Environment({"LN_MARKETS_PROXY": url}), Network.MAINNET)
