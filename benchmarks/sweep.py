"""How long it takes to weigh all automations of many accounts from the live view, and find nothing due.

Each kind is swept by itself, as beat asks for it: guards, exits, entries, as many of each. Rival: one
message to a worker for each guard, whose task weighs that one from the same live view. A few hundred of
them are measured, and the rest is extrapolated.
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
    from automations.models.kinds import Kind

ACCOUNTS: Final = 1000
OF_EACH: Final = 10
"""Of each account and kind: guards and exits for its one position, each with another threshold."""
SWEEPS: Final = 10
MESSAGES: Final = 300
QUEUE: Final = "automation-execute"
KINDS: Final = ("guards", "exits", "entries")
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


def guard(account: "Account", number: int) -> int:
    """Make a guard that adds margin once half of it, or more, is lost; return its id."""
    from automations.models import MarginGuard  # noqa: PLC0415 - Django is ready only now

    made = MarginGuard.objects.create(
        enabled=True, account=account, name=f"guard {number}", metric="margin_used"
    )
    made.steps.create(threshold_percent=50 + number, does="add_fixed", amount_sats=1000)
    return made.pk


def exit_of(account: "Account", number: int) -> None:
    """Make one that moves the stop to break-even at a profit of half of the margin, or more."""
    from automations.models import TakeProfitStopLoss  # noqa: PLC0415 - Django is ready only now

    TakeProfitStopLoss.objects.create(
        enabled=True,
        account=account,
        name=f"exit {number}",
        does="update_sl",
        level="break_even",
        trigger_pnl_percentage=50 + number,
    )


def entry(account: "Account", number: int) -> None:
    """Make an entry that waits for a fall by a tenth, or more."""
    from automations.models import AutoEntry  # noqa: PLC0415 - Django is ready only now

    AutoEntry.objects.create(
        enabled=True,
        account=account,
        name=f"entry {number}",
        side=Side.BUY,
        quantity=1000,
        trigger_price=PRICE * 9 / 10 - number,
    )


def automated(owned: Sequence["Account"]) -> list[int]:
    """Make all automations; return the ids of the guards, one of each account after the other."""
    from django.db import transaction  # noqa: PLC0415 - Django is ready only now

    guards = []
    with transaction.atomic():
        for number in range(OF_EACH):
            for account in owned:
                guards.append(guard(account, number))
                exit_of(account, number)
                entry(account, number)
    return guards


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


def swept(kind: "type[Kind]", owned: Sequence["Account"]) -> Iterator[float]:
    """Weigh all of a kind again and again; yield how many seconds each time took."""
    from automations import services  # noqa: PLC0415 - Django is ready only now

    for _ in range(SWEEPS):
        show(owned)
        began_s = time.perf_counter()
        if found := list(services.due(kind)):
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
    from automations.models import kinds  # noqa: PLC0415 - Django is ready only now

    owned = accounts(running, ACCOUNTS)
    guards = automated(owned)
    figures: dict[str, Any] = {"accounts": ACCOUNTS, "automations_of_each_kind": len(guards)}
    for name, kind in zip(KINDS, kinds.KINDS, strict=True):
        first_s, *taken_s = swept(kind, owned)
        figures[name] = {"first_s": round(first_s, 4)} | spread(taken_s, Unit.S)
    rival_s = one_by_one(running, owned, guards)
    rival = {
        "what": "a message for each, to a worker; the whole is extrapolated from those measured",
        "messages": MESSAGES,
        "measured_s": round(rival_s, 4),
        "whole_s": round(rival_s * len(guards) / MESSAGES, 2),
    }
    return figures, rival


def main() -> None:
    folder = report.parser(__doc__ or "").parse_args(sys.argv[1:]).results
    with platform("--accounts", str(ACCOUNTS)) as running:
        figures, rival = measured(running)
    times = round(rival["whole_s"] / figures["guards"]["p50_s"], 1)
    report.publish(
        report.Report(
            benchmark="sweep",
            figures=figures,
            rival=rival,
            aims={
                **{
                    f"{name}_p50_s": Aim(measured=figures[name]["p50_s"], at_most=MOST_S)
                    for name in KINDS
                },
                "times_the_rival": Aim(measured=times, at_least=LEAST_TIMES),
            },
        ),
        folder,
    )


if __name__ == "__main__":
    main()
