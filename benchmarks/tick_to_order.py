"""From a tick that the paper exchange sends to the order that it receives, through every real part.

Floor: a bare loop of websocket-client and requests that signs and sends the same order, without
queue, database or any decision. Then the platform: first with nothing else to do, then with entries
queued all the while.
"""

import json
import sys
import threading
import time
from argparse import Namespace
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from decimal import Decimal
from itertools import pairwise
from statistics import median
from typing import TYPE_CHECKING, Any, Final

import requests
import websocket

from benchmarks import report
from benchmarks.paper import Paper
from benchmarks.platform import (
    Platform,
    accounts,
    armed,
    open_longs,
    per_order_ms,
    platform,
    wait_for,
)
from benchmarks.report import Aim
from benchmarks.timing import Unit, spread
from exchange.auth import Credentials, rest_headers
from exchange.formulas import Side
from exchange.position import Position, PositionId
from exchange.topics import LAST_PRICE
from hubdefisats.stack.programs import STREAM, WORKER, urgent

if TYPE_CHECKING:
    from accounts.models import Account

SAMPLES: Final = 360
"""Of each phase."""
WARM: Final = 40
"""The first of each phase, in which threads meet code and connections for the first time."""
EACH: Final = 40
"""Positions of one account; the exchange allows 50."""
EVERY_S: Final = 0.1
"""Between two ticks, whether or not the order of the first has arrived."""
QUEUED: Final = 500
QUEUE: Final = "automation-execute"
FIRST_LEVEL: Final = Decimal(99500)
STEP: Final = Decimal(5)
CLOSE: Final = "/v3/futures/isolated/trade/close"
MOST_MS: Final = {"p50_ms": 6, "p99_ms": 20}
MOST_TIMES_THE_FLOOR: Final = 5
MOST_GROWTH_PERCENT: Final = 20
"""Of the p99, with entries queued."""

Figures = dict[str, Any]
Targets = dict[Decimal, Position]
"""The price that is told, and the position that has to be closed at it."""


def targets(positions: Sequence[Position], first: Decimal) -> Targets:
    return {first - STEP * number: position for number, position in enumerate(positions)}


def told(running: Platform, levels: Targets) -> Figures:
    """Send one tick after the other; return how long the orders took to come."""
    for price in levels:
        running.set_price(price)
        time.sleep(EVERY_S)
    wait_for(
        lambda: len(arrivals(running, levels)) == len(levels), within_s=30, what="all orders arrived"
    )
    sent = {Decimal(str(tick["price"])): tick["sent_at_us"] for tick in running.ticks()}
    arrived = arrivals(running, levels)
    taken_s = [(arrived[levels[price].id] - sent[price]) / 1e6 for price in levels]
    return spread(taken_s[WARM:], Unit.MS) | {"first_ms": round(taken_s[0] * 1000, 4)}


def profiled(running: Platform, levels: Targets) -> Figures:
    """Return the same, with where the time went."""
    before = running.processor_s()
    found = told(running, levels)
    computed = per_order_ms(before, running.processor_s(), len(levels))
    return found | {"p50_by_stage_ms": stages(running, levels), "processor_ms_per_order": computed}


def stages(running: Platform, levels: Targets) -> dict[str, float]:
    """Return the median time of each stage, by the moments that the executions keep."""
    from automations.models import Execution  # noqa: PLC0415 - Django is ready only now

    arrived = arrivals(running, levels)
    sent = {Decimal(str(tick["price"])): tick["sent_at_us"] for tick in running.ticks()}
    moments: dict[str, list[float]] = {}
    for price in list(levels)[WARM:]:
        position_id = levels[price].id
        done = Execution.objects.get(position_id=position_id)
        assert done.settled_at
        passed = {
            "sent": sent[price] / 1e6,
            "heard": done.price_at.timestamp(),
            "decided": done.decided_at.timestamp(),
            "ordered": arrived[position_id] / 1e6,
            "answered": done.settled_at.timestamp(),
        }
        for (begin, began_s), (end, ended_s) in pairwise(passed.items()):
            moments.setdefault(f"{begin}_to_{end}", []).append(ended_s - began_s)
    return {name: round(1000 * median(taken_s), 3) for name, taken_s in moments.items()}


def arrivals(running: Platform, levels: Targets) -> dict[str, int]:
    """Return when the first order for each position arrived, in microseconds."""
    wanted = {position.id for position in levels.values()}
    found: dict[str, int] = {}
    for write in running.writes():
        if write["path"] == CLOSE and write["params"]["id"] in wanted:
            found.setdefault(write["params"]["id"], write["received_at_us"])
    return found


@contextmanager
def bare_loop(paper: Paper, keys: dict[PositionId, Credentials], levels: Targets) -> Iterator[None]:
    """Close each position as its price comes, with nothing in between."""
    socket = websocket.create_connection(f"{paper.endpoints.stream_url}/v1", timeout=5)
    asked = {"jsonrpc": "2.0", "id": 1, "method": "subscribe", "params": {"topics": [LAST_PRICE]}}
    socket.send(json.dumps(asked))
    thread = threading.Thread(target=_react, args=(socket, paper, keys, levels), daemon=True)
    thread.start()
    try:
        yield
    finally:
        socket.close()
        thread.join(10)


def _react(
    socket: websocket.WebSocket, paper: Paper, keys: dict[PositionId, Credentials], levels: Targets
) -> None:
    session = requests.Session()
    while True:
        try:
            frame = json.loads(socket.recv())
        except (websocket.WebSocketException, OSError, ValueError):
            return
        data = frame.get("params", {}).get("data", {})
        position = levels.get(Decimal(str(data.get("lastPrice", 0))))
        if position is None:
            continue
        body = json.dumps({"id": position.id}, separators=(",", ":"))
        now_ms = time.time_ns() // 1_000_000
        headers = rest_headers(
            keys[position.id], timestamp_ms=now_ms, method="POST", path=CLOSE, data=body
        )
        headers["Content-Type"] = "application/json"
        session.post(f"{paper.endpoints.api_url}{CLOSE}", data=body, headers=headers, timeout=10)


