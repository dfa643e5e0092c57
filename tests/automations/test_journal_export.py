"""`manage.py journal export` and `prune`: out into files first, and only then away."""

import csv
import hashlib
import json
from datetime import UTC, datetime, timedelta
from io import StringIO
from pathlib import Path

import pytest
from django.core.management import CommandError, call_command
from django.db import IntegrityError

from automations import chronicle
from automations.models import JournalChain, JournalEntry, MarginGuard
from tests.automations.test_journal import new_guard, told, without_the_trigger

pytestmark = pytest.mark.django_db(transaction=True)
param = pytest.param

START = datetime(2026, 3, 1, tzinfo=UTC)


@pytest.fixture
def guard() -> MarginGuard:
    """One entry a day, at midnight, for five days."""
    made = new_guard()
    for day in range(5):
        told(made, message=f"day {day}", now=START + timedelta(days=day))
    return made


def journal(*arguments: object) -> str:
    said = StringIO()
    call_command("journal", *map(str, arguments), stdout=said)
    return said.getvalue()


def days(text: str) -> list[str]:
    return [json.loads(line)["message"] for line in text.splitlines()]


def left() -> list[str]:
    return [entry.message for entry in JournalEntry.objects.order_by("id")]


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        param([], [0, 1, 2, 3, 4], id="everything"),
        param(["--since", "2026-03-03"], [2, 3, 4], id="from a day on, it too"),
        param(["--until", "2026-03-03"], [0, 1], id="before a day, it not"),
        param(["--since", "2026-03-02", "--until", "2026-03-03T00:00:01Z"], [1, 2], id="between"),
        param(["--since", "2026-03-03T01:00:00+01:00"], [2, 3, 4], id="in another zone"),
        param(["--since", "2030-01-01"], [], id="later than all"),
        param(["--since", "0001-01-01T00:00+14:00", "--until", "9999-12-31T23:59-12:00"],
              [0, 1, 2, 3, 4], id="all of time"),
    ],
)  # fmt: skip
def test_a_period_is_exported(guard: MarginGuard, arguments: list[str], expected: list[int]) -> None:
    said = journal("export", "--format", "jsonl", "--account", guard.account_id, *arguments)

    assert days(said) == [f"day {day}" for day in expected]


def test_accounts_follow_each_other_each_in_the_order_of_its_chain(guard: MarginGuard) -> None:
    other = new_guard("other")
    told(other, message="of the other")
    told(guard, message="day 5")

    assert days(journal("export", "--format", "jsonl")) == [
        *(f"day {day}" for day in range(6)),
        "of the other",
    ]
    assert days(journal("export", "--format", "jsonl", "--account", other.account_id)) == [
        "of the other"
    ]


def test_the_chain_can_be_verified_from_the_file_alone(guard: MarginGuard) -> None:
    previous = ""
    for line in journal("export", "--format", "jsonl").splitlines():
        told_by_file = json.loads(line)
        shape = {name: told_by_file[name] for name in ("automationId", "message")} | told_by_file[
            "sealed"
        ]
        sealed = [
            previous,
            told_by_file["event"],
            told_by_file["accountId"],
            told_by_file["positionId"],
            shape | {"timestamp": told_by_file["timestamp"]},
        ]
        text = json.dumps(sealed, sort_keys=True, separators=(",", ":"))
        assert told_by_file["previousHash"] == previous
        previous = told_by_file["hash"]
        assert previous == hashlib.sha256(text.encode()).hexdigest()
    assert previous == JournalChain.objects.get(account=guard.account).newest_hash


@pytest.mark.parametrize("form", ["csv", "jsonl"])
def test_the_same_entries_are_the_same_bytes(guard: MarginGuard, form: str, tmp_path: Path) -> None:
    told(guard, data={"zebra": 1, "a": {"long key": 2, "b": None}}, message='Grün, "so"\r\n\u2028😀')

    said = [journal("export", "--format", form, "--output", tmp_path / name) for name in "ab"]

    first, second = (tmp_path / name for name in "ab")
    assert first.read_bytes() == second.read_bytes()
    assert first.stat().st_mode & 0o777 == 0o600
    digest = hashlib.sha256(first.read_bytes()).hexdigest()
    assert said[0] == f"6 entries in {first}, SHA-256 {digest}\n"
    # The terminal gets what the file gets.
    assert journal("export", "--format", form).encode() == first.read_bytes()


