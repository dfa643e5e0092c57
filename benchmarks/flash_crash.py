"""One tick crosses the trigger of every account at once: how long until all positions are protected.

Floor: the same orders, ready in memory, sent by a bare thread pool with as many threads as the
platform has for urgent work. The paper exchange keeps its limits, and answers after 100 ms.
"""

import argparse
import json
import time
from collections import Counter
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from decimal import Decimal
from statistics import median
from threading import local
from typing import TYPE_CHECKING, Any, Final

import requests

from benchmarks.platform import Platform, accounts, armed, open_longs, platform, wait_for
from exchange.auth import rest_headers
from exchange.position import Position
from hubdefisats.stack.programs import STREAM, URGENT, WORKER

if TYPE_CHECKING:
    from accounts.models import Account

LATENCY_MS: Final = 100
CRASH: Final = Decimal(95_000)
"""Half of each margin is lost at 95,238."""
AMOUNT: Final = 50_000
ADD: Final = "/v3/futures/isolated/trade/add-margin"
PATIENCE_S: Final = 60.0


def bare(running: Platform, positions: Sequence[Position]) -> float:
    """Send an order for each position; return after how many seconds the last one had arrived."""
    threads = int(URGENT.variables["WORKER_CONCURRENCY"])
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
        guard = MarginGuard.objects.create(account=account, name="guard", metric="margin_used")
        guard.steps.create(threshold_percent=50, does=GuardStep.Does.ADD_FIXED, amount_sats=AMOUNT)


def crashed(running: Platform, count: int) -> dict[str, Any]:
    """Let the price fall; return what became of it."""
    wait_for(lambda: armed(running) == count, within_s=180, what="every guard is armed")
    running.set_price(CRASH)

    def orders() -> list[dict[str, Any]]:
        return [each for each in running.writes() if each["params"].get("amount") == AMOUNT]

    end = time.monotonic() + PATIENCE_S
    while len(found := orders()) < count and time.monotonic() < end:
        time.sleep(0.5)
    sent_us = next(
        tick["sent_at_us"] for tick in running.ticks() if Decimal(str(tick["price"])) == CRASH
    )
    taken = sorted((each["received_at_us"] - sent_us) / 1e6 for each in found)
    applied = Counter(each["params"]["id"] for each in found if each["applied"])
    return {
        "protected": len(applied),
        "last_order_s": round(taken[-1], 3),
        "median_order_s": round(median(taken), 3),
        "first_order_s": round(taken[0], 3),
        "duplicates": sum(applied.values()) - len(applied),
    }


def measured(running: Platform, count: int) -> dict[str, Any]:
    positions = [trades[0] for trades in open_longs(running, accounts=count, each=1)]
    guarded(accounts(running, count))
    floor_s = bare(running, positions)
    with ExitStack() as processes:
        for program in (URGENT, WORKER, STREAM):
            processes.enter_context(running.running(program))
        found = crashed(running, count)
    return {
        "accounts": count,
        "latency_ms": LATENCY_MS,
        "floor": {"last_order_s": round(floor_s, 3)},
        "platform": found,
        "times_the_floor": round(found["last_order_s"] / floor_s, 2),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--accounts", type=int, default=1000, metavar="N")
    count = parser.parse_args().accounts
    options = ("--accounts", str(count), "--latency-ms", str(LATENCY_MS))
    with platform(*options) as running:
        found = measured(running, count)
    print(json.dumps({"benchmark": "flash_crash"} | found))  # noqa: T201 - the result


if __name__ == "__main__":
    main()
