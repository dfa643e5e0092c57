"""One worker and one paper exchange for all stories of a module; an account of its own for each."""

import sys
from collections.abc import Iterator, Mapping
from itertools import count
from typing import Any, Final

import pytest
from pytest_django.fixtures import Settings

from accounts.gateway import client_for
from accounts.models import Account
from exchange.client import Client
from exchange.config import Network
from exchange.money import Sats
from exchange.position import Position, Regime
from exchange.simulator.running import Simulator
from tests.automations.acting import check_the_chain, move, open_cross
from tests.automations.conftest import new_account, open_long
from tests.exchange.places import endpoints_of
from tests.flows.worker import Worker

MOST_STORIES: Final = 64
_NUMBERS: Final = count()
_OURS: Final = {"id", "clientId"}
"""Parameters that no table can know."""


class Story:
    """One account at the exchange, and the worker that acts for it."""

    def __init__(self, worker: Worker, exchange: Simulator, account: Account) -> None:
        self.worker = worker
        self.exchange = exchange
        self.account = account
        self.client: Client = client_for(account)
        self._begun = 0

    def open(self, regime: Regime | str = Regime.ISOLATED) -> Position:
        """Open 1,000 USD long from 100,000: half is lost at 95,238, or at about 80,000 on cross."""
        opened = open_long(self.client) if regime == Regime.ISOLATED else open_cross(self.client)
        self._begun = len(self._writes())
        return opened

    def deposit(self, amount: int) -> None:
        """Put margin on the cross position, before anything is open there."""
        self.client.rest.cross.deposit(Sats(amount))
        self._begun = len(self._writes())

    def move(self, price: int | str) -> None:
        """Move the price, and let nobody decide on the one before."""
        move(self.exchange, price)

    def effects(self) -> list[tuple[str, dict[str, Any]]]:
        """Return path and parameters of what truly happened at the exchange since the opening."""
        return [
            (
                path.removeprefix("/v3/futures/"),
                {it: to for it, to in params.items() if it not in _OURS},
            )
            for path, params in self._writes()[self._begun :]
        ]

    def _writes(self) -> list[tuple[str, Mapping[str, object]]]:
        key = self.account.credentials().key
        return [
            (write.path, write.params)
            for write in self.exchange.writes()
            if write.applied and write.account == key
        ]


@pytest.fixture(scope="module")
def exchange() -> Iterator[Simulator]:
    """Its price moves only when told, orders execute at it, and nothing is limited."""
    with Simulator(accounts=MOST_STORIES) as running:
        yield running


@pytest.fixture(scope="module")
def worker(
    exchange: Simulator,
    django_db_setup: None,  # noqa: ARG001 - the worker finds this database
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Worker]:
    log = tmp_path_factory.mktemp("worker") / "stderr"
    with Worker(endpoints_of(exchange), log) as running:
        yield running


@pytest.fixture
def story(
    worker: Worker,
    exchange: Simulator,
    settings: Settings,
    transactional_db: None,  # noqa: ARG001 - the worker sees what is committed
    redis_url: str,  # noqa: ARG001 - empty before and after
) -> Iterator[Story]:
    """An account that no story used before, with the price at 100,000; its journal stays whole."""
    settings.LN_MARKETS_ENDPOINTS = {Network.PAPER: endpoints_of(exchange)}
    settings.PRIVATE_CALLS_PER_S = settings.PUBLIC_CALLS_PER_S = 10_000
    begun = len(worker.said())
    move(exchange, 100_000)
    yield Story(worker, exchange, new_account(exchange, next(_NUMBERS) % MOST_STORIES))
    worker.wait_until_idle()
    check_the_chain()
    sys.stderr.write(worker.said()[begun:])  # shown where the story failed
