"""The market identity: one file knows how the exchange spells it."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

import automations
import exchange
from exchange import instrument

OWN = Path(instrument.__file__)
SPELLINGS = ("inverse/", "btc_usd", "/futures", '"pair"', "inverse_perp")


def modules() -> Iterator[Path]:
    for package in (exchange, automations):
        (folder,) = package.__path__
        for module in sorted(Path(folder).rglob("*.py")):
            if "simulator" not in module.parts and module != OWN:
                yield module


def written_in(module: Path) -> Iterator[str]:
    """Yield the texts in the code of a module, its docstrings left out."""
    tree = ast.parse(module.read_text(encoding="utf-8"))
    said = {
        id(node.value)
        for node in ast.walk(tree)
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)
    }
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in said:
            yield f'"{node.value}"'


def test_a_second_spelling_of_topics_and_paths_costs_one_file() -> None:
    found = [
        (module.name, text)
        for module in modules()
        for text in written_in(module)
        for spelling in SPELLINGS
        if spelling in text
    ]
    assert found == []
    assert any(spelling in text for spelling in SPELLINGS for text in written_in(OWN)), "it is searched"


@pytest.mark.parametrize(
    ("said", "spelled"),
    [
        pytest.param(instrument.topic("lastPrice"), "futures/inverse/btc_usd/lastPrice", id="topic"),
        pytest.param(instrument.path("ticker"), "/futures/ticker", id="path"),
    ],
)
def test_topics_and_paths_are_spelled_as_the_exchange_does(said: str, spelled: str) -> None:
    assert said == spelled
