"""What people type: the demo, what was done and what is open, the stream process."""

import io
import json
import signal
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import asdict
from decimal import Decimal
from pathlib import Path

import pytest
import redis as redis_py
from django.core.management import call_command
from django.core.management.base import CommandError
from django.utils import timezone
from pytest_django.fixtures import Settings

from accounts.gateway import client_for
from accounts.models import Account
from automations.models import Execution, GuardStep, MarginGuard
from automations.streaming import HEARTBEAT_KEY
from exchange.config import Network
from exchange.formulas import Side
from exchange.position import Position
from exchange.simulator.paper import PaperAccount
from exchange.simulator.running import Simulator
from tests.automations.acting import look, unanswered
from tests.automations.test_models import execution
from tests.exchange.places import endpoints_of
from tests.waiting import wait_until

ROOT = Path(__file__).parents[2]


@pytest.fixture
def venue() -> Iterator[Simulator]:
    """As many accounts as the demo has."""
    with Simulator(accounts=4) as simulator:
        yield simulator


def announced(accounts: Sequence[PaperAccount]) -> str:
    """Return the first line of the paper exchange."""
    listed = [asdict(account.credentials) | {"balance": account.balance} for account in accounts]
    return json.dumps({"rest": "http://x/v3", "stream": "ws://x/v1", "accounts": listed}) + "\n"


