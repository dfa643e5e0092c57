"""Many workers at once: five automations really run together, one position never twice."""

import hashlib
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor

import pytest
from django.db import connection

from accounts.gateway import redis_client
from accounts.models import Account
from automations.models import Execution, GuardStep, MarginGuard
from exchange.client import Client
from exchange.config import PRIVATE_RATE, PUBLIC_RATE
from exchange.position import Position
from exchange.ratelimit import Scope
from exchange.sharedlimit import SharedLimiter
from exchange.simulator.running import Simulator
from tests.automations.acting import ADD_MARGIN, check_the_chain, effects, look, move
from tests.automations.conftest import open_long
from tests.waiting import wait_until

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def venue() -> Iterator[Simulator]:
    """A paper exchange that takes its time over every answer."""
    with Simulator(latency_ms=150) as simulator:
        yield simulator


def at_once(looks: Sequence[Callable[[], str]]) -> list[str]:
    """Run every look in a worker of its own, with a connection of its own; return their words."""
    start = threading.Barrier(len(looks))
    words = [""] * len(looks)

    def work(number: int) -> None:
        start.wait(5)
        words[number] = looks[number]()
        connection.close()

    threads = [threading.Thread(target=work, args=(number,)) for number in range(len(looks))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(15)
    return words


def guards(account: Account, number: int) -> list[MarginGuard]:
    made = []
    for index in range(number):
        guard = MarginGuard.objects.create(enabled=True, account=account, name=f"guard {index}")
        guard.steps.create(
            threshold_percent=50, does=GuardStep.Does.ADD_FIXED, amount_sats=1_000 + index
        )
        made.append(guard)
    return made


def test_five_automations_run_at_once(venue: Simulator, client: Client, account: Account) -> None:
    pairs = [(guard, open_long(client)) for guard in guards(account, 5)]
    move(venue, 95_000)

    words = at_once([lambda pair=pair: look(*pair) for pair in pairs])  # type: ignore[misc]

    assert words == ["confirmed"] * 5
    assert effects(venue) == 5
    rows = Execution.objects.all()
    last_began = max(row.decided_at for row in rows)
    assert all(row.settled_at and row.settled_at > last_began for row in rows), "all were under way"
    check_the_chain()


def test_two_automations_never_act_on_one_position_at_once(
    venue: Simulator, long: Position, account: Account
) -> None:
    both = guards(account, 2)
    move(venue, 94_000)

    words = at_once([lambda guard=guard: look(guard, long) for guard in both])  # type: ignore[misc]

    assert sorted(words) == ["another worker has it", "confirmed"]
    assert effects(venue) == 1
    check_the_chain()


def test_budget_of_an_account_holds_whoever_spends_at_once(
    venue: Simulator, client: Client, account: Account
) -> None:
    Account.objects.update(budget_per_day_sats=2_500)
    pairs = [(guard, open_long(client)) for guard in guards(account, 3)]
    move(venue, 95_000)

    words = at_once([lambda pair=pair: look(*pair) for pair in pairs])  # type: ignore[misc]

    assert words == ["confirmed"] * 3, "the last one with what was left"
    assert Execution.objects.spending().sats() == 2_500
    check_the_chain()


def test_the_reserve_of_an_account_stays_whoever_spends_at_once(
    venue: Simulator, client: Client, account: Account
) -> None:
    pairs = [(guard, open_long(client)) for guard in guards(account, 3)]
    reserve = venue.balance() - 1_500
    Account.objects.update(reserve_sats=reserve)
    move(venue, 95_000)

    at_once([lambda pair=pair: look(*pair) for pair in pairs])  # type: ignore[misc]

    assert venue.balance() >= reserve
    assert Execution.objects.exists()


def test_of_two_rescues_that_wait_for_the_exchange_s_limit_the_nearer_to_liquidation_goes_first(
    venue: Simulator, client: Client, account: Account
) -> None:
    far, near = (open_long(client, leverage=leverage) for leverage in (5, 10))
    first, second = guards(account, 2)
    for guard in (first, second):
        guard.steps.update(threshold_percent=40)
    move(venue, 90_950)
    client.snapshot(5)
    client.balance()
    owner = hashlib.sha256(account.credentials().key.encode()).hexdigest()[:16]
    SharedLimiter(redis_client(), {Scope.PRIVATE: PRIVATE_RATE}).hold(Scope.PRIVATE, owner, after_s=2.5)

    with ThreadPoolExecutor(2) as workers:
        for waiting, (guard, position) in enumerate([(first, far), (second, near)], 1):
            workers.submit(look, guard, position).add_done_callback(lambda _: connection.close())
            wait_until(
                lambda waiting=waiting: (  # type: ignore[misc]
                    redis_client().hlen(f"rate:private:{owner}:waiting") == waiting
                ),
                what="it waits",
            )

    added = [write for write in venue.writes() if write.path == ADD_MARGIN and write.applied]
    assert [write.trade for write in added] == [near.id, far.id]


def test_a_ban_of_an_hour_stops_no_rescue_and_none_of_the_reads_it_needs(
    venue: Simulator, client: Client, account: Account
) -> None:
    position, (guard,) = open_long(client), guards(account, 1)
    Account.objects.update(reserve_sats=1)
    move(venue, 95_000)
    limiter = SharedLimiter(redis_client(), {Scope.PRIVATE: PRIVATE_RATE, Scope.PUBLIC: PUBLIC_RATE})
    owner = hashlib.sha256(account.credentials().key.encode()).hexdigest()[:16]
    for scope, whose in ((Scope.PRIVATE, owner), (Scope.PUBLIC, venue.rest.removesuffix("/v3"))):
        limiter.hold(scope, whose, after_s=3_600)

    assert look(guard, position) == "confirmed"

    assert effects(venue) == 1
    for scope, whose in ((Scope.PRIVATE, owner), (Scope.PUBLIC, venue.rest.removesuffix("/v3"))):
        assert limiter.wait_s(scope, whose) <= 1, "the exchange answers: the ban is over"
