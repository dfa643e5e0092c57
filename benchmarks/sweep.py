"""How long it takes to weigh every guard of many accounts from the live view, and find nothing due.

Rival: one message to a worker for each guard, whose task weighs that one from the same live view.
A few hundred of them are measured, and the rest is extrapolated.
"""

import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from decimal import Decimal
from typing import TYPE_CHECKING, Any, Final

from benchmarks import report
from benchmarks.platform import Platform, accounts, platform, wait_for, workers
from benchmarks.report import Aim
from benchmarks.timing import Unit, spread
from exchange.formulas import Side
from exchange.market import Quote, Source
from exchange.money import Sats, Usd, UsdPerBtc
from exchange.position import Position, PositionId, PositionsSnapshot
from hubdefisats.stack.programs import WORKER

if TYPE_CHECKING:
    from accounts.models import Account

ACCOUNTS: Final = 1000
GUARDS: Final = 10
"""Of each account, all for its one position, each with another threshold."""
SWEEPS: Final = 10
MESSAGES: Final = 300
QUEUE: Final = "automation-execute"
PRICE: Final = UsdPerBtc(Decimal(100_000))
MOST_S: Final = 2
LEAST_TIMES: Final = 10
LONG: Final = Position(
    id=PositionId("long"),
    side=Side.BUY,
    quantity=Usd(1000),
    entry=PRICE,
    margin=Sats(100_000),
    maintenance_margin=Sats(1000),
    liquidation=UsdPerBtc(Decimal(90_909)),
    leverage=Decimal(10),
    stoploss=None,
    takeprofit=None,
    filled_at=None,
    client_id=None,
)


def guarded(owned: Sequence["Account"]) -> list[int]:
    """Make the guards; return their ids, one of each account after the other."""
    from django.db import transaction  # noqa: PLC0415 - Django is ready only now

    from automations.models import GuardStep, MarginGuard  # noqa: PLC0415

    with transaction.atomic():
        guards = [
            MarginGuard.objects.create(account=account, name=f"guard {number}", metric="margin_used")
            for number in range(GUARDS)
            for account in owned
        ]
        GuardStep.objects.bulk_create(
            GuardStep(
                guard=guard,
                threshold_percent=50 + number % GUARDS,
                does=GuardStep.Does.ADD_FIXED,
                amount_sats=1000,
            )
            for number, guard in enumerate(guards)
        )
    return [guard.pk for guard in guards]


def show(owned: Sequence["Account"]) -> None:
    """Put the price and every account's position into the live view, as seen right now."""
    from accounts.gateway import live_view  # noqa: PLC0415 - Django is ready only now

    now, live = datetime.now(UTC), live_view()
    quote = Quote(price=PRICE, at=now, time_ms=time.time_ns() // 1_000_000, source=Source.STREAM)
    live.put_price("paper", quote)
    for account in owned:
        own = replace(LONG, id=position_of(account.pk))
        live.put_positions(
            account.pk, PositionsSnapshot(positions=(own,), at=now, source=Source.STREAM)
        )


def position_of(account_id: int) -> PositionId:
    return PositionId(f"long of {account_id}")


def swept(owned: Sequence["Account"]) -> Iterator[float]:
    """Weigh all guards again and again; yield how many seconds each time took."""
    from automations import services  # noqa: PLC0415 - Django is ready only now
    from automations.models import MarginGuard  # noqa: PLC0415

    for _ in range(SWEEPS):
        show(owned)
        began_s = time.perf_counter()
        if found := list(services.due(MarginGuard)):
            raise RuntimeError(f"{len(found)} are due, though the price stands still")
        yield time.perf_counter() - began_s


def one_by_one(running: Platform, owned: Sequence["Account"], guards: Sequence[int]) -> float:
    """Send so many messages to a worker; return after how many seconds the last was done."""
    from automations import tasks  # noqa: PLC0415 - Django is ready only now

    with running.running(WORKER):
        wait_for(workers, within_s=60, what="the worker answers")
        before = done()
        show(owned)
        began_s = time.perf_counter()
        for number in range(MESSAGES):
            tasks.send(guards[number], position_of(owned[number].pk), urgent=False)
        wait_for(lambda: done() >= before + MESSAGES, within_s=120, what="every message is done")
        return time.perf_counter() - began_s


def done() -> int:
    """Return how many looks the worker began, once it has none left that did not end."""
    from hubdefisats.celery import app  # noqa: PLC0415 - Django is ready only now

    asked = app.control.inspect(timeout=5, limit=1)
    begun = sum(
        each["total"].get("automations.tasks.act", 0) for each in (asked.stats() or {}).values()
    )
    still = asked.active()
    return 0 if still is None or any(still.values()) else begun


def measured(running: Platform) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return what the sweep takes, and its rival."""
    owned = accounts(running, ACCOUNTS)
    guards = guarded(owned)
    first_s, *taken_s = swept(owned)
    rival_s = one_by_one(running, owned, guards)
    figures = {"accounts": ACCOUNTS, "automations": len(guards), "first_s": round(first_s, 4)}
    rival = {
        "what": "a message for each, to a worker; the whole is extrapolated from those measured",
        "messages": MESSAGES,
        "measured_s": round(rival_s, 4),
        "whole_s": round(rival_s * len(guards) / MESSAGES, 2),
    }
    return figures | spread(taken_s, Unit.S), rival


def main() -> None:
    folder = report.parser(__doc__ or "").parse_args(sys.argv[1:]).results
    with platform("--accounts", str(ACCOUNTS)) as running:
        figures, rival = measured(running)
    times = round(rival["whole_s"] / figures["p50_s"], 1)
    report.publish(
        report.Report(
            benchmark="sweep",
            figures=figures,
            rival=rival,
            aims={
                "p50_s": Aim(measured=figures["p50_s"], at_most=MOST_S),
                "times_the_rival": Aim(measured=times, at_least=LEAST_TIMES),
            },
        ),
        folder,
    )


if __name__ == "__main__":
    main()
