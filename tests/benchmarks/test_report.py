"""What every benchmark prints and keeps, and that each can be started."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks.__main__ import SHORT, run
from benchmarks.report import ROOT, Aim, Report, publish
from benchmarks.timing import Unit, each_of, spread


def published(report: Report, folder: Path, capsys: pytest.CaptureFixture[str]) -> dict[str, object]:
    publish(report, folder)
    printed = capsys.readouterr().out
    assert printed.count("\n") == 1
    line: dict[str, object] = json.loads(printed)
    return line


def test_one_line_says_what_was_measured_where_and_what_it_should_be(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    report = Report(
        benchmark="example",
        figures={"quiet_us": 2.5},
        floor={"quiet_us": 1.0},
        aims={"quiet_us": Aim(measured=2.5, at_most=5)},
    )

    line = published(report, tmp_path, capsys)

    assert list(line) == ["benchmark", "commit", "machine", "figures", "floor", "aim", "aim_met"]
    assert line["benchmark"] == "example"
    assert line["figures"] == {"quiet_us": 2.5}
    assert line["aim"] == {"quiet_us": {"measured": 2.5, "at_most": 5, "met": True}}
    assert line["aim_met"] is True


def test_the_same_is_kept_in_a_file_named_after_the_benchmark(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    report = Report(benchmark="example", figures={}, rival={"what": "by hand"}, aims={})

    line = published(report, tmp_path / "new", capsys)

    assert json.loads((tmp_path / "new" / "example.json").read_text()) == line


def test_the_machine_and_the_commit_are_named(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    line = published(Report(benchmark="example", figures={}, aims={}), tmp_path, capsys)

    machine, commit = line["machine"], line["commit"]
    assert isinstance(machine, dict)
    assert isinstance(commit, dict)
    assert machine.keys() == {"cpu", "cores", "memory_gib", "system", "python"}
    assert machine["memory_gib"] > 0
    assert commit.keys() == {"hash", "dirty"}


@pytest.mark.parametrize(
    ("aim", "met"),
    [
        pytest.param(Aim(measured=5, at_most=5), True, id="exactly on it"),
        pytest.param(Aim(measured=5.1, at_most=5), False, id="above the most"),
        pytest.param(Aim(measured=9, at_least=10), False, id="below the least"),
        pytest.param(Aim(measured=10, at_least=10), True, id="just enough"),
        pytest.param(Aim(measured=0, at_most=0), True, id="nothing is a measurement"),
        pytest.param(Aim(measured=None, at_most=5), False, id="not measured is missed"),
    ],
)
def test_an_aim_says_whether_it_is_met(aim: Aim, *, met: bool) -> None:
    assert aim.met is met
    assert aim.as_json()["met"] is met
    assert aim.as_json()["measured"] == aim.measured


def test_one_missed_aim_is_enough_to_miss_the_whole() -> None:
    aims = {"good": Aim(measured=1, at_most=5), "bad": Aim(measured=6, at_most=5)}

    assert Report(benchmark="example", figures={}, aims=aims).as_json()["aim_met"] is False


def test_a_spread_is_told_in_its_unit() -> None:
    taken_s = [number / 1000 for number in range(1, 102)]

    found = spread(taken_s, Unit.MS)

    assert found == {"p50_ms": 51.0, "p95_ms": 96.0, "p99_ms": 100.0, "max_ms": 101.0}


def test_the_first_call_is_not_measured() -> None:
    calls: list[None] = []

    taken_s = each_of(lambda: calls.append(None), 3)

    assert len(taken_s) == 3
    assert len(calls) == 4


@pytest.mark.parametrize("name", [name for name, *_ in SHORT])
def test_each_benchmark_says_what_it_does(name: str) -> None:
    done = subprocess.run(
        [sys.executable, "-m", f"benchmarks.{name}", "--help"],
        cwd=ROOT,
        check=True,
        capture_output=True,
        text=True,
    )

    assert "--results" in done.stdout


def test_a_crash_is_told_at_the_end_and_does_not_stop_the_others(
    capfd: pytest.CaptureFixture[str],
) -> None:
    crashed = run([("no_such_benchmark",), ("live_view", "--help")])

    assert crashed == ["no_such_benchmark"]
    assert "--results" in capfd.readouterr().out
