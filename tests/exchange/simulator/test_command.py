"""`python -m exchange.simulator` as a person or a script meets it."""

import json
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
import requests

from exchange.auth import Credentials
from exchange.simulator.engine.account import Scope
from exchange.simulator.options import settings_from
from exchange.simulator.settings import Limits
from tests.exchange.simulator.calling import LAST_PRICE, Rest, Stream

FREE = ("--port", "0", "--control-port", "0")


@contextmanager
def running(*arguments: str) -> Iterator[tuple[subprocess.Popen[str], dict[str, Any]]]:
    """Start the command and yield it with its first line; it must be gone at the end."""
    command = [sys.executable, "-m", "exchange.simulator", *FREE, *arguments]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    try:
        assert process.stdout
        yield process, json.loads(process.stdout.readline())
    finally:
        process.kill()
        process.communicate()


def failed(*arguments: str) -> tuple[int, str]:
    command = [sys.executable, "-m", "exchange.simulator", *arguments]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=15, check=False)
    assert ended.stdout == ""
    return ended.returncode, ended.stderr


def test_the_first_line_tells_all_that_a_client_needs() -> None:
    with running("--accounts", "3", "--balance", "5000", "--prices", "manual") as (_, line):
        assert line["rest"].endswith("/v3")
        assert line["stream"].endswith("/v1")
        assert len(line["accounts"]) == 3
        first = dict(line["accounts"][0])
        assert first.pop("balance") == 5000
        assert Rest(line["rest"], Credentials(**first)).balance() == 5000
        with Stream(line["stream"]) as stream:
            assert stream.call("ping")["result"] == "pong"


def test_the_same_seed_gives_the_same_keys() -> None:
    accounts = []
    for seed in ("5", "5", "6"):
        with running("--seed", seed) as (_, line):
            accounts.append(line["accounts"])
    assert accounts[0] == accounts[1] != accounts[2]


@pytest.mark.parametrize("signum", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_it_cleanly_even_with_clients_connected(signum: signal.Signals) -> None:
    with running() as (process, line), Stream(line["stream"]) as stream:
        stream.call("subscribe", topics=[LAST_PRICE])
        process.send_signal(signum)
        assert process.wait(10) == 0
        assert process.stderr
        assert process.stderr.read() == ""


def test_recorded_prices_move_the_market(tmp_path: Path) -> None:
    path = tmp_path / "prices.csv"
    path.write_text("open_time,open,high,low,close\n0,20000,20010,19990,20005\n")
    arguments = ("--prices", str(path), "--speed", "60")
    with running(*arguments) as (_, line), Stream(line["stream"]) as stream:
        stream.call("subscribe", topics=[LAST_PRICE])
        assert 19990 <= stream.push()["data"]["lastPrice"] <= 20010


def test_prices_wait_until_they_are_let_run(tmp_path: Path) -> None:
    path = tmp_path / "prices.csv"
    path.write_text(
        "open_time,open,high,low,close\n0,20000,20000,20000,20000\n60000,20000,20010,19990,19995\n"
    )
    with running("--prices", str(path), "--speed", "600", "--wait") as (process, line):
        time.sleep(0.5)  # longer than the file would take
        first = requests.get(f"{line['rest']}/futures/ticker", timeout=5).json()
        told = requests.post(f"{line['control']}/prices", timeout=5).json()
        assert process.stderr
        assert process.stderr.readline().endswith(" the prices have ended, the last one stays\n")
        ended = requests.get(f"{line['control']}/ticks", timeout=5).json()

    assert (first["lastPrice"], ended[-1]["price"]) == (20000, 19995)
    assert told == {"fallOverS": 0.2}


def test_prices_by_hand_have_no_fall_that_is_known() -> None:
    with running("--prices", "manual", "--wait") as (_, line):
        assert requests.post(f"{line['control']}/prices", timeout=5).json() == {"fallOverS": None}


def test_the_end_of_the_prices_is_told_and_the_last_one_stays(tmp_path: Path) -> None:
    path = tmp_path / "prices.csv"
    path.write_text("open_time,open,high,low,close\n0,20000,20010,19990,20005\n")
    with running("--prices", str(path), "--speed", "600") as (process, line):
        assert process.stderr
        assert process.stderr.readline().endswith(" the prices have ended, the last one stays\n")
        ticker = requests.get(f"{line['rest']}/futures/ticker", timeout=5).json()
    assert ticker["lastPrice"] == 20005


def test_a_broken_file_ends_it_with_one_sentence(tmp_path: Path) -> None:
    path = tmp_path / "prices.csv"
    path.write_text("open_time,open,high,low,close\n0,1,2,x,1\n")
    assert failed("--prices", str(path)) == (2, f"{path}, line 2: low 'x' is not a number\n")


def test_live_prices_without_internet_end_it_with_one_sentence() -> None:
    status, text = failed("--prices", "live", "--live-url", "ws://127.0.0.1:1/v1")
    assert status == 2
    assert text.startswith("The live prices of ws://127.0.0.1:1/v1 cannot be reached")
    assert text.count("\n") == 1


def test_a_taken_port_ends_it_with_one_sentence() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        status, text = failed("--port", port, "--control-port", "0")
    assert status == 2
    assert text == f"Cannot listen on 127.0.0.1:{port}: Address already in use.\n"


def test_options_reach_the_settings() -> None:
    arguments = "--speed 2.5 --spread 1 --connections 3 --idle-s 9 --limits on --slippage --tls"
    settings = settings_from(arguments.split())
    assert (settings.speed, settings.half_spread) == (2.5, Decimal(1))
    assert settings.tls
    assert settings.rules.slippage
    assert settings.limits is not None
    assert (settings.limits.connections, settings.limits.idle_s) == (3, 9)
    assert settings.limits.private_rest == Limits().private_rest
    assert settings_from(["--limits", "off"]).limits is None


def test_the_permissions_of_the_keys_can_be_chosen() -> None:
    assert settings_from(["--scopes", "all"]).scopes == frozenset(Scope)
    chosen = settings_from(["--scopes", "account:read,futures:cross:read"]).scopes
    assert chosen == {Scope.ACCOUNT_READ, Scope.CROSS_READ}


@pytest.mark.parametrize(
    "arguments",
    [
        pytest.param(["--port", "70000"], id="no such port"),
        pytest.param(["--accounts", "0"], id="no account"),
        pytest.param(["--speed", "0"], id="time stands still"),
        pytest.param(["--speed", "fast"], id="no number at all"),
        pytest.param(["--speed", "nan"], id="no number"),
        pytest.param(["--start-price", "100.3"], id="off the grid"),
        pytest.param(["--start-price", "0"], id="no price"),
        pytest.param(["--spread", "-1"], id="negative spread"),
        pytest.param(["--scopes", "trading,flying"], id="no such permission"),
        pytest.param(["--balance", "lots"], id="no whole number"),
        pytest.param(["--most-trades", "-1"], id="negative number"),
        pytest.param(["--limits", "maybe"], id="neither on nor off"),
    ],
)
def test_an_option_that_makes_no_sense_is_refused(
    arguments: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        settings_from(arguments)
    assert ended.value.code == 2
    assert f"argument {arguments[0]}" in capsys.readouterr().err
