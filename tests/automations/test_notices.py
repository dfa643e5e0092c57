"""The table of what owners are told: complete, and the same in the code and in the documents."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from automations import journal
from automations.models import Execution
from automations.notices import NOTICES, Notice, notice_of

DOCUMENT = Path(__file__).parents[2] / "docs" / "notifications.md"
BEGIN, END = "<!-- the table begins -->", "<!-- the table ends -->"
_OF = {
    "all": "all",
    "margin_guard": "margin guards",
    "tp_sl": "take profit, stop loss",
    "auto_entry": "entries",
}


def table() -> Iterator[str]:
    yield "| What | Of | Subject | Protection | Again within an hour | Waits |"
    yield "|---|---|---|---|---|---|"
    for each in NOTICES:
        yield f"| {' | '.join(cells(each))} |"


def cells(notice: Notice) -> Iterator[str]:
    yield f"`{notice.what}`"
    yield _OF[notice.of]
    if not notice.told:
        yield f"not told: {notice.lead}"
        yield from ("", "", "")
        return
    yield notice.subject
    yield notice.effect.value
    yield f"joined, {notice.joined.total_seconds() / 60:g} min" if notice.joined else "each"
    yield f"{notice.waits.total_seconds():g} s" if notice.waits else ""


def test_13_the_table_in_the_documents_is_that_of_the_code() -> None:
    """`WRITE_DOCS=1` writes it."""
    before, _, rest = DOCUMENT.read_text().partition(BEGIN)
    _, _, after = rest.partition(END)
    wanted = "\n".join([f"{before}{BEGIN}", "", *table(), "", f"{END}{after}"])
    if os.environ.get("WRITE_DOCS"):
        DOCUMENT.write_text(wanted)

    assert DOCUMENT.read_text() == wanted


def test_13_the_table_has_a_row_for_every_event_of_the_journal() -> None:
    named = {
        value
        for name, value in vars(journal).items()
        if name.isupper() and not name.startswith("_") and isinstance(value, str)
    }
    of_executions = {state.value for state in Execution.State} - {"intended", "sent", "confirmed"}
    several = {journal.EXECUTED, journal.HELD, journal.RECONCILED}
    known = {each.what for each in NOTICES}

    assert (named | of_executions) - several - {"quarantined", "not_applied"} - known == set()
    assert {f"executed {does.value}" for does in Execution.Does} <= known
    assert {f"reconciled {each}" for each in ("confirmed", "not_applied", "quarantined")} <= known


def test_no_row_stands_twice() -> None:
    keys = [(each.of, each.what) for each in NOTICES]

    assert len(set(keys)) == len(keys)


@pytest.mark.parametrize(
    ("kind", "reason", "told"),
    [
        pytest.param("margin_guard", "budget_used_up", True, id="a guard's refusal ends protection"),
        pytest.param("margin_guard", "a_new_reason", True, id="also for a reason nobody thought of"),
        pytest.param("margin_guard", "cooldown", False, id="it goes on within seconds"),
        pytest.param("margin_guard", "too_small", False, id="1 sat is worth no order"),
        pytest.param("margin_guard", "disabled", False, id="by its owner's hand"),
        pytest.param("tp_sl", "budget_used_up", False, id="an exit that waits endangers nothing"),
        pytest.param("auto_entry", "reserve", False, id="an entry that waits endangers nothing"),
    ],
)
def test_13_a_refusal_by_a_gate_is_told_for_guards(kind: str, reason: str, *, told: bool) -> None:
    notice = notice_of(kind, f"held {reason}")

    assert notice is not None
    assert notice.told is told
