"""One account of many whose requests are never answered: what do the others notice?

Three groups of as many accounts have their guards switched on one after the other, on one platform: to
warm up, all sound, and with one account whose requests time out from when it is armed. For each group
the price falls until every guard has acted, some twenty a second; the figure is from the tick to the
order. The exchange answers after 20 ms.
"""

import sys
import time
from collections.abc import Sequence
from contextlib import ExitStack
from decimal import Decimal
from statistics import quantiles
from typing import TYPE_CHECKING, Any, Final

import requests

from benchmarks import report
from benchmarks.platform import Platform, accounts, armed, open_longs, platform, wait_for, workers
from benchmarks.report import Aim
from hubdefisats.stack.programs import STREAM, WORKER, urgent

if TYPE_CHECKING:
    from accounts.models import Account

WORKERS: Final = (*urgent(), WORKER)
LATENCY_MS: Final = 20
START: Final = Decimal(100_000)
DEPTH: Final = 8_000
ADD: Final = "/v3/futures/isolated/trade/add-margin"
AMOUNT: Final = 50_000
PER_S: Final = 20
MOST_PERCENT: Final = 10


def guarded(group: Sequence["Account"]) -> None:
    """Let each guard of the group, and no other, act, at a price of its own."""
    from automations.models import GuardStep, MarginGuard  # noqa: PLC0415 - Django is ready only now

    MarginGuard.objects.update(enabled=False)
    for number, account in enumerate(group):
        guard = MarginGuard.objects.create(
            enabled=True,
            account=account,
            name="guard",
            metric="margin_used",
            backstop=False,
            budget_per_position_sats=AMOUNT,  # once
        )
        threshold = round(10 + Decimal(number) * 60 / len(group), 2)
        guard.steps.create(
            threshold_percent=threshold, does=GuardStep.Does.ADD_FIXED, amount_sats=AMOUNT
        )


def taken_ms(running: Platform, group: Sequence["Account"], bad: "Account | None") -> list[float]:
    """Let the price fall; return how long the orders of the sound accounts took."""
    sound = [account for account in group if account != bad]
    running.set_price(START)
    guarded(group)
    wait_for(lambda: armed(running) == len(group), within_s=180, what="every guard is armed")
    if bad is not None:
        fault = {"kind": "delay", "ms": 60_000, "probability": 1, "account": bad.credentials().key}
        requests.post(f"{running.paper.control}/faults", json=fault, timeout=10).raise_for_status()
    steps = len(group) * 2
    for step in range(steps):
        running.set_price(START - round(DEPTH * (step + 1) / steps))
        time.sleep(1 / PER_S / 2)
    keys = {account.credentials().key for account in sound}
    wait_for(lambda: len(applied(running, keys)) == len(sound), within_s=60, what="all have acted")
    return sorted(_joined_ms(running, sound, keys))


def _joined_ms(running: Platform, sound: Sequence["Account"], keys: set[str]) -> list[float]:
    from automations.models import Execution  # noqa: PLC0415 - Django is ready only now

    sent = {(each["time"], Decimal(str(each["price"]))): each["sent_at_us"] for each in running.ticks()}
    received = {each["params"]["id"]: each["received_at_us"] for each in applied(running, keys)}
    made = Execution.objects.filter(account__in=sound, does="add_margin", tick_time_ms__isnull=False)
    return [
        (received[each.position_id] - sent[each.tick_time_ms, each.tick_price]) / 1000
        for each in made
        if each.tick_time_ms is not None and each.tick_price is not None
    ]


def applied(running: Platform, keys: set[str]) -> list[dict[str, Any]]:
    return [
        each
        for each in running.writes()
        if each["path"] == ADD and each["applied"] and each["account"] in keys
    ]


def measured(running: Platform, count: int) -> dict[str, list[float]]:
    open_longs(running, accounts=3 * count, each=1)
    owned = accounts(running, 3 * count)
    warm, sound, ill = owned[:count], owned[count : 2 * count], owned[2 * count :]
    with ExitStack() as processes:
        for program in (*WORKERS, STREAM):
            processes.enter_context(running.running(program))
        wait_for(lambda: workers() == len(WORKERS), within_s=60, what="the workers answer")
        taken_ms(running, warm, None)
        return {
            "sound": taken_ms(running, sound, None),
            "one_bad": taken_ms(running, ill, ill[count // 2]),
        }


def main() -> None:
    parser = report.parser(__doc__ or "")
    parser.add_argument("--accounts", type=int, default=200, metavar="N", help="of a group")
    chosen = parser.parse_args(sys.argv[1:])
    count = chosen.accounts
    options = ("--accounts", str(3 * count), "--latency-ms", str(LATENCY_MS))
    with platform(*options) as running:
        found = measured(running, count)
    p50 = {name: round(quantiles(took, n=100)[49], 2) for name, took in found.items()}
    p99 = {name: round(quantiles(took, n=100)[98], 2) for name, took in found.items()}
    worse = round((p99["one_bad"] / p99["sound"] - 1) * 100, 1)
    report.publish(
        report.Report(
            benchmark="bad_account",
            figures={
                "accounts": count,
                "latency_ms": LATENCY_MS,
                "others_p50_ms": p50["one_bad"],
                "others_p99_ms": p99["one_bad"],
                "p99_worse_percent": worse,
            },
            floor={"p50_ms": p50["sound"], "p99_ms": p99["sound"]},
            aims={"p99_worse_percent": Aim(measured=worse, at_most=MOST_PERCENT)},
        ),
        chosen.results,
    )


if __name__ == "__main__":
    main()
