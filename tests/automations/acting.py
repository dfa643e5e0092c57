"""What tests of the write path do again and again: look, move the past back, ask what happened."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import Any

from django.db import connection
from django.utils import timezone

from accounts.gateway import redis_client
from automations import reading_back, services, suspending
from automations.executing import Cause
from automations.locking import position_lock
from automations.models import Automation, Execution, JournalEntry
from exchange.client import Client
from exchange.cross import NewCrossOrder
from exchange.formulas import Side
from exchange.money import Sats, Usd
from exchange.position import CROSS, Position, PositionId
from exchange.simulator.ledger import WriteRecord
from exchange.simulator.running import Simulator

SWEEP = Cause(origin=Execution.Origin.SWEEP)
ISOLATED = "/v3/futures/isolated/trade"
ADD_MARGIN = f"{ISOLATED}/add-margin"
CLOSE = f"{ISOLATED}/close"
STOPLOSS = f"{ISOLATED}/stoploss"
TAKEPROFIT = f"{ISOLATED}/takeprofit"
DEPOSIT = "/v3/futures/cross/deposit"
CROSS_ORDER = "/v3/futures/cross/order"
CROSS_CLOSE = "/v3/futures/cross/position/close"


def effects(venue: Simulator, path: str = ADD_MARGIN) -> int:
    """Count what truly happened, at the exchange."""
    return sum(write.applied for write in venue.writes() if write.path == path)


def written(venue: Simulator) -> list[str]:
    """Return the path of every write that had an effect, without what all have in common."""
    return [write.path.removeprefix("/v3/futures/") for write in venue.writes() if write.applied]


def last_write(venue: Simulator) -> WriteRecord:
    return venue.writes()[-1]


def move(venue: Simulator, price: int | str) -> None:
    """Move the price, and let nobody decide on the one before: it may be some seconds old."""
    venue.set_price(price)
    redis_client().flushdb()


def look(automation: Automation, position: Position | PositionId | str) -> str:
    """Let a worker look, and return in a word what came of it."""
    at = PositionId(position.id if isinstance(position, Position) else position)
    return str(and_read_back(services.act(automation.pk, at, SWEEP))["status"])


def enter(entry: Automation) -> dict[str, Any]:
    """Let a worker look at an entry, and return its answer."""
    return and_read_back(services.act(entry.pk, None, SWEEP))


def and_read_back(answer: dict[str, Any]) -> dict[str, Any]:
    """Do at once what the worker leaves to another queue."""
    answer.pop("acted", None)
    for due in Execution.objects.filter(read_back_due=True).order_by("id"):
        reading_back.read_back(due.pk)
    return answer


def rest_until_ready(automation: Automation) -> None:
    """Let the automation's rest be over by moving its past back."""
    past = timezone.now() - timedelta(hours=1)
    Execution.objects.filter(automation=automation, settled_at__isnull=False).update(settled_at=past)


def unanswered() -> None:
    """Let the newest action be one whose answer never came, and nobody have looked since."""
    newest = Execution.objects.latest("id")
    Execution.objects.filter(pk=newest.pk).update(state="unknown", settled_at=None, read_back_due=False)


def a_moment_ago() -> None:
    """Let what an unanswered request did have had the time to show."""
    Execution.objects.update(decided_at=timezone.now() - timedelta(seconds=2))


def ask_keys_again(*after_s: int) -> None:
    """Let keys be asked again so many seconds from now; by default twice, after their first refusal."""
    for seconds in after_s or (4, 20):
        moment = timezone.now() + timedelta(seconds=seconds)
        suspending.ask_again(clock=lambda moment=moment: moment)  # type: ignore[misc]


def long_ago() -> None:
    """Let every request of the past have arrived or never arrive."""
    Execution.objects.update(decided_at=timezone.now() - timedelta(minutes=2))


@contextmanager
def held_elsewhere(name: str) -> Iterator[None]:
    """Let another worker hold a position meanwhile."""
    held, done = threading.Event(), threading.Event()

    def work() -> None:
        with position_lock(name) as mine:
            assert mine
            held.set()
            done.wait(60)
        connection.close()

    worker = threading.Thread(target=work)
    worker.start()
    try:
        assert held.wait(20)
        yield
    finally:
        done.set()
        worker.join(20)


def states() -> list[str]:
    return [execution.state for execution in Execution.objects.order_by("id")]


def events() -> list[str]:
    return [entry.event for entry in JournalEntry.objects.order_by("id")]


def reported(execution: Execution) -> str:
    """Return the error that the execution reports, beside whom it concerns."""
    report, account = execution.report, execution.account
    assert report is not None
    assert (report["status"], report["accountName"]) == ("error", account.name)
    return str(report["error"])


def reasons() -> list[str]:
    """Return why gates refused, in order."""
    held = JournalEntry.objects.filter(event__endswith="_held").order_by("id")
    return [entry.data["reason"] for entry in held]


def check_the_chain() -> None:
    """See that every entry is sealed to the one before it, account by account."""
    last: dict[int, str] = {}
    for entry in JournalEntry.objects.order_by("id"):
        assert entry.previous_hash == last.get(entry.account_id, "")
        assert entry.hash == entry.computed_hash()
        last[entry.account_id] = entry.hash


def open_cross(
    client: Client, *, margin: int = 500_000, quantity: int = 1000, side: Side = Side.BUY
) -> Position:
    """With the usual numbers: long 1,000 USD from 100,000, liquidated at about 66,900."""
    client.rest.cross.deposit(Sats(margin))
    client.rest.cross.order(NewCrossOrder(side=side, quantity=Usd(quantity)))
    return cross(client)


def cross(client: Client) -> Position:
    running = client.rest.cross.position().running()
    assert running is not None
    assert running.id == CROSS
    return running
