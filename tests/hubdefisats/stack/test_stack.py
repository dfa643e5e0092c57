"""The whole stack, by the commands that people type."""

import json
import re
import socket
import subprocess
import sys
from contextlib import closing
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from pathlib import Path

import pytest
import requests

from hubdefisats import folder as folders
from tests.hubdefisats.stack import stacks
from tests.hubdefisats.stack.stacks import RunningStack
from tests.waiting import wait_until


@pytest.mark.timeout(120)
def test_a_stack_serves_heals_survives_its_own_death_and_leaves_nothing(folder: Path) -> None:
    with stacks.running(folder) as first:
        _opens_with_what_it_printed(first)
        _shows_no_secret_to_the_machine(first)
        _gives_what_opens_credentials_to_those_who_act(first)
        _is_reached_by_commands_typed_beside_it(first)
        _refuses_a_second_one(first)
        _starts_the_killed_web_again(first)
        processes = first.processes()
        first.process.kill()

    with stacks.running(folder) as second:
        assert any("had left" in line for line in second.lines)
        _opens_with_what_it_printed(second)
        postgres = second.postmaster()
        stacks.wait_until_gone(
            [each for each in processes if each not in second.processes()], within_s=5
        )
        processes = second.processes()
        assert postgres in processes
        second.process.terminate()

        assert second.process.wait(10) == 0
        stacks.wait_until_gone(processes, within_s=5)
        assert "DATABASE_URL" not in second.kept()


def _opens_with_what_it_printed(stack: RunningStack) -> None:
    kept = stack.kept()
    assert f"admin / {kept['ADMIN_PASSWORD']}\n" in "".join(stack.lines)
    flower = stack.address("Flower")
    assert requests.get(flower, timeout=5).status_code == 401
    assert requests.get(flower, auth=("admin", kept["FLOWER_PASSWORD"]), timeout=5).ok

    with requests.Session() as browser:
        page = browser.get(stack.address("Admin"), timeout=10)
        token = re.search(r'name="csrfmiddlewaretoken" value="(\w+)"', page.text)
        assert token
        form = {"csrfmiddlewaretoken": token[1], "username": "admin"}
        inside = browser.post(page.url, form | {"password": kept["ADMIN_PASSWORD"]}, timeout=10)
        assert "Executions" in inside.text


def _shows_no_secret_to_the_machine(stack: RunningStack) -> None:
    command_lines = " ".join(word for each in stack.processes() for word in each.cmdline())
    assert "uvicorn" in command_lines
    assert not [name for name, value in stack.kept().items() if value in command_lines]


def _gives_what_opens_credentials_to_those_who_act(stack: RunningStack) -> None:
    def has_it(words: str) -> bool:
        return bool(
            stack.part(words).environ().get("SEAL_PRIVATE_KEYS", stack.kept()["SEAL_PRIVATE_KEYS"])
        )

    acting, others = ("manage.py stream", "urgent-1@", "worker@"), ("uvicorn", " beat ", " flower ")
    assert [has_it(each) for each in acting] == [True] * 3
    assert [has_it(each) for each in others] == [False] * 3


