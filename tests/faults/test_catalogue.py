"""What the catalogue of faults names is there."""

import ast

import pytest

from tests.faults.catalogue import FAULTS
from tests.flows.processes import ROOT


@pytest.mark.parametrize("fault", FAULTS)
def test_a_fault_has_tests_that_inject_it(fault: str) -> None:
    for test in FAULTS[fault]:
        file, name = test.split("::")
        tree = ast.parse((ROOT / file).read_text())
        found = {each.name for each in ast.walk(tree) if isinstance(each, ast.FunctionDef)}
        assert name in found, f"{file} has no {name}"
    assert FAULTS[fault]
