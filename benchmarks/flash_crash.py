"""One tick crosses the trigger of every account at once: how long until all positions are protected.

Floor: the same orders, ready in memory, sent by a bare thread pool with as many threads as the
platform has for urgent work. The paper exchange keeps its limits, and answers after 100 ms.
"""

import json
import sys
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, suppress
from decimal import Decimal
from statistics import median
from threading import local
from typing import TYPE_CHECKING, Any, Final

import requests

from benchmarks import report
from benchmarks.platform import (
    Platform,
    accounts,
    armed,
    open_longs,
    per_order_ms,
    platform,
    wait_for,
    workers,
)
from benchmarks.report import Aim
from exchange.auth import rest_headers
from exchange.position import Position
from hubdefisats.stack.programs import STREAM, WORKER, urgent

if TYPE_CHECKING:
    from accounts.models import Account

URGENT: Final = urgent()
WORKERS: Final = (*URGENT, WORKER)
LATENCY_MS: Final = 100
CRASH: Final = Decimal(95_000)
"""Half of each margin is lost at 95,238."""
AMOUNT: Final = 50_000
ADD: Final = "/v3/futures/isolated/trade/add-margin"
PATIENCE_S: Final = 60.0
LATE_S: Final = 3.0
"""Looked on after the last position is protected, for an order that comes twice."""
MOST_S: Final = 3
MOST_TIMES_THE_FLOOR: Final = 2


def bare(running: Platform, positions: Sequence[Position]) -> float:
    """Send an order for each position; return after how many seconds the last one had arrived."""
    threads = sum(int(each.variables["WORKER_CONCURRENCY"]) for each in URGENT)
    of_thread = local()

    def send(number: int) -> int:
        session = getattr(of_thread, "session", None) or requests.Session()
        of_thread.session = session
        body = json.dumps({"id": positions[number].id, "amount": 1}, separators=(",", ":"))
        headers = rest_headers(
            running.paper.accounts[number],
            timestamp_ms=time.time_ns() // 1_000_000,
            method="POST",
            path=ADD,
            data=body,
        )
        headers["Content-Type"] = "application/json"
        url = f"{running.paper.endpoints.api_url}{ADD}"
        return int(session.post(url, data=body, headers=headers, timeout=30).status_code)

    began_us = time.time_ns() // 1000
    with ThreadPoolExecutor(threads) as pool:
        answers = Counter(pool.map(send, range(len(positions))))
    if set(answers) != {200}:
        raise RuntimeError(f"the floor's orders were answered {dict(answers)}")
    last_us = max(int(each["received_at_us"]) for each in running.writes())
    return (last_us - began_us) / 1e6


def guarded(owned: Sequence["Account"]) -> None:
    from automations.models import GuardStep, MarginGuard  # noqa: PLC0415 - Django is ready only now

    for account in owned:
        guard = MarginGuard.objects.create(
            enabled=True, account=account, name="guard", metric="margin_used"
        )
        guard.steps.create(threshold_percent=50, does=GuardStep.Does.ADD_FIXED, amount_sats=AMOUNT)


def crashed(running: Platform, count: int) -> dict[str, Any]:
    """Let the price fall; return what became of it. What was not seen to happen is None."""
    wait_for(lambda: workers() == len(WORKERS), within_s=60, what="the workers answer")
    wait_for(lambda: armed(running) == count, within_s=180, what="every guard is armed")
    before = running.processor_s()
    running.set_price(CRASH)
    with suppress(TimeoutError):
        wait_for(lambda: confirmed() == count, within_s=PATIENCE_S, what="all are protected")
    computed = per_order_ms(before, running.processor_s(), count)
    time.sleep(LATE_S)
    sent_us = next(
        tick["sent_at_us"] for tick in running.ticks() if Decimal(str(tick["price"])) == CRASH
    )
    first_us: dict[str, int] = {}
    for order in (found := applied(running)):
        first_us.setdefault(order["params"]["id"], order["received_at_us"])
    taken_s = sorted(round((received_us - sent_us) / 1e6, 3) for received_us in first_us.values())
    return {
        "protected": len(first_us),
        "last_order_s": taken_s[-1] if len(taken_s) == count else None,
        "median_order_s": round(median(taken_s), 3) if taken_s else None,
        "first_order_s": taken_s[0] if taken_s else None,
        "duplicates": len(found) - len(first_us),
        "processor_ms_per_order": computed,
    }


def confirmed() -> int:
    """Return how many orders are done, as the record has it: asking the exchange would slow it down."""
    from automations.models import Execution  # noqa: PLC0415 - Django is ready only now

    time.sleep(0.2)
    return Execution.objects.filter(state=Execution.State.CONFIRMED).count()


def applied(running: Platform) -> list[dict[str, Any]]:
    """Return the guards' orders that the exchange carried out, as they came."""
    return [
        each for each in running.writes() if each["params"].get("amount") == AMOUNT and each["applied"]
    ]


def measured(running: Platform, count: int) -> tuple[float, dict[str, Any]]:
    """Return how many seconds it takes bare, and what the platform did."""
    positions = [trades[0] for trades in open_longs(running, accounts=count, each=1)]
    guarded(accounts(running, count))
    floor_s = bare(running, positions)
    with ExitStack() as processes:
        for program in (*WORKERS, STREAM):
            processes.enter_context(running.running(program))
        return floor_s, crashed(running, count)


def aims(count: int, floor_s: float, found: Mapping[str, Any]) -> Mapping[str, Aim]:
    last_s = found["last_order_s"]
    times = None if last_s is None else round(last_s / floor_s, 2)
    return {
        "protected": Aim(measured=found["protected"], at_least=count),
        "last_order_s": Aim(measured=last_s, at_most=MOST_S),
        "times_the_floor": Aim(measured=times, at_most=MOST_TIMES_THE_FLOOR),
        "duplicates": Aim(measured=found["duplicates"], at_most=0),
    }


def main() -> None:
    parser = report.parser(__doc__ or "")
    parser.add_argument("--accounts", type=int, default=1000, metavar="N", help="all crossed at once")
    chosen = parser.parse_args(sys.argv[1:])
    count = chosen.accounts
    options = ("--accounts", str(count), "--latency-ms", str(LATENCY_MS))
    with platform(*options) as running:
        floor_s, found = measured(running, count)
    report.publish(
        report.Report(
            benchmark="flash_crash",
            figures={"accounts": count, "latency_ms": LATENCY_MS} | found,
            floor={"last_order_s": round(floor_s, 3)},
            aims=aims(count, floor_s, found),
        ),
        chosen.results,
    )


if __name__ == "__main__":
    main()
