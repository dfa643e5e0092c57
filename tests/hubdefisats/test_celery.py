"""What a worker does before its first message, in an interpreter of its own."""

import os
import subprocess
import sys
from pathlib import Path
from typing import Final

import pytest

from automations.models import Execution, MarginGuard
from exchange.position import Position
from exchange.simulator.running import Simulator
from hubdefisats.stack import programs
from hubdefisats.stack.processes import Program
from tests.automations.acting import ADD_MARGIN, effects, look, states, unanswered
from tests.automations.conftest import account, client, guard, long, paper, venue
from tests.exchange.places import endpoints_of
from tests.waiting import wait_until

__all__ = ["account", "client", "guard", "long", "paper", "venue"]

_SETTLE_FIRST: Final = (
    "import django; django.setup(); from hubdefisats import celery; celery.settle_first(patience_s={})"
)


def settle_first(variables: dict[str, str], *, patience_s: float = 20) -> str:
    """Let it settle as when a worker starts; return what it says on standard error."""
    done = subprocess.run(
        (sys.executable, "-c", _SETTLE_FIRST.format(patience_s)),
        env=os.environ | variables | {"DJANGO_SETTINGS_MODULE": "hubdefisats.settings"},
        capture_output=True,
        text=True,
        check=True,
        timeout=50,
    )
    return done.stderr


@pytest.fixture
def at(venue: Simulator, services: dict[str, str]) -> dict[str, str]:
    """The variables of a program that knows the paper exchange."""
    where = endpoints_of(venue)
    return services | {
        "LN_MARKETS_NETWORK": "paper",
        "LN_MARKETS_API_URL": where.api_url,
        "LN_MARKETS_STREAM_URL": where.stream_url,
    }


@pytest.fixture
def unsettled(at: dict[str, str], venue: Simulator, long: Position, guard: MarginGuard) -> Execution:  # noqa: ARG001
    """A top-up that happened and whose answer was lost."""
    venue.set_price(95_000)
    venue.fault("lost_answer", path=ADD_MARGIN)
    look(guard, long)
    unanswered()
    return Execution.objects.unsettled().get()


def test_what_was_left_open_is_settled(
    venue: Simulator, at: dict[str, str], unsettled: Execution
) -> None:
    said = settle_first(at)

    assert f"execution settled by proof account={unsettled.account_id}" in said
    assert (states(), effects(venue)) == (["confirmed"], 1)


@pytest.mark.usefixtures("unsettled")
def test_a_silent_exchange_does_not_keep_a_worker_from_starting(
    venue: Simulator, at: dict[str, str]
) -> None:
    venue.fault("delay", ms=60_000, method="GET")

    assert "not all is settled yet" in settle_first(at, patience_s=0.2)
    assert states() == ["unknown"]


def test_nor_does_a_database_out_of_reach(at: dict[str, str]) -> None:
    said = settle_first(at | {"DATABASE_URL": "postgresql://nobody@127.0.0.1:1/none"})

    assert "not settled at the start" in said
    assert "Traceback" not in said


@pytest.mark.django_db(transaction=True)
@pytest.mark.timeout(90)
@pytest.mark.parametrize(
    ("program", "says_so"),
    [
        pytest.param(programs.WORKER, True, id="who would mail"),
        pytest.param(programs.urgent()[0], False, id="who never does"),
    ],
)
def test_that_nobody_is_mailed_is_said_by_who_would(
    services: dict[str, str], tmp_path: Path, program: Program, *, says_so: bool
) -> None:
    log = tmp_path / "log"
    variables = {**services, **program.variables, "DJANGO_SETTINGS_MODULE": "hubdefisats.settings"}
    with (
        log.open("w") as said,
        subprocess.Popen(program.command, env=variables, stderr=said, stdout=said) as process,
    ):
        try:
            wait_until(lambda: " ready." in log.read_text(), within_s=60, what="it is ready")
        finally:
            process.terminate()

    assert ("nobody is mailed" in log.read_text()) is says_so