@pytest.mark.parametrize(
    ("message", "cell"),
    [
        param("margin added", "margin added", id="harmless"),
        param("=1+1", "'=1+1", id="a formula"),
        param("+1", "'+1", id="plus"),
        param("-2+3", "'-2+3", id="minus"),
        param("@SUM(A1)", "'@SUM(A1)", id="at"),
        param("\t=1", "'\t=1", id="behind a tab"),
        param(" \r\n=1", "' \r\n=1", id="behind blanks and a line end"),
        param("\uff1d1", "'\uff1d1", id="wide"),
        param("'=1", "''=1", id="marked already: it can be undone"),
        param('a","=1', 'a","=1', id="out of its cell"),
        param("a\n=1", "a\n=1", id="on a line of its own"),
        param("", "", id="empty"),
    ],
)
def test_a_cell_is_never_a_formula(message: str, cell: str) -> None:
    told(new_guard(), message=message, data={"error": message}, position_id=message)

    header, *rows = csv.reader(StringIO(journal("export", "--format", "csv"), newline=""))

    (row,) = (dict(zip(header, cells, strict=True)) for cells in rows)
    assert (row["message"], row["positionId"]) == (cell, cell)
    assert json.loads(row["data"])["error"] == message


@pytest.mark.parametrize("form", ["csv", "jsonl"])
def test_an_empty_journal_is_an_empty_file(form: str, tmp_path: Path) -> None:
    path = tmp_path / "journal"

    assert journal("export", "--format", form, "--output", path).startswith("0 entries in ")

    header = ",".join([
        "id", "timestamp", "event", "accountId", "automationId", "executionId", "positionId", "type",
        "message", "data", "sealed", "previousHash", "hash",
    ])  # fmt: skip
    assert path.read_text() == (f"{header}\n" if form == "csv" else "")


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        param([], "required: --format", id="no format"),
        param(["--format", "xml"], "invalid choice: 'xml'", id="unknown format"),
        param(["--format", "csv", "--since", "soon"], "'soon' is no ISO 8601", id="a word for a date"),
        param(["--format", "csv", "--until", "2026-02-30"], "is no ISO 8601", id="no such day"),
        param(["--format", "csv", "--until", ""], "'' is no ISO 8601", id="empty date"),
        param(["--format", "csv", "--since", "2026-03-02", "--until", "2026-03-02"],
              "must begin before it ends", id="period of nothing"),
        param(["--format", "csv", "--account", "999"], "There is no account 999", id="unknown account"),
        param(["--format", "csv", "--output", "/nowhere/journal"], "No such file", id="no such folder"),
        param(["--format", "csv", "--output", "/"], "nothing is overwritten", id="a folder"),
        param(["--format", "csv", "--output", "/proc/journal"], "Not exported: ", id="unwritable"),
    ],
)  # fmt: skip
def test_a_bad_export_is_refused(guard: MarginGuard, arguments: list[str], says: str) -> None:
    with pytest.raises(CommandError) as refused:
        journal("export", *arguments)

    assert says in str(refused.value)
    assert JournalChain.objects.get(account=guard.account).exported_id == 0


@pytest.mark.usefixtures("guard")
def test_an_older_file_is_never_overwritten(tmp_path: Path) -> None:
    path = tmp_path / "journal"
    path.write_text("the only copy")

    with pytest.raises(CommandError, match="is there already; nothing is overwritten"):
        journal("export", "--format", "csv", "--output", path)

    assert path.read_text() == "the only copy"


def exported(path: Path, *arguments: object) -> None:
    journal("export", "--format", "jsonl", "--output", path, *arguments)


def pruned(until: str, *arguments: object) -> str:
    return journal("prune", "--exported-until", until, *arguments)


def test_what_was_exported_is_pruned_and_the_chain_still_verifies(
    guard: MarginGuard, tmp_path: Path
) -> None:
    exported(tmp_path / "journal")
    oldest_left = JournalEntry.objects.get(message="day 3")

    assert pruned("2026-03-04").endswith(": 3 entries pruned\n")

    assert left()[:2] == ["day 3", "day 4"]
    cut = JournalEntry.objects.get(event="journal_pruned")
    assert cut.data == {"entries": 3, "inAll": 3, "through": oldest_left.previous_hash}
    assert journal("verify").endswith("intact\n")
    told(guard, message="day 5")
    assert journal("verify").endswith("intact\n")


def test_pruning_goes_on_from_where_it_ended(guard: MarginGuard, tmp_path: Path) -> None:
    exported(tmp_path / "first")
    pruned("2026-03-03")
    told(guard, message="day 5", now=START + timedelta(days=5))
    exported(tmp_path / "second")

    assert pruned("2026-03-05").endswith(": 2 entries pruned\n")

    newest = JournalEntry.objects.filter(event="journal_pruned").latest("id")
    assert (newest.data["entries"], newest.data["inAll"]) == (2, 4)
    assert journal("verify").endswith("intact\n")


@pytest.mark.usefixtures("guard")
def test_everything_can_be_pruned_and_then_there_is_nothing_more(tmp_path: Path) -> None:
    exported(tmp_path / "all")

    assert pruned("9999-01-01").endswith(": 5 entries pruned\n")
    exported(tmp_path / "rest")
    assert pruned("9999-01-01").endswith(": 0 entries pruned\n")

    assert [entry.event for entry in JournalEntry.objects.all()] == ["journal_pruned"]
    assert journal("verify").endswith("intact\n")


