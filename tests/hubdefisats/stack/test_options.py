"""The command line: what it takes, and the one sentence for what it does not."""

from pathlib import Path

import pytest

from hubdefisats.stack.options import Options, read


def test_run_has_defaults() -> None:
    assert read(["run"]) == Options(command="run", web_port=8000, flower_port=5555)


def test_smoke_takes_free_ports() -> None:
    found = read(["smoke", "--speed", "60", "--seconds", "9"])

    assert found == Options(command="smoke", speed="60", web_port=0, flower_port=0, seconds=9)


def test_a_file_of_prices_is_found_from_where_it_was_typed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "prices.csv").touch()
    monkeypatch.chdir(tmp_path)

    assert read(["run", "--prices", "prices.csv"]).prices == str(tmp_path / "prices.csv")


def test_smoke_hurries_through_recorded_prices(tmp_path: Path) -> None:
    prices = tmp_path / "prices.csv"
    prices.touch()

    assert read(["smoke", "--prices", str(prices)]).speed == "600"
    assert read(["smoke", "--prices", str(prices), "--speed", "60"]).speed == "60"
    assert read(["run", "--prices", str(prices)]).speed is None


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        pytest.param([], "the following arguments are required: command", id="no command"),
        pytest.param(["walk"], "invalid choice: 'walk'", id="unknown command"),
        pytest.param(["run", "--web-port", "65536"], "65536 is not a port", id="beyond all ports"),
        pytest.param(["run", "--flower-port", "-1"], "-1 is not a port", id="below all ports"),
        pytest.param(["run", "--prices", "no.csv"], "there is no file no.csv", id="no such file"),
        pytest.param(["smoke", "--seconds", "-3"], "SECONDS must be a number above", id="no time"),
        pytest.param(["smoke", "--seconds", "soon"], "SECONDS must be a number above", id="a word"),
        pytest.param(["smoke", "--seconds", "inf"], "SECONDS must be a number above", id="for ever"),
        pytest.param(["smoke", "--web-port", "1"], "unrecognized arguments", id="not for smoke"),
    ],
)
def test_what_makes_no_sense_is_said_in_one_line(
    arguments: list[str], sentence: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        read(arguments)

    said = capsys.readouterr().err
    assert ended.value.code == 2
    assert sentence in said
    assert said.count("\n") == 1
