"""What the catalogue of faults names is there."""

import ast
from collections.abc import Iterable
from functools import cache

import pytest

from tests.faults.catalogue import FAULTS, documented
from tests.flows.processes import ROOT


@pytest.mark.parametrize("fault", FAULTS)
def test_a_fault_has_tests_that_inject_it(fault: str) -> None:
    assert FAULTS[fault]
    assert not missing(FAULTS[fault])


def test_so_has_each_fault_of_the_documentation() -> None:
    assert documented()
    assert not missing(documented())


def missing(tests: Iterable[str]) -> list[str]:
    """Return those that are not there."""
    return [test for test in tests if test.split("::")[1] not in functions(test.split("::")[0])]


@cache
def functions(file: str) -> frozenset[str]:
    tree = ast.parse((ROOT / file).read_text())
    return frozenset(each.name for each in ast.walk(tree) if isinstance(each, ast.FunctionDef))