def demo(line: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdin", io.StringIO(line))
    call_command("demo")


@pytest.mark.django_db
def test_the_demo_has_positions_each_way_on_every_account_and_a_guard_on_half_of_them(
    paper: Simulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    demo(announced(paper.accounts), monkeypatch)

    for account in Account.objects.all():
        assert account.may_act
        sides = {position.side for position in client_for(account).rest.running_trades()}
        assert sides == set(Side)
    assert [account.owner.username for account in Account.objects.all()] == ["demo"] * 4
    for guard in MarginGuard.acting():
        guard.full_clean()
        for step in guard.steps.all():
            step.full_clean()
    guarded = MarginGuard.objects.values_list("account__name", flat=True)
    assert set(guarded) == {"Demo at 25x", "Demo at 50x"}


@pytest.mark.django_db
def test_the_demo_set_up_again_keeps_what_is_there(
    paper: Simulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    demo(announced(paper.accounts), monkeypatch)
    writes = len(paper.writes())
    Account.objects.filter(name="Demo at 25x").update(name="renamed by its owner")
    MarginGuard.objects.update(enabled=False)
    GuardStep.objects.update(threshold_percent=Decimal("0.5"))

    demo(announced(paper.accounts), monkeypatch)

    assert len(paper.writes()) == writes, "no position is opened twice"
    assert (Account.objects.count(), MarginGuard.objects.count()) == (4, 2)
    assert Account.objects.filter(name="renamed by its owner").exists()
    assert not MarginGuard.objects.exclude(enabled=False).exists()
    assert not GuardStep.objects.exclude(threshold_percent=Decimal("0.5")).exists()


@pytest.mark.django_db
def test_the_demo_takes_over_the_keys_of_a_new_paper_exchange(
    paper: Simulator, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    demo(announced(paper.accounts), monkeypatch)

    with Simulator(seed=2, accounts=4) as new:
        settings.LN_MARKETS_ENDPOINTS = {Network.PAPER: endpoints_of(new)}
        demo(announced(new.accounts), monkeypatch)

        assert all(account.may_act for account in Account.objects.all())
        assert len(new.writes()) == 8
    assert Account.objects.count() == 4


@pytest.mark.django_db
@pytest.mark.parametrize(
    "line",
    [
        pytest.param("", id="nothing"),
        pytest.param("Listening on port 80\n", id="words"),
        pytest.param("[]\n", id="a list"),
        pytest.param("null\n", id="null"),
        pytest.param('{"rest": "http://x/v3"}\n', id="no accounts"),
        pytest.param('{"accounts": 7}\n', id="a number of accounts"),
        pytest.param('{"accounts": [{"key": "k"}]}\n', id="half an account"),
        pytest.param(
            '{"accounts": [{"key": 1, "secret": 2, "passphrase": 3}]}\n', id="numbers for texts"
        ),
        pytest.param(
            '{"accounts": [{"key": "€", "secret": "s", "passphrase": "p"}]}\n', id="not ASCII"
        ),
    ],
)
def test_the_demo_refuses_rubbish_in_one_sentence(line: str, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(CommandError, match="Standard input is not the paper exchange's first line"):
        demo(line, monkeypatch)

    assert not Account.objects.exists()


@pytest.mark.django_db
def test_the_demo_says_how_many_accounts_it_needs(
    paper: Simulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(CommandError, match="needs 4 paper accounts, and was given 1"):
        demo(announced(paper.accounts[:1]), monkeypatch)

    assert not Account.objects.exists()


@pytest.mark.django_db
def test_the_demo_says_what_is_wrong_with_the_exchange(
    paper: Simulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    paper.fault("status", status=401, next=9)
    with pytest.raises(CommandError, match="LN Markets refused the key"):
        demo(announced(paper.accounts), monkeypatch)
    paper.clear_faults()

    paper.fault("status", status=400, path="/v3/futures/isolated/trade")
    with pytest.raises(CommandError, match="LN Markets refused POST /futures/isolated/trade"):
        demo(announced(paper.accounts), monkeypatch)


def listed(*arguments: str) -> list[str]:
    out = io.StringIO()
    call_command("executions", *arguments, stdout=out)
    return out.getvalue().splitlines()


@pytest.fixture
def three(guard: MarginGuard) -> list[Execution]:
    settled = {"state": "confirmed", "settled_at": timezone.now()}
    return [
        execution(guard, why="first", **settled),
        execution(guard, why="second", does="close_position", amount_sats=None, **settled),
        execution(guard, why="third", position_id="p2", tick_time_ms=7, tick_price=Decimal("95000.5")),
    ]


def test_executions_are_listed_the_newest_last(three: list[Execution]) -> None:
    lines = listed()

    assert [line.split()[-1] for line in lines] == ["first", "second", "third"]
    when = f"{three[0].decided_at:%Y-%m-%d %H:%M:%S} UTC"
    assert lines[0] == f"{when}  account 0  add margin 1,000 sats  confirmed  first"
    assert lines[1] == lines[0].replace("add margin 1,000 sats", "close position").replace(
        "first", "second"
    )


def test_executions_are_listed_for_programs(three: list[Execution]) -> None:
    shown = [json.loads(line) for line in listed("--json")]

    assert shown[2] == {
        "id": three[2].pk,
        "state": "intended",
        "action": "add_margin",
        "position_id": "p2",
        "amount": 1000,
        "origin": "tick",
        "tick_time_ms": 7,
        "tick_price": "95000.50",
        "why": "third",
    }
    assert (shown[1]["amount"], shown[1]["tick_price"]) == (None, None)


@pytest.mark.usefixtures("three")
@pytest.mark.parametrize(("last", "shown"), [(2, ["second", "third"]), (0, []), (-5, [])])
def test_only_the_newest_executions_are_listed_when_asked(last: int, shown: list[str]) -> None:
    assert [line.split()[-1] for line in listed("--last", str(last))] == shown


@pytest.mark.django_db
def test_without_executions_nothing_is_listed() -> None:
    assert listed() == []


def reconciled() -> list[str]:
    out = io.StringIO()
    call_command("reconcile", stdout=out)
    return out.getvalue().splitlines()


def test_what_was_left_open_is_settled_and_told(
    venue: Simulator, long: Position, guard: MarginGuard
) -> None:
    assert reconciled() == ["Nothing is open."]
    venue.set_price(94_000)
    venue.fault("lost_answer", path="/v3/futures/isolated/trade/add-margin")
    look(guard, long)
    unanswered()
    venue.fault("status", status=400, path="/v3/futures/isolated/trades/running")

    assert reconciled() == ["1 left open."]
    (line, last) = reconciled()

    assert line.endswith(f"add margin on {long.id}, confirmed")
    assert last == "Nothing is open."


def at(venue: Simulator) -> dict[str, str]:
    endpoints = endpoints_of(venue)
    return {
        "LN_MARKETS_NETWORK": "paper",
        "LN_MARKETS_API_URL": endpoints.api_url,
        "LN_MARKETS_STREAM_URL": endpoints.stream_url,
    }


@pytest.mark.timeout(120)
def test_the_stream_process_outlives_its_redis_and_ends_when_told_to(
    *,
    venue: Simulator,
    long: Position,
    guard: MarginGuard,
    services: dict[str, str],
    own_redis: str,
    tmp_path: Path,
) -> None:
    log = tmp_path / "log"

    def says(text: str, times: int = 1) -> bool:
        return log.read_text().count(text) >= times

    with ExitStack() as parts:
        redis = parts.enter_context(redis_py.Redis.from_url(own_redis))
        process = parts.enter_context(
            subprocess.Popen(
                [sys.executable, "manage.py", "stream"],
                env=services | at(venue) | {"REDIS_URL": own_redis},
                cwd=ROOT,
                stderr=parts.enter_context(log.open("w")),
            )
        )
        parts.callback(process.kill)

        def armed() -> bool:
            market = json.loads(redis.get(HEARTBEAT_KEY) or "{}").get("markets", {}).get("paper", {})
            return bool(market.get("armed") == 1 and market["state"] == "live")

        wait_until(armed, within_s=20, what="the trigger is armed")
        redis.config_set("maxmemory", 1)  # full: it refuses every write
        venue.set_price(95_000)
        wait_until(lambda: says("trigger not sent"), what="it says what it cannot do")

        redis.config_set("maxmemory", 0)
        wait_until(lambda: redis.llen("urgent") > 0, what="the trigger is on its way")

        redis.shutdown(nosave=True)
        seen = log.read_text().count("trigger not sent")
        wait_until(
            lambda: says("trigger not sent", seen + 1), within_s=15, what="it still weighs prices"
        )

        process.send_signal(signal.SIGTERM)
        assert process.wait(10) == 0
    told = log.read_text()
    assert "Traceback" not in told
    credentials = guard.account.credentials()
    for secret in (credentials.key, credentials.secret, credentials.passphrase):
        assert secret not in told
    assert long.id in told


@pytest.mark.parametrize("sign", [signal.SIGINT, signal.SIGTERM])
def test_a_stream_process_with_nothing_to_watch_ends_when_told_to(
    venue: Simulator, services: dict[str, str], sign: signal.Signals
) -> None:
    with (
        redis_py.Redis.from_url(services["REDIS_URL"]) as redis,
        subprocess.Popen(
            [sys.executable, "manage.py", "stream"],
            env=services | at(venue),
            cwd=ROOT,
            stderr=subprocess.PIPE,
            text=True,
        ) as process,
    ):
        wait_until(lambda: redis.get(HEARTBEAT_KEY), within_s=15, what="it beats")

        process.send_signal(sign)

        _, told = process.communicate(timeout=10)
        assert process.returncode == 0
        assert "Traceback" not in told