def test_nothing_is_pruned_of_an_empty_journal() -> None:
    assert pruned("2026-03-04") == ""
    new_guard()
    assert pruned("2026-03-04").endswith(": 0 entries pruned\n")


@pytest.mark.parametrize(
    ("exports", "missing"),
    [
        param([], "3 entries from 2026-03-01", id="no export at all"),
        param([["--until", "2026-03-03"]], "1 entries from 2026-03-03", id="too little"),
        param([["--since", "2026-03-02"]], "3 entries from 2026-03-01", id="the oldest left out"),
        param([["--until", "2026-03-02"], ["--since", "2026-03-03"]], "2 entries from 2026-03-02",
              id="a gap between two files"),
    ],
)  # fmt: skip
@pytest.mark.usefixtures("guard")
def test_what_was_not_exported_is_not_pruned(
    tmp_path: Path, exports: list[list[str]], missing: str
) -> None:
    for number, period in enumerate(exports):
        exported(tmp_path / str(number), *period)
    journal("export", "--format", "csv")  # into a terminal: who knows where that is now

    with pytest.raises(CommandError, match=f"{missing}.* are in no file yet"):
        pruned("2026-03-04")

    assert len(left()) == 5


def test_several_files_without_a_gap_are_as_good_as_one(guard: MarginGuard, tmp_path: Path) -> None:
    exported(tmp_path / "1", "--until", "2026-03-03")
    exported(tmp_path / "2", "--since", "2026-03-03", "--account", guard.account_id)
    exported(tmp_path / "3", "--until", "2026-03-02")  # takes nothing back

    assert pruned("2026-03-06").endswith(": 5 entries pruned\n")


@pytest.mark.usefixtures("guard")
def test_one_account_that_is_refused_holds_up_no_other(tmp_path: Path) -> None:
    other = new_guard("other")
    told(other, now=START)
    exported(tmp_path / "journal", "--account", other.account_id)

    said = StringIO()
    with pytest.raises(CommandError, match=r"first \(paper\): 3 entries .* in no file yet"):
        call_command("journal", "prune", "--exported-until", "2026-03-04", stdout=said)

    assert said.getvalue().endswith("other (paper): 1 entries pruned\n")


def test_a_stamp_out_of_order_keeps_what_follows_it(guard: MarginGuard, tmp_path: Path) -> None:
    told(guard, message="written late", now=START)
    exported(tmp_path / "journal")

    pruned("2026-03-03")

    assert left()[:4] == ["day 2", "day 3", "day 4", "written late"]


@pytest.mark.usefixtures("guard")
def test_a_broken_journal_is_not_pruned(tmp_path: Path) -> None:
    exported(tmp_path / "journal")
    with without_the_trigger():
        JournalEntry.objects.filter(message="day 1").update(message="forged")

    with pytest.raises(CommandError, match=r"stays whole: entry \d+ .* was changed"):
        pruned("2026-03-04")

    assert len(left()) == 5


def _cut_more(guard: MarginGuard) -> None:
    """Cut one entry more than was pruned, and move the row's mark with it."""
    oldest = JournalEntry.objects.earliest("id")
    chain = JournalChain.objects.get(account=guard.account)
    chain.pruned_hash, chain.pruned_length = oldest.hash, chain.pruned_length + 1
    chain.save()
    oldest.delete()


@pytest.mark.parametrize("first_prune", [True, False])
def test_a_cut_that_no_pruning_entry_tells_of_is_found(
    guard: MarginGuard, tmp_path: Path, *, first_prune: bool
) -> None:
    if first_prune:
        exported(tmp_path / "journal")
        pruned("2026-03-03")
    with without_the_trigger():
        _cut_more(guard)

    with pytest.raises(CommandError, match="the oldest entries are gone, and no pruning entry"):
        journal("verify")


def test_after_pruning_the_database_refuses_deletion_again(guard: MarginGuard, tmp_path: Path) -> None:
    exported(tmp_path / "journal")
    chronicle.prune(guard.account, START + timedelta(days=2), START + timedelta(days=9))

    with pytest.raises(IntegrityError, match="append-only"):
        JournalEntry.objects.all().delete()


@pytest.mark.parametrize(
    "arguments",
    [
        param([], id="no moment"),
        param(["--exported-until", "yesterday"], id="a word"),
        param(["--exported-until", "2026-03-04", "--account", "999"], id="unknown account"),
    ],
)
@pytest.mark.usefixtures("guard")
def test_a_bad_prune_is_refused(arguments: list[str]) -> None:
    with pytest.raises(CommandError):
        journal("prune", *arguments)

    assert len(left()) == 5
