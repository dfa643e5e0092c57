"""`python -m benchmarks.soak`: a whole stack lives on while something breaks every few seconds.

PostgreSQL, Redis, web, workers, beat, stream and Flower run as real processes on free ports, before
a paper exchange that is reached through a proxy. Progress goes to standard error, one JSON line at
the end to standard output: executions, effects, duplicates, lost effects, guarded positions lost
though savable, unprotected seconds, recovery after each kind of fault, memory growth. Exit status 1
where something happened twice, is lost, was lost though savable, or did not come back.
"""

import argparse
import json
import os
import sys
import tempfile
import threading
import time
from collections import defaultdict
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from pathlib import Path
from random import Random
from typing import Any, Final
from urllib.parse import urlsplit

import psycopg2
import redis
import requests
from django.db import Error as DatabaseError

from benchmarks import report
from benchmarks.paper import Paper, paper
from benchmarks.proxy import Proxy
from benchmarks.soak import prices, summing
from benchmarks.soak.people import Person, hands, settle
from benchmarks.soak.trouble import Fault, Ground, anew, kinds
from benchmarks.soak.watching import Watch, spread
from hubdefisats import local
from hubdefisats.stack.assembly import Stack, running
from hubdefisats.stack.options import Options
from hubdefisats.stack.readiness import wait_until_ready
from hubdefisats.stack.smoke import OF_OTHERS
from hubdefisats.stack.stopping import StopRequest
from hubdefisats.stack.terminal import Terminal

_READY_WITHIN_S: Final = 120.0
_SETTLES_WITHIN_S: Final = 90.0
_RECOVERS_WITHIN_S: Final = 90.0
_DRAINS_WITHIN_S: Final = 20.0
_HAND_EACH_S: Final = 4.0
_TOLD_EACH_S: Final = 15.0
_NOT_READY: Final = (
    OSError,
    LookupError,
    DatabaseError,
    psycopg2.Error,
    redis.RedisError,
    requests.RequestException,
)
"""Ends of a fault that found nothing to break at that moment."""


class Troubles(threading.Thread):
    """Breaks one thing after the other, and notes how long protection took to be back."""

    def __init__(
        self, ground: Ground, watch: Watch, faults: dict[str, Fault], *, each_once: bool
    ) -> None:
        super().__init__(name="troubles", daemon=True)
        self._ground, self._watch, self._faults = ground, watch, faults
        self._each_once = each_once
        self._over = threading.Event()
        self.windows: list[tuple[float, float]] = []
        """From when to when something was broken or not yet back, in seconds of the wall clock."""
        self.recovery_s: defaultdict[str, list[float]] = defaultdict(list)
        self.missed: list[str] = []
        """After which nothing was back in time."""

    def run(self) -> None:
        for name in self._order():
            if self._over.is_set():
                return
            began = time.time()
            try:
                self._faults[name](self._ground)
            except _NOT_READY as error:
                _say(f"{name}: not now ({type(error).__name__})")
                continue
            self._wait(name, began)
            self._over.wait(self._ground.draws.uniform(0.5, 3))

    def end(self) -> None:
        self._over.set()
        self.join()

    def _order(self) -> Iterator[str]:
        names = sorted(self._faults)
        while True:
            self._ground.draws.shuffle(names)
            yield from names
            if self._each_once:
                return

    def _wait(self, name: str, began: float) -> None:
        mended = time.time()
        while not self._watch.beats_since(mended):
            if time.time() > mended + _RECOVERS_WITHIN_S:
                self.missed.append(name)
                self.windows.append((began, time.time()))
                _say(f"{name}: not back within {_RECOVERS_WITHIN_S:g} s")
                return
            if self._over.is_set():
                self.windows.append((began, time.time()))
                return
            time.sleep(0.1)
        back = self._watch.back_at(mended)
        self.windows.append((began, back))
        self.recovery_s[name].append(back - mended)
        _say(f"{name}: lasted {mended - began:.1f} s, back after {back - mended:.1f} s")


