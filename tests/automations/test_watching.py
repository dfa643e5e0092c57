"""One account's positions: read, armed, read again, and never taken for fewer than they are."""

import json
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Executor, ThreadPoolExecutor
from dataclasses import replace
from decimal import Decimal
from fractions import Fraction
from typing import Any

import pytest
from pytest_django.fixtures import Settings

from accounts.gateway import live_view, rest_client
from accounts.models import Account
from automations.crossing import Crossing
from automations.models import MarginGuard
from automations.triggers import Trigger
from automations.watching import Watch, Watched
from exchange.client import Client
from exchange.config import Network
from exchange.formulas import Side
from exchange.money import Usd
from exchange.position import Position
from exchange.simulator.running import Simulator
from exchange.trade import NewTrade
from tests.automations.conftest import open_long
from tests.automations.test_crossing import between
from tests.exchange.documents import running_trade
from tests.exchange.scripted import Answer, scripted_exchange
from tests.waiting import wait_until

RUNNING = "/v3/futures/isolated/trades/running"


class ByHand(Executor):
    """Keeps what it was given until it is told to do it."""

    def __init__(self) -> None:
        self.waiting: list[Callable[[], None]] = []

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Any:
        self.waiting.append(lambda: fn(*args, **kwargs))

    def work(self) -> int:
        """Do everything there is to do; return how much that was."""
        done = 0
        while self.waiting:
            self.waiting.pop(0)()
            done += 1
        return done


@pytest.fixture
def fired() -> list[Trigger]:
    return []


@pytest.fixture
def crossing(fired: list[Trigger]) -> Crossing:
    return Crossing(lambda trigger, _tick: fired.append(trigger))


@pytest.fixture
def hands() -> ByHand:
    return ByHand()


@pytest.fixture
def refused() -> list[tuple[int, str]]:
    return []


@pytest.fixture
def watched(account: Account, client: Client, guard: MarginGuard) -> Watched:
    return Watched(
        account_id=account.pk,
        name=account.name,
        network=Network.PAPER,
        client=client,
        credentials=account.credentials(),
        guards=((guard.pk, guard.config()),),
    )


@pytest.fixture
def watch(watched: Watched, crossing: Crossing, hands: ByHand, refused: list[tuple[int, str]]) -> Watch:
    return Watch(
        watched,
        crossing,
        live=live_view(),
        executor=hands,
        refused=lambda account_id, why: refused.append((account_id, why)),
    )


def test_each_position_is_armed_for_each_guard(
    watch: Watch, crossing: Crossing, hands: ByHand, client: Client, watched: Watched
) -> None:
    open_long(client)
    open_long(client)
    ((guard_id, config),) = watched.guards
    watch.change(replace(watched, guards=((guard_id, config), (guard_id + 1, config))))

    watch.reread()

    assert hands.work() == 1
    assert len(crossing) == 4


def test_what_was_read_is_in_the_live_view(
    watch: Watch, long: Position, account: Account, hands: ByHand
) -> None:
    watch.reread()
    hands.work()

    found = live_view().read(None, account.pk).positions
    assert found is not None
    assert [position.id for position in found.positions] == [long.id]


@pytest.mark.usefixtures("long")
def test_a_reading_that_fails_keeps_what_is_armed(
    watch: Watch,
    crossing: Crossing,
    hands: ByHand,
    venue: Simulator,
    caplog: pytest.LogCaptureFixture,
) -> None:
    watch.reread()
    hands.work()
    venue.fault("status", status=400, path=RUNNING)

    watch.reread()
    hands.work()

    assert len(crossing) == 1
    assert "positions not read" in caplog.text


def test_a_position_that_is_gone_is_disarmed(
    watch: Watch, crossing: Crossing, hands: ByHand, long: Position, client: Client
) -> None:
    watch.reread()
    hands.work()
    client.close(long.id)

    watch.reread()
    hands.work()

    assert len(crossing) == 0


def test_asked_several_times_before_it_reads_it_reads_once(watch: Watch, hands: ByHand) -> None:
    for _ in range(5):
        watch.reread()

    assert len(hands.waiting) == 1


