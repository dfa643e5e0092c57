"""The figures of a run, from both sides' records."""

from typing import Any

import pytest

from hubdefisats.stack import report


def _execution(**changes: Any) -> dict[str, Any]:
    return {
        "id": 1,
        "state": "confirmed",
        "action": "add_margin",
        "position_id": "p",
        "amount": 500,
        "tick_time_ms": 1_000,
        "tick_price": "99000.5",
        "origin": "tick",
    } | changes


def _write(**changes: Any) -> dict[str, Any]:
    return {
        "path": "/v3/futures/isolated/trade/add-margin",
        "params": {"id": "p", "amount": 500},
        "received_at_us": 1_007_250,
        "applied": True,
    } | changes


_CLOSING = {"path": "/v3/futures/isolated/trade/close", "params": {"id": "p"}}
_TICK = {"time": 1_000, "price": 99000.5, "sent_at_us": 1_000_250}


@pytest.mark.parametrize(
    ("executions", "writes", "twice"),
    [
        pytest.param([_execution()], [_write()], 0, id="one for one"),
        pytest.param([_execution()], [_write(), _write()], 1, id="sent twice"),
        pytest.param([_execution()], [_write(), _write(applied=False)], 0, id="refused once"),
        pytest.param([_execution()] * 2, [_write()] * 2, 0, id="two that look alike"),
        pytest.param([], [_write()], 1, id="done without an execution"),
        pytest.param([_execution()], [_write(**_CLOSING)], 1, id="another action"),
        pytest.param(
            [_execution(action="close_position", amount=None)],
            [_write(**_CLOSING)],
            0,
            id="closed once",
        ),
        pytest.param(
            [], [_write(path="/v3/futures/isolated/trade", params={})], 0, id="not a guard's write"
        ),
    ],
)
def test_duplicates_are_effects_beyond_one_for_each_execution(
    executions: list[dict[str, Any]], writes: list[dict[str, Any]], twice: int
) -> None:
    assert report.duplicates(executions, writes) == twice


def test_an_order_is_timed_from_its_tick_to_the_exchange() -> None:
    ledger = {
        "ticks": [_TICK, _TICK | {"price": 98000, "sent_at_us": 1_000_500}],
        "writes": [
            _write(received_at_us=900_000),  # an older one that looks alike
            _write(),
            _write(params={"id": "q", "amount": 1}, received_at_us=1_001_500),
        ],
    }
    executions = [
        _execution(),
        _execution(position_id="q", amount=1, tick_price="98000"),
        _execution(origin="sweep", tick_time_ms=None, tick_price=None),
    ]

    assert report.tick_to_order_ms(executions, ledger) == {"p50": 4.0, "max": 7.0}


def test_what_sends_nothing_has_no_time() -> None:
    executions = [_execution(action="notify", amount=None)]

    assert report.tick_to_order_ms(executions, {"ticks": [_TICK], "writes": []}) is None


def test_without_a_tick_there_is_no_time() -> None:
    executions = [_execution(tick_time_ms=None)]

    assert report.tick_to_order_ms(executions, {"ticks": [], "writes": []}) is None


@pytest.mark.parametrize(
    ("ledger", "missing"),
    [
        pytest.param({"ticks": [], "writes": [_write()]}, "never sent", id="no such tick"),
        pytest.param({"ticks": [_TICK], "writes": []}, "never reached", id="no such order"),
    ],
)
def test_records_that_disagree_are_no_figures(ledger: dict[str, Any], missing: str) -> None:
    with pytest.raises(ValueError, match=missing):
        report.tick_to_order_ms([_execution()], ledger)