def options(arguments: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.soak",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument
    add("--minutes", type=float, default=30.0, help="how long something goes wrong (30)")
    add("--seed", type=int, default=1, help="of prices, hands and faults (1); times are the machine's")
    add("--accounts", type=int, default=50, help="how many there are (50)")
    add("--prices", type=Path, help="a CSV file of one-minute candles, a minute a second; else made up")
    add("--only", default="", help="faults whose name has one of these words, with commas between")
    add("--each-once", action="store_true", help="end after each fault came once")
    add("--list", action="store_true", help="name the faults, and end")
    add("--log", type=Path, help="where the stack's own lines go; else to a temporary file")
    return parser.parse_args(arguments)


def main() -> int:
    chosen = options(sys.argv[1:])
    words = [word for word in chosen.only.split(",") if word]
    faults = {
        name: fault
        for name, fault in kinds().items()
        if not words or any(word in name for word in words)
    }
    if chosen.list:
        print("\n".join(sorted(faults)))  # noqa: T201 - it was asked for
        return 0
    line = soak(chosen, faults)
    print(json.dumps(line), flush=True)  # noqa: T201 - it is what this command is for
    wrong = ("duplicates", "lost_effects", "denied_effects", "unsettled", "lost_though_savable")
    return int(any(line[name] for name in wrong) or bool(line["not_back"]))


def soak(chosen: argparse.Namespace, faults: dict[str, Fault]) -> dict[str, Any]:
    """Live through it; return the line."""
    for name in OF_OTHERS:
        os.environ.pop(name, None)
    stop = StopRequest()
    stop.listen()
    with ExitStack() as parts:
        folder = Path(parts.enter_context(tempfile.TemporaryDirectory(prefix="hubdefisats-soak-")))
        log = parts.enter_context(_log(chosen.log).open("w"))
        _say(f"the stack's own lines are in {log.name}")
        venue = parts.enter_context(
            paper("--accounts", str(chosen.accounts), "--prices", "manual", "--seed", str(chosen.seed))
        )
        far = urlsplit(venue.endpoints.api_url)
        assert far.hostname
        assert far.port
        proxy = parts.enter_context(Proxy(far.hostname, far.port))
        os.environ |= {
            "HUBDEFISATS_DATA": str(folder),
            "LN_MARKETS_NETWORK": "paper",
            "LN_MARKETS_API_URL": f"http://127.0.0.1:{proxy.port}",
            "LN_MARKETS_STREAM_URL": f"ws://127.0.0.1:{proxy.port}",
        }
        terminal = Terminal(log)
        plan = Options(command="smoke", web_port=0, flower_port=0)
        stack = parts.enter_context(running(plan, terminal, stop))
        wait_until_ready(stack, terminal, stop, within_s=_READY_WITHIN_S)
        return _live(stack, venue, proxy, faults=faults, chosen=chosen, stop=stop)


def _log(wanted: Path | None) -> Path:
    if wanted is not None:
        return wanted
    handle, name = tempfile.mkstemp(prefix="hubdefisats-soak-", suffix=".log")
    os.close(handle)
    return Path(name)


def _live(
    stack: Stack,
    venue: Paper,
    proxy: Proxy,
    *,
    faults: dict[str, Fault],
    chosen: argparse.Namespace,
    stop: StopRequest,
) -> dict[str, Any]:
    draws = Random(chosen.seed)  # noqa: S311 - chance, not a secret
    people = settle(venue.accounts, venue.endpoints, draws)
    found = local.read(local.data_folder())
    ground = Ground(
        stack=stack,
        folder=local.data_folder(),
        control=venue.control,
        proxy=proxy,
        redis_url=found["REDIS_URL"],
        database_url=found["DATABASE_URL"],
        keys=tuple(person.key for person in people),
        draws=Random(chosen.seed + 1),  # noqa: S311 - likewise
    )
    run = _Run(ground, people, draws, stop)
    path = prices.recorded(chosen.prices) if chosen.prices else prices.made_up(draws)
    run.until(path, lambda: run.watch.beats_since(run.began), within_s=_READY_WITHIN_S)
    run.watch.unprotected_s.clear()  # until then nothing was armed
    troubles = Troubles(ground, run.watch, faults, each_once=chosen.each_once)
    troubles.start()
    run.until(path, lambda: not troubles.is_alive(), within_s=chosen.minutes * 60)
    troubles.end()
    ground.end_orders()
    proxy.behave()
    run.until(path, run.all_settled, within_s=_SETTLES_WITHIN_S)
    drained_s = _drain(stack)
    run.watch.look()
    return _line(run, troubles, drained_s) | {
        "minutes": round((time.time() - run.began) / 60, 1),
        "seed": chosen.seed,
        "commit": report.commit(),
    }


class _Run:
    """What goes on all the time, whatever breaks."""

    def __init__(self, ground: Ground, people: list[Person], draws: Random, stop: StopRequest) -> None:
        self.ground, self.people = ground, people
        self.watch, self.history = Watch(ground, people), prices.History()
        self.began = time.time()
        self._draws, self._stop = draws, stop
        self._hand_at = self._told_at = self.began

    def until(self, path: Iterator[float], done: Any, *, within_s: float) -> None:
        end = time.monotonic() + within_s
        for price in path:
            if done() or time.monotonic() > end:
                return
            self._step(price)

    def _step(self, price: float) -> None:
        began = time.monotonic()
        self.ground.stack.tend()
        with suppress(requests.RequestException):
            body = {"price": float(self.history.add(price))}
            requests.post(f"{self.ground.control}/price", json=body, timeout=10)
        self.watch.look()
        now = time.time()
        if now - self._hand_at > _HAND_EACH_S:
            self._hand_at = now
            hands(self.people, self._draws)
        if now - self._told_at > _TOLD_EACH_S:
            self._told_at = now
            self.watch.weigh()
            applied = sum(write["applied"] for write in self.watch.writes)
            _say(f"{now - self.began:.0f} s, price {price:,.0f}, {applied} effects")
        self._stop.pause(max(0.0, prices.STEP_S - (time.monotonic() - began)))

    def all_settled(self) -> bool:
        from automations.models import Execution  # noqa: PLC0415 - Django is ready only now

        return not anew(lambda: Execution.objects.unsettled().exists())


def _drain(stack: Stack) -> float:
    """Ask everything to end while it works; return how long that takes."""
    began = time.monotonic()
    stack.supervisor.stop(within_s=_DRAINS_WITHIN_S)
    return round(time.monotonic() - began, 1)


def _line(run: _Run, troubles: Troubles, drained_s: float) -> dict[str, Any]:
    from accounts.models import Account  # noqa: PLC0415 - Django is ready only now
    from automations.models import Execution, Quarantine  # noqa: PLC0415

    executions = anew(lambda: list(Execution.objects.all()))
    compared = summing.compared(executions, run.watch.writes, run.people)
    silent_s = run.watch.gaps_s()
    unprotected = [run.watch.unprotected_s.get(each.account.name, 0.0) for each in run.people]
    return {
        **compared,
        **summing.liquidated(run.people, run.history, troubles.windows),
        "suspended_accounts": Account.objects.filter(verified_at=None).count(),
        "quarantined_looks": Quarantine.objects.count(),
        "unprotected_s": spread(unprotected),
        "pulses_silent_s": spread(list(silent_s.values())),
        "faults": sum(map(len, troubles.recovery_s.values())) + len(troubles.missed),
        "not_back": troubles.missed,
        "recovery_s": {name: spread(found) for name, found in sorted(troubles.recovery_s.items())},
        "growth_mib_per_hour": run.watch.growth_mib_per_hour(),
        "drained_s": drained_s,
    }


def _say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)  # noqa: T201 - progress, for whoever waits


if __name__ == "__main__":
    sys.exit(main())
