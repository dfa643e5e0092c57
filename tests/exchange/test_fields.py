from decimal import Decimal

import pytest

from exchange.errors import OperatorNeededError
from exchange.fields import Fields, json_text, number_text, parse


@pytest.mark.parametrize(
    "text",
    [
        pytest.param("", id="nothing"),
        pytest.param("<html>502</html>", id="a gateway's page"),
        pytest.param('{"a":', id="cut off"),
        pytest.param('{"a":NaN}', id="NaN is no number"),
        pytest.param('{"a":-Infinity}', id="nor is infinity"),
        pytest.param("[" * 100_000, id="nested beyond sense"),
        pytest.param("1" * 5000, id="a number beyond sense"),
        pytest.param('{"a":1e99999999999999999999}', id="an exponent beyond sense"),
    ],
)
def test_what_is_not_json_is_a_fault_that_says_where(text: str) -> None:
    with pytest.raises(OperatorNeededError, match="GET /x"):
        Fields.of(parse(text, "GET /x"), "GET /x").number("a", least=0, most=1)


def test_fractions_are_exact() -> None:
    assert parse("0.1", "here") == Decimal("0.1")


def test_a_fraction_too_fine_to_compute_with_is_a_fault() -> None:
    fields = Fields.of(parse('{"a":1e-999999}', "here"), "here")
    with pytest.raises(OperatorNeededError, match="field a is out of range"):
        fields.number("a", least=0, most=1)


def test_a_whole_number_may_come_with_a_point() -> None:
    assert Fields.of(parse('{"a":5.0}', "here"), "here").integer("a", least=0, most=9) == 5


@pytest.mark.parametrize(
    ("number", "text"),
    [
        pytest.param(100000, "100000", id="integer"),
        pytest.param(Decimal("100000.0"), "100000", id="no trailing .0"),
        pytest.param(Decimal("1E+5"), "100000", id="no exponent above"),
        pytest.param(Decimal("1E-7"), "0.0000001", id="no exponent below"),
        pytest.param(Decimal("0.50"), "0.5", id="no trailing zero"),
        pytest.param(Decimal(0), "0", id="zero"),
    ],
)
def test_numbers_are_written_plainly(number: int | Decimal, text: str) -> None:
    assert number_text(number) == text


def test_bodies_are_compact_and_ascii() -> None:
    body = json_text({"id": 'ä"', "n": 1, "v": Decimal("0.10"), "b": True, "x": None})
    assert body == '{"id":"\\u00e4\\"","n":1,"v":0.1,"b":true,"x":null}'
