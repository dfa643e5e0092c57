"""A worker is killed at a named point of its look: what it was doing happens once, and is on record.

The quick half kills one at each point; `make test-faults` does so for every write.
"""

import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import asdict
from random import Random
from typing import Final

import pytest
from pytest_django.fixtures import Settings

from automations import reconciling
from automations.models import Execution, JournalEntry
from exchange.config import Network
from exchange.simulator.running import Simulator
from tests.automations.acting import check_the_chain, long_ago, move
from tests.automations.conftest import new_account
from tests.exchange.places import endpoints_of
from tests.faults.mortal import KILLED, Point
from tests.faults.writes import START, WRITES, Asked, Scene, Write
from tests.flows.processes import ROOT

State = Execution.State
POINTS: Final = {
    "before the claim": Point(module="automations.services", function="_find"),
    "after the claim": Point(module="automations.services", function="_look"),
    "before the intent": Point(module="automations.executing", function="_intend"),
    "intent written, not committed": Point(
        module="automations.executing", function="_intend", event="return"
    ),
    "intent committed": Point(module="automations.executing", function="_send"),
    "before sending": Point(module="automations.performing", function="perform"),
    "at the transport": Point(module="exchange.transport", function="Transport.write"),
    "sent and answered": Point(module="automations.performing", function="perform", event="return"),
    "before the record": Point(module="automations.executing", function="_settle"),
    "in the midst of the record": Point(module="automations.journal", function="append"),
    "recorded, nobody told": Point(module="automations.changes", function="announce"),
}
"""In the order in which a look comes by."""
CLOSED: Final = Point(module="automations.executing", function="_reopen")
"""Of a trade that is closed whole to be opened anew."""

_MORTAL: Final = [write for write in WRITES if write.name != "open the rest"]
"""A look comes by its close first."""
_QUICK: Final = [write for write in _MORTAL if write.name == "add margin"]
OF_THE_REOPENING: Final = len(POINTS) * len(WRITES)
"""The number of its account: each death has one of its own."""
Die = Callable[[Point, Asked], int]


@pytest.fixture(scope="module")
def venue() -> Iterator[Simulator]:
    with Simulator(accounts=OF_THE_REOPENING + 1) as running:
        yield running


@pytest.fixture
def die(services: dict[str, str], venue: Simulator, settings: Settings) -> Iterator[Die]:
    """Let a worker of its own look, and die there; return how its process ended."""
    places = endpoints_of(venue)
    settings.LN_MARKETS_ENDPOINTS = {Network.PAPER: places}
    settings.PRIVATE_CALLS_PER_S = settings.PUBLIC_CALLS_PER_S = 10_000
    variables = services | {
        "DJANGO_SETTINGS_MODULE": "hubdefisats.settings",
        "LN_MARKETS_NETWORK": "paper",
        "LN_MARKETS_API_URL": places.api_url,
        "LN_MARKETS_STREAM_URL": places.stream_url,
        "PRIVATE_CALLS_PER_S": "10000",
        "PUBLIC_CALLS_PER_S": "10000",
    }
    command = (sys.executable, "-m", "tests.faults.mortal")
    with subprocess.Popen(
        command, cwd=ROOT, env=variables, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdin
        assert process.stdout
        assert process.stdout.readline() == "ready\n"
        asking, answers = process.stdin, process.stdout

        def look(point: Point, asked: Asked) -> int:
            message = {"automation": asked.automation_id, "position": asked.position_id}
            asking.write(json.dumps(message | {"point": asdict(point)}) + "\n")
            asking.flush()
            return int(answers.readline())

        yield look
        asking.close()


def test_a_killed_worker_leaves_nothing_undone_and_nothing_twice(die: Die, venue: Simulator) -> None:
    for number, (name, point) in enumerate(POINTS.items()):
        _dies(die, _scene(venue, number), _QUICK[0], point, name)
    check_the_chain()


@pytest.mark.full
@pytest.mark.parametrize("write", _MORTAL, ids=lambda write: write.name)
def test_so_it_is_with_every_write(die: Die, venue: Simulator, write: Write) -> None:
    first = WRITES.index(write) * len(POINTS)
    for number, (name, point) in enumerate(POINTS.items()):
        _dies(die, _scene(venue, first + number), write, point, f"{write.name}: {name}")
    check_the_chain()


def test_a_worker_killed_between_close_and_reopening_leaves_a_close_that_says_so(
    die: Die, venue: Simulator
) -> None:
    scene = _scene(venue, OF_THE_REOPENING)
    (reduces,) = (write for write in WRITES if write.name == "close to reduce")
    asked = reduces.arm(scene)

    assert die(CLOSED, asked) == KILLED
    reconciling.settle_all()

    assert scene.client.rest.running_trades() == (), "nothing is opened late"
    closed = Execution.objects.get()
    assert closed.state == Execution.State.CONFIRMED
    assert "flat" in closed.error
    assert "flat" in JournalEntry.objects.latest("id").message


def _scene(venue: Simulator, number: int) -> Scene:
    move(venue, START)
    draws = Random(number)  # noqa: S311 - chance, not a secret
    return Scene(venue=venue, account=new_account(venue, number), draws=draws)


def _dies(die: Die, scene: Scene, write: Write, point: Point, where: str) -> None:
    """Let one worker die, another look at once, and a third once nothing can arrive any more."""
    asked = write.arm(scene)
    before, known = scene.effects(write.path), _executions(scene)

    assert die(point, asked) == KILLED, f"came by {where}"
    asked.look()
    assert scene.effects(write.path) - before <= 1, where
    long_ago()
    reconciling.settle_all()
    word = asked.look()

    assert scene.effects(write.path) - before == 1, f"{where}: {word}"
    made = _executions(scene) - known
    assert {each.state for each in made} <= {State.CONFIRMED, State.NOT_APPLIED}, where
    done = [each for each in made if each.state == State.CONFIRMED and each.follows is None]
    assert len(done) == 1, where
    for each in made:
        intents = JournalEntry.objects.filter(execution=each, event__endswith="_intended")
        assert intents.count() == 1, where


def _executions(scene: Scene) -> set[Execution]:
    return set(Execution.objects.filter(account=scene.account))
