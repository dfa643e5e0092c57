"""The exchange did it and its answer was lost: whatever comes next, each write happens once.

A few seeded runs of each write are told with all tests, 1,000 of each by `make test-faults`; a run
that fails names its seed, and FAULTS_SEED begins there.
"""

import os
from collections.abc import Callable
from contextlib import suppress
from random import Random

import pytest
from pytest_django.fixtures import Settings

from accounts.gateway import redis_client
from automations import reconciling, services
from automations.models import Execution, JournalEntry
from automations.models.kinds import KINDS
from exchange.config import Network
from exchange.errors import ExchangeError
from exchange.simulator.running import Simulator
from tests.automations.acting import SWEEP, a_moment_ago, and_read_back, check_the_chain, move
from tests.automations.conftest import new_account
from tests.exchange.places import endpoints_of
from tests.faults.writes import START, WRITES, Asked, Scene, Write

RUNS = int(os.environ.get("FAULTS_RUNS", "4"))
FIRST_SEED = int(os.environ.get("FAULTS_SEED", "1"))
AT_ONCE = 50
"""Runs of one test: each has an account of its own on the same exchange."""

SEEDS = range(FIRST_SEED, FIRST_SEED + RUNS)
PARTS = [SEEDS[first : first + AT_ONCE] for first in range(0, RUNS, AT_ONCE)]


@pytest.mark.parametrize("seeds", PARTS, ids=lambda seeds: f"seeds {seeds[0]} to {seeds[-1]}")
@pytest.mark.parametrize("write", WRITES, ids=lambda write: write.name)
@pytest.mark.usefixtures("db", "redis_url")
@pytest.mark.timeout(300)
def test_a_write_whose_answer_is_lost_happens_once(
    settings: Settings, write: Write, seeds: range
) -> None:
    settings.PRIVATE_CALLS_PER_S = settings.PUBLIC_CALLS_PER_S = 10_000
    with Simulator(accounts=len(seeds)) as venue:
        settings.LN_MARKETS_ENDPOINTS = {Network.PAPER: endpoints_of(venue)}
        for number, seed in enumerate(seeds):
            move(venue, START)
            account = new_account(venue, number)
            draws = Random(f"{write.name} {seed}")  # noqa: S311 - chance, not a secret
            scene = Scene(venue=venue, account=account, draws=draws)
            try:
                _tell(scene, write)
            except AssertionError as error:
                error.add_note(f"FAULTS_SEED={seed} for {write.name!r}")
                raise
    check_the_chain()


def _tell(scene: Scene, write: Write) -> None:
    """Lose the answer, let some of what may come next come, then let all be settled."""
    asked, draws = write.arm(scene), scene.draws
    before, known = scene.effects(write.path), _executions(scene)
    scene.venue.fault("lost_answer", path=write.path, account=scene.key)
    if draws.random() < 0.3:  # what would prove it cannot always be read, either
        of_reads = {"status": 400, "method": "GET", "account": scene.key, "probability": 0.4}
        scene.venue.fault("status", seed=draws.randrange(1_000), **of_reads)
    while scene.effects(write.path) == before:
        _again(scene, asked)
    events = draws.choices(_COMES_NEXT, k=draws.randint(0, 4))
    for comes in events:
        comes(scene, asked)
    scene.venue.clear_faults()
    reconciling.settle_all()
    _again(scene, asked)

    told = [each.__name__ for each in events]
    assert scene.effects(write.path) - before == 1, told
    for execution in _executions(scene) - known:
        if execution.state == Execution.State.NOT_SENT:
            continue  # what had to be read right before the order could not be
        assert execution.state == Execution.State.CONFIRMED, told
        entries = JournalEntry.objects.filter(execution=execution)
        ends = entries.filter(event__regex="_(executed|reconciled)$")
        assert (entries.filter(event__endswith="_intended").count(), ends.count()) == (1, 1), told


def _executions(scene: Scene) -> set[Execution]:
    return set(Execution.objects.filter(account=scene.account))


def _again(scene: Scene, asked: Asked) -> None:  # noqa: ARG001 - as all that may come next
    """The same message comes again."""
    with suppress(ExchangeError):
        asked.look()


def _swept(scene: Scene, asked: Asked) -> None:  # noqa: ARG001 - likewise
    """Beat sweeps, and workers do what it finds due."""
    for kind in KINDS:
        for due in list(services.due(kind, [scene.account.pk])):
            with suppress(ExchangeError):
                and_read_back(services.act(due.automation_id, due.position_id, SWEEP))


def _settled(scene: Scene, asked: Asked) -> None:  # noqa: ARG001 - likewise
    reconciling.settle_all()


def _flushed(scene: Scene, asked: Asked) -> None:  # noqa: ARG001 - likewise
    redis_client().flushdb()


def _moment(scene: Scene, asked: Asked) -> None:  # noqa: ARG001 - likewise
    """A second passes, after which what does not show counts as not seen."""
    a_moment_ago()


_COMES_NEXT: tuple[Callable[[Scene, Asked], None], ...] = (
    _again, _again, _swept, _settled, _flushed, _moment,
)  # fmt: skip
