"""How often a worker asks PostgreSQL and Redis between a tick and its order: each takes time."""

import re
from collections.abc import Callable
from typing import Any

import pytest
import redis
from django.conf import settings
from django.db import connection
from redis.client import Monitor

from automations import services
from automations.models import MarginGuard
from exchange.client import Client
from exchange.position import Position
from exchange.simulator.running import Simulator
from tests.automations.acting import SWEEP, effects, look, move, rest_until_ready
from tests.automations.asking import heard, is_asked, text_of

_KNOWN = re.compile(
    r"FOR NO KEY UPDATE|SET LOCAL synchronous_commit|pg_try_advisory_lock|(FROM|INTO) automations_\w+"
)

pytestmark = pytest.mark.django_db(transaction=True)


class UntilItLeaves:
    """Keeps what is asked before the execution is marked as sent, the last thing before the request."""

    def __init__(self, commands: Monitor) -> None:
        self.statements: list[str] = []
        self.commands: list[str] = []
        self._left = False
        self._commands = commands

    def __call__(
        self, execute: Callable[..., Any], sql: str, params: Any, many: bool, context: Any
    ) -> Any:
        if not self._left and is_asked(sql):
            self.statements.append(" ".join(sql.split()))
        if "SET state = %s" in sql:
            self._left = True
            self.commands = heard(self._commands)
        return execute(sql, params, many, context)


def asked_for(statement: str) -> str:
    """Return the words by which a statement is known."""
    plain = text_of(statement).replace('"', "")
    found = _KNOWN.search(plain)
    assert found, plain
    return found[0]


def test_between_a_tick_and_its_order_nothing_is_asked_twice(
    venue: Simulator, client: Client, long: Position, guard: MarginGuard
) -> None:
    move(venue, 95_000)
    look(guard, long)
    rest_until_ready(guard)
    move(venue, 92_000)
    client.snapshot(5)  # as the stream process leaves it
    client.balance()

    with redis.Redis.from_url(settings.REDIS_URL) as other, other.monitor() as commands:
        asked = UntilItLeaves(commands)
        with connection.execute_wrapper(asked):
            word = services.act(guard.pk, long.id, SWEEP)["status"]
    assert word == "confirmed"
    assert effects(venue) == 2
    # With BEGIN and COMMIT, eleven round trips; each keeps a promise of its own.
    assert [asked_for(each) for each in asked.statements] == [
        "FROM automations_marginguard",  # it is enabled, its account may act, nobody quarantined it
        "FROM automations_guardstep",
        "FROM automations_positionthreshold",
        "pg_try_advisory_lock",  # nobody else acts on the position
        "FROM automations_execution",  # an earlier action on it is settled, and older than what is seen
        "FROM automations_spentstep",  # what acted once waits, also after a restart
        "FOR NO KEY UPDATE",  # switches, budgets and rests, with no other action of the account beside
        "INTO automations_execution",  # the intent
        "SET LOCAL synchronous_commit",  # it is sent
    ]
    # The count of looks with its expiry, at once; then price, positions and balance at once; then the
    # turn under the key's limit, whose script asks Redis for more.
    assert asked.commands[:4] == ["INCRBY", "EXPIRE", "MGET", "EVALSHA"]
    assert asked.commands.count("EVALSHA") == 1