class TestWithASlowExchange:
    """It takes 400 ms to answer."""

    @pytest.fixture
    def venue(self) -> Iterator[Simulator]:
        with Simulator(latency_ms=400) as simulator:
            yield simulator

    @pytest.fixture
    def watch(self, watched: Watched, crossing: Crossing) -> Iterator[Watch]:
        with ThreadPoolExecutor(1) as readers:
            yield Watch(watched, crossing, live=live_view(), executor=readers, refused=print)

    def test_asked_during_a_reading_it_reads_once_more(
        self, watch: Watch, crossing: Crossing, client: Client
    ) -> None:
        watch.reread()
        open_long(client)  # only after the reading began does it run
        watch.reread()

        wait_until(lambda: len(crossing) == 1, within_s=5, what="the new position is armed")

    def test_an_ended_watch_arms_nothing_that_it_was_still_reading(
        self, watch: Watch, crossing: Crossing, client: Client
    ) -> None:
        open_long(client)
        reading = threading.Thread(target=watch.read_now)
        reading.start()
        watch.end()
        reading.join(5)

        assert len(crossing) == 0


def test_an_older_reading_that_comes_late_does_not_replace_a_newer_one(
    watched: Watched, crossing: Crossing, hands: ByHand, settings: Settings
) -> None:
    with scripted_exchange() as script:
        script.then(Answer(content="[]", delay_s=0.5), Answer(content=json.dumps([running_trade()])))
        settings.LN_MARKETS_ENDPOINTS = {Network.PAPER: script.endpoints}
        client = Client(
            rest_client(Network.PAPER, watched.credentials), account_id=1, network=Network.PAPER
        )
        watch = Watch(
            replace(watched, client=client),
            crossing,
            live=live_view(),
            executor=hands,
            refused=print,
        )
        older = threading.Thread(target=watch.read_now)
        older.start()
        wait_until(lambda: script.requests, within_s=5, what="the older request arrived")
        watch.read_now()
        older.join(5)

    assert len(crossing) == 1


@pytest.mark.usefixtures("long")
def test_an_ended_watch_is_disarmed_and_reads_no_more(
    watch: Watch, crossing: Crossing, hands: ByHand
) -> None:
    watch.reread()
    hands.work()

    watch.end()
    watch.reread()

    assert len(crossing) == 0
    assert hands.waiting == []


@pytest.mark.usefixtures("long")
def test_a_watch_ended_before_its_turn_does_not_read(
    watch: Watch, hands: ByHand, account: Account
) -> None:
    watch.reread()
    watch.end()

    hands.work()

    assert live_view().read(None, account.pk).positions is None


def test_a_refused_key_is_reported(
    watch: Watch, hands: ByHand, venue: Simulator, account: Account, refused: list[tuple[int, str]]
) -> None:
    venue.fault("status", status=401, path=RUNNING, next=5)

    watch.reread()
    hands.work()

    ((account_id, why),) = refused
    assert account_id == account.pk
    assert "refused the key (401" in why


@pytest.mark.usefixtures("long")
def test_new_thresholds_are_armed_on_what_is_known(
    watch: Watch, crossing: Crossing, fired: list[Trigger], hands: ByHand, watched: Watched
) -> None:
    watch.reread()
    hands.work()
    ((guard_id, config),) = watched.guards

    watch.change(replace(watched, guards=((guard_id, replace(config, threshold=Fraction(1, 4))),)))

    assert hands.waiting == []
    crossing.look(between(97_561, 97_561))
    assert fired == []
    crossing.look(between(97_560, 97_560))
    assert [trigger.automation_id for trigger in fired] == [guard_id], "a quarter of the margin lost"


def test_guards_that_change_before_the_first_reading_arm_nothing_yet(
    watch: Watch, crossing: Crossing, watched: Watched
) -> None:
    watch.change(replace(watched, guards=()))

    assert len(crossing) == 0


def test_a_position_that_no_price_endangers_arms_nothing(
    watch: Watch, crossing: Crossing, hands: ByHand, client: Client, watched: Watched
) -> None:
    client.open_trade(NewTrade(side=Side.SELL, leverage=Decimal(1), quantity=Usd(1000)))
    ((guard_id, config),) = watched.guards
    watch.change(replace(watched, guards=((guard_id, replace(config, threshold=Fraction(1))),)))

    watch.reread()
    hands.work()

    assert len(crossing) == 0


def test_it_reads_again_when_its_last_reading_is_too_old(watch: Watch, hands: ByHand) -> None:
    watch.reread_if_older_than(3600)
    assert hands.work() == 1, "nothing was read so far"

    watch.reread_if_older_than(3600)
    assert hands.work() == 0

    watch.reread_if_older_than(0)
    assert hands.work() == 1
