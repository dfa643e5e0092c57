"""Every log line that gives an account's id gives its name: people know no numbers."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
SOURCES = [
    path
    for package in ("accounts", "automations", "exchange", "hubdefisats")
    for path in sorted((ROOT / package).rglob("*.py"))
]
LEVELS = {"debug", "info", "warning", "error", "critical", "exception", "log"}


def nameless(source: str) -> list[int]:
    """Return the lines of log calls whose fields have `account` without `account_name`."""
    module = ast.parse(source)
    functions = {each.name: each for each in ast.walk(module) if isinstance(each, ast.FunctionDef)}
    found = set()
    for function in functions.values():
        for call in (each for each in ast.walk(function) if isinstance(each, ast.Call)):
            fields = {name for extra in extras(call) for name in keys(extra, function, functions)}
            if "account" in fields and "account_name" not in fields:
                found.add(call.lineno)
    return sorted(found)


def extras(call: ast.Call) -> Iterator[ast.expr]:
    if isinstance(call.func, ast.Attribute) and call.func.attr in LEVELS:
        yield from (each.value for each in call.keywords if each.arg == "extra")


def keys(
    fields: ast.AST, within: ast.FunctionDef | None, functions: dict[str, ast.FunctionDef]
) -> Iterator[str]:
    """Yield the keys of a dictionary, also of one that a variable or a function of the module has."""
    for node in ast.walk(fields):
        if isinstance(node, ast.Dict):
            yield from (str(key.value) for key in node.keys if isinstance(key, ast.Constant))
        elif (
            isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in functions
        ):
            yield from keys(functions[node.func.id], None, {})
        elif isinstance(node, ast.Name) and within is not None:
            for value in assigned(node.id, within):
                yield from keys(value, None, functions)


def assigned(name: str, within: ast.FunctionDef) -> Iterator[ast.expr]:
    for step in (each for each in ast.walk(within) if isinstance(each, ast.Assign)):
        if any(isinstance(target, ast.Name) and target.id == name for target in step.targets):
            yield step.value


def test_16_every_log_line_that_names_an_account_id_names_the_account() -> None:
    found = {str(path.relative_to(ROOT)): nameless(path.read_text()) for path in SOURCES}

    assert {path: lines for path, lines in found.items() if lines} == {}


@pytest.mark.parametrize(
    "extra",
    [
        pytest.param('logger.error("x", extra={"account": 1})', id="at once"),
        pytest.param('extra = {"account": 1}; logger.info("x", extra=extra)', id="a variable"),
        pytest.param('logger.info("x", extra=_fields() | {"why": ""})', id="a function"),
    ],
)
def test_a_line_without_the_name_is_found(extra: str) -> None:
    source = f'def _fields():\n    return {{"account": 1}}\n\ndef say():\n    {extra}\n'

    assert nameless(source) == [5]
    assert nameless(source.replace('"account": 1', '"account": 1, "account_name": ""')) == []
