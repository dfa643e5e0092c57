"""What our processes see of a person's environment."""

import pytest

from hubdefisats import surroundings


@pytest.mark.parametrize(
    "name",
    [
        pytest.param("PGSERVICE", id="of libpq, which names another database"),
        pytest.param("PGOPTIONS", id="of libpq, which changes the session"),
        pytest.param("CELERY_BROKER_URL", id="of another Celery project"),
        pytest.param("BROKER_URL", id="of another Celery, without its name"),
        pytest.param("FLOWER_URL_PREFIX", id="of another Flower"),
        pytest.param("UVICORN_WORKERS", id="of another uvicorn"),
        pytest.param("WEB_CONCURRENCY", id="of a platform that starts uvicorn"),
        pytest.param("DJANGO_SETTINGS_MODULE", id="of another Django project"),
    ],
)
def test_what_was_meant_for_other_programs_is_gone(name: str) -> None:
    variables = {name: "anything", "HOME": "/home/ann"}

    surroundings.tidy(variables)

    assert name not in variables
    assert variables["HOME"] == "/home/ann"


def test_a_named_database_keeps_what_may_be_needed_to_reach_it() -> None:
    variables = {"DATABASE_URL": "postgresql://…", "PGSSLROOTCERT": "/ca.pem"}

    surroundings.tidy(variables)

    assert variables["PGSSLROOTCERT"] == "/ca.pem"


def test_our_own_settings_stay() -> None:
    variables = {"DJANGO_SETTINGS_MODULE": "tests.offline_settings"}

    surroundings.tidy(variables)

    assert variables["DJANGO_SETTINGS_MODULE"] == "tests.offline_settings"


@pytest.mark.parametrize(
    ("before", "after"),
    [
        pytest.param("", "localhost,127.0.0.1,::1", id="nothing was said"),
        pytest.param("a.example, ::1", "a.example,::1,localhost,127.0.0.1", id="some hosts were"),
        pytest.param("*", "*", id="no proxy at all"),
    ],
)
def test_no_proxy_stands_before_this_machine(before: str, after: str) -> None:
    variables = {"no_proxy": before, "NO_PROXY": before, "HTTP_PROXY": "http://proxy.example:3128"}

    surroundings.tidy(variables)

    assert variables["no_proxy"] == variables["NO_PROXY"] == after
    assert variables["HTTP_PROXY"] == "http://proxy.example:3128", "the exchange may be beyond it"
