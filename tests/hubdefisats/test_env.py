"""Reading variables: what counts, and what is said where one cannot be read."""

from decimal import Decimal

import pytest
from django.core.exceptions import ImproperlyConfigured

from hubdefisats.env import Environment


def test_each_type_is_read() -> None:
    env = Environment(
        {"A": "text", "B": "True", "C": "17", "D": " one, two,,", "E": "wss://host:1/", "F": "blue"}
    )

    assert env.text("A") == "text"
    assert env.flag("B", default=False)
    assert env.integer("C", default=0) == 17
    assert env.words("D") == ["one", "two"]
    assert env.url("E", ("ws", "wss")) == "wss://host:1"
    assert env.choice("F", ("red", "blue"), default="red") == "blue"
    assert Environment({"A": "2.5"}).percent("A", default="1") == Decimal("2.5")


@pytest.mark.parametrize(
    "values", [pytest.param({}, id="unset"), pytest.param({"A": ""}, id="empty counts as unset")]
)
def test_a_default_stands_in_for_what_is_not_set(values: dict[str, str]) -> None:
    env = Environment(values)

    assert env.text("A", default="text") == "text"
    assert not env.flag("A", default=False)
    assert env.integer("A", default=3) == 3
    assert env.words("A", default="one,two") == ["one", "two"]
    assert env.url("A", ["http"], default="http://host") == "http://host"
    assert env.choice("A", ["red"], default="red") == "red"
    assert env.percent("A", default="2") == 2


def test_what_is_needed_and_missing_is_named() -> None:
    with pytest.raises(ImproperlyConfigured, match="SECRET_KEY is not set"):
        Environment({}).text("SECRET_KEY")


@pytest.mark.parametrize("raw", ["true", "1", "yes", "False "])
def test_a_flag_has_two_spellings(raw: str) -> None:
    with pytest.raises(ImproperlyConfigured, match="A must be True or False"):
        Environment({"A": raw}).flag("A", default=False)


@pytest.mark.parametrize(
    "raw",
    [
        pytest.param("-1", id="below the least"),
        pytest.param("1.5", id="not whole"),
        pytest.param("²", id="a digit that int() refuses"),
        pytest.param("ten", id="a word"),
    ],
)
def test_an_integer_that_is_none_is_refused(raw: str) -> None:
    with pytest.raises(ImproperlyConfigured, match="A must be a whole number from 0 on"):
        Environment({"A": raw}).integer("A", default=1)


@pytest.mark.parametrize("raw", ["0", "0.0", "100", "-1", "2 %", "1e1", "nan", "٣"])
def test_a_percentage_that_is_none_is_refused(raw: str) -> None:
    with pytest.raises(ImproperlyConfigured, match="A must be a percentage above 0 and below 100"):
        Environment({"A": raw}).percent("A", default="2")


def test_a_choice_outside_the_offer_is_refused() -> None:
    with pytest.raises(ImproperlyConfigured, match="A must be one of red, blue, was 'green'"):
        Environment({"A": "green"}).choice("A", ("red", "blue"), default="red")


@pytest.mark.parametrize(
    "raw",
    [
        pytest.param("host:80", id="no scheme"),
        pytest.param("ftp://hunter2@host", id="another scheme"),
        pytest.param("http://", id="no host"),
        pytest.param("http://host:hunter2", id="port is no number"),
        pytest.param("http://host:0", id="no such port"),
        pytest.param("http://[hunter2", id="broken brackets"),
    ],
)
def test_a_url_is_refused_without_being_shown(raw: str) -> None:
    with pytest.raises(ImproperlyConfigured, match="A must be a URL like http://…") as refused:
        Environment({"A": raw}).url("A", ["http"])

    assert "hunter2" not in str(refused.value)


def test_an_environment_hides_its_values() -> None:
    assert "hunter2" not in repr(Environment({"SECRET_KEY": "hunter2"}))