def guards(owned: Sequence["Account"], levels: Targets, owner: Callable[[PositionId], int]) -> None:
    """Make the guard that closes each position exactly at its price."""
    from automations.models import GuardStep, MarginGuard  # noqa: PLC0415 - Django is ready only now

    for price, position in levels.items():
        guard: MarginGuard = MarginGuard.objects.create(
            enabled=True,
            account=owned[owner(position.id)],
            name=f"at {price}",
            metric="margin_used",
            only_positions=[position.id],
            backstop=False,  # a stop at the exchange would close before we do
        )
        share = position.margin_used_at(price + STEP / 2)
        percent = Decimal(share.numerator) * 100 / Decimal(share.denominator)
        guard.steps.create(
            threshold_percent=percent.quantize(Decimal("0.0001")), does=GuardStep.Does.CLOSE
        )


def look_at_an_entry(running: Platform, account: "Account") -> bytes:
    """Return the message that asks for a look at an entry whose price never comes."""
    from automations import tasks  # noqa: PLC0415 - Django is ready only now
    from automations.models import AutoEntry  # noqa: PLC0415

    entry = AutoEntry.objects.create(
        enabled=True,
        account=account,
        name="queued",
        side=Side.BUY,
        quantity=1,
        leverage=10,
        trigger_price=1000,
    )
    tasks.send(entry.pk, None, urgent=False)  # nobody takes messages yet
    with running.redis() as redis:
        message: bytes = redis.rpop(QUEUE)
    return message


@contextmanager
def always_queued(running: Platform, message: bytes) -> Iterator[None]:
    """Keep `QUEUED` of these messages waiting."""
    stopping = threading.Event()

    def fill() -> None:
        with running.redis() as redis:
            while not stopping.wait(0.01):
                if (missing := QUEUED - redis.llen(QUEUE)) > 0:
                    redis.lpush(QUEUE, *[message] * missing)
            redis.delete(QUEUE)

    thread = threading.Thread(target=fill, daemon=True)
    thread.start()
    try:
        yield
    finally:
        stopping.set()
        thread.join(5)


def measured(running: Platform) -> tuple[Figures, Figures, Figures]:
    """Return what it takes bare, with nothing else to do, and with entries queued."""
    many = SAMPLES // EACH
    opened = open_longs(running, accounts=3 * many, each=EACH)
    keys = {
        position.id: running.paper.accounts[number]
        for number, of_account in enumerate(opened)
        for position in of_account
    }
    number_of = {
        position.id: number for number, of_account in enumerate(opened) for position in of_account
    }
    # One tick after the other is about another account.
    phases = [
        [
            position
            for row in zip(*opened[phase * many : (phase + 1) * many], strict=True)
            for position in row
        ]
        for phase in range(3)
    ]
    starts = [FIRST_LEVEL - phase * STEP * SAMPLES for phase in range(3)]
    bare, quiet, busy = (
        targets(positions, first) for positions, first in zip(phases, starts, strict=True)
    )
    owned = accounts(running, 3 * many)
    guards(owned, quiet | busy, number_of.__getitem__)
    waiting = look_at_an_entry(running, owned[0])
    with bare_loop(running.paper, keys, bare):
        floor = told(running, bare)
    with ExitStack() as processes:
        for program in (*urgent(), WORKER, STREAM):
            processes.enter_context(running.running(program))
        wait_for(lambda: armed(running) > len(quiet) + len(busy), within_s=120, what="all are armed")
        alone = profiled(running, quiet)
        with always_queued(running, waiting):
            beside = profiled(running, busy)
    return floor, alone, beside


def aims(floor: Figures, alone: Figures, beside: Figures) -> Mapping[str, Aim]:
    straight = {name: Aim(measured=alone[name], at_most=most) for name, most in MOST_MS.items()}
    to_floor = {
        f"{name.removesuffix('_ms')}_times_the_floor": Aim(
            measured=round(alone[name] / floor[name], 2), at_most=MOST_TIMES_THE_FLOOR
        )
        for name in MOST_MS
    }
    growth = round(100 * (beside["p99_ms"] / alone["p99_ms"] - 1), 1)
    queued = {"p99_growth_percent": Aim(measured=growth, at_most=MOST_GROWTH_PERCENT)}
    return straight | to_floor | queued


def parsed() -> Namespace:
    parser = report.parser(__doc__ or "")
    parser.add_argument("--before", metavar="REVISION", help="measure this revision, too, in one run")
    return parser.parse_args(sys.argv[1:])


def main() -> None:
    chosen = parsed()
    folder = chosen.results
    before = report.measured_at(chosen.before, "tick_to_order") if chosen.before else None
    keys = str(3 * SAMPLES // EACH)
    with platform("--accounts", keys, "--limits", "off", PRIVATE_CALLS_PER_S="1000") as running:
        floor, alone, beside = measured(running)
    figures: dict[str, Any] = {
        "samples": SAMPLES - WARM,
        "alone": alone,
        f"with_{QUEUED}_entries_queued": beside,
    }
    if before is not None:
        figures["before"] = {"commit": before["commit"], "floor": before["floor"], **before["figures"]}
    report.publish(
        report.Report(
            benchmark="tick_to_order",
            figures=figures,
            floor=floor,
            aims=aims(floor, alone, beside),
        ),
        folder,
    )


if __name__ == "__main__":
    main()