def _is_reached_by_commands_typed_beside_it(stack: RunningStack) -> None:
    done = subprocess.run(
        [sys.executable, "manage.py", "shell", "-v", "0", "-c", _ASK],
        env=stacks.variables(stack.folder),
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.stdout.split() == ["paper", "4"]


_ASK = """
from django.conf import settings
from accounts.models import Account
print(settings.LN_MARKETS_NETWORK, Account.objects.count())
"""


def _refuses_a_second_one(stack: RunningStack) -> None:
    done = subprocess.run(
        stacks.command("run", "--web-port", "0", "--flower-port", "0"),
        env=stacks.variables(stack.folder),
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1
    assert f"(process {stack.process.pid})" in done.stderr
    assert done.stderr.count("\n") == 1


def _starts_the_killed_web_again(stack: RunningStack) -> None:
    web = stack.part("uvicorn")
    web.kill()
    wait_until(lambda: not folders.is_alive(web), what="the web is killed")
    wait_until(
        lambda: _lives(stack.address("Admin").removesuffix("/admin")),
        what="the web serves again",
    )


def _lives(url: str) -> bool:
    try:
        return requests.get(f"{url}/health/live", timeout=2).ok
    except requests.ConnectionError:
        return False


@pytest.mark.timeout(150)
def test_smoke_lives_through_candles_that_fall(folder: Path) -> None:
    file = folder / "falling.csv"
    _write_falling_candles(file)

    done = subprocess.run(
        stacks.command("smoke", "--prices", str(file), "--speed", "600"),
        env=stacks.variables(folder / "must stay unused"),
        capture_output=True,
        text=True,
        check=False,
    )

    assert done.returncode == 0, done.stderr
    line = json.loads(done.stdout)
    assert line["confirmed"] >= 2
    assert (line["guarded"], line["guarded_running"], line["guarded_liquidated"]) == (4, 4, 0)
    assert (line["unguarded"], line["unguarded_liquidated"]) == (4, 2), "the longs, at 25x and 50x"
    assert line["told"] >= 2, "repetitions within a minute are joined"
    assert line["duplicates"] == 0
    assert 0 < line["tick_to_order_ms"]["p50"] <= line["tick_to_order_ms"]["max"]
    assert line["prices"] == "falling.csv"
    assert not (folder / "must stay unused").exists()


def _write_falling_candles(file: Path) -> None:
    """Write 15 quiet seconds, at 600 times real time, then a fall by 6 % in 30 seconds."""
    start = datetime(2026, 1, 1, tzinfo=UTC)
    prices = [100_000.0] * 150 + [100_000.0 - 20 * step for step in range(300)]
    lines = ["open_time,open,high,low,close"]
    for minute, (opened, closed) in enumerate(pairwise(prices)):
        time = (start + timedelta(minutes=minute)).strftime("%Y-%m-%dT%H:%M:%SZ")
        lines.append(f"{time},{opened},{opened},{closed},{closed}")
    file.write_text("\n".join(lines) + "\n")


@pytest.mark.parametrize(
    ("arguments", "more", "sentence"),
    [
        pytest.param(
            ["--prices", "{broken}"],
            {},
            "exchange does not start: .*broken.csv",
            id="candles",
        ),
        pytest.param(["--speed", "fast"], {}, "does not start: .*fast is not a number", id="speed"),
        pytest.param(["--web-port", "{taken}"], {}, "Port .* cannot be used .*--web-port", id="port"),
        pytest.param([], {"DATABASE_URL": "nonsense"}, "DATABASE_URL must be a URL", id="no URL"),
        pytest.param(
            [],
            {"DATABASE_URL": "postgresql://a:hunter2@127.0.0.1:1/x"},
            "The database behind DATABASE_URL cannot be used: .*refused",
            id="no database there",
        ),
        pytest.param([], {"REDIS_URL": "127.0.0.1:1"}, "REDIS_URL must be a URL", id="no Redis URL"),
        pytest.param(
            [],
            {"REDIS_URL": "redis://:hunter2@127.0.0.1:1"},
            "The Redis behind REDIS_URL cannot be used: .*refused",
            id="no Redis there",
        ),
        pytest.param(
            [],
            {"REDIS_URL": "{redis, wrong password}"},
            "The Redis behind REDIS_URL cannot be used: .*(password|AUTH)",
            id="wrong password",
        ),
    ],
)
def test_bad_input_gives_one_sentence(
    folder: Path, services: dict[str, str], arguments: list[str], more: dict[str, str], sentence: str
) -> None:
    (folder / "broken.csv").write_text("open_time,open,high,low,close\n2026-01-01T00:00:00Z,1,x,1,1\n")
    with closing(socket.socket()) as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        words = {
            "{broken}": str(folder / "broken.csv"),
            "{taken}": str(taken.getsockname()[1]),
            "{redis, wrong password}": re.sub(":[^:@/]+@", ":hunter2@", services["REDIS_URL"]),
        }
        # The real services are those of the tests, so that nothing but the fault is slow.
        network = {} if arguments else {"LN_MARKETS_NETWORK": "mainnet"}
        named = {name: services[name] for name in ("DATABASE_URL", "REDIS_URL")} | network
        done = subprocess.run(
            stacks.command("run", *[words.get(each, each) for each in arguments]),
            env=stacks.variables(folder)
            | named
            | {name: words.get(value, value) for name, value in more.items()},
            capture_output=True,
            text=True,
            check=False,
        )

    assert done.returncode == 1
    assert re.search(sentence, done.stderr)
    assert done.stderr.count("\n") == 1
    assert "hunter2" not in done.stderr + done.stdout
