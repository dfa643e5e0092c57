"""How soon prices and accounts come by stream again after an outage of the exchange, and at what cost.

In simulated time, with the very admission, queue and waits that the stream process dials by; sockets
and the exchange are modelled: when it is there, and how it fails. Each case is told for several
lengths of the outage, a few seconds apart, and the worst is reported.
"""

import heapq
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from itertools import count
from random import Random
from typing import Any, Final

from benchmarks import report
from benchmarks.report import Aim
from exchange.admission import HOUR_S, MARGIN, MINUTE_S, Admission, Attempt, Dials
from exchange.config import PRIVATE_TIMEOUTS, StreamCaps
from exchange.dialling import DialQueue, Redials

BEGINS_S: Final = 400.0
"""All are live long before."""
WATCHED_S: Final = 3_600.0
"""So long after the outage."""
ANSWERS_S: Final = 0.3
"""From a dial to a live session."""
SPREAD: Final = 6
"""So many lengths of an outage, 3.4 s apart."""


class Fails(StrEnum):
    """What an exchange that is away does with a dial."""

    REFUSES = "refuses connections"
    SILENT = "does not answer"
    SICK = "takes connections, and breaks down at the sign-in"


@dataclass(frozen=True, slots=True, kw_only=True)
class Outage:
    """One that begins while all are live."""

    accounts: int
    minutes: float
    fails: Fails


@dataclass(slots=True)
class Found:
    """What came of it. Times are seconds after the exchange was back; inf: not within the hour."""

    prices_s: float = float("inf")
    accounts_s: list[float] = field(default_factory=list)
    dials: list[float] = field(default_factory=list)
    """When a dial left us, whether or not it was refused."""
    stood: list[float] = field(default_factory=list)
    """When one came to stand: those that the exchange surely counts."""
    sign_ins: list[float] = field(default_factory=list)


class _Simulation:
    """One outage, event by event."""

    def __init__(self, outage: Outage, seed: int) -> None:
        self.now = 0.0
        self.outage = outage
        self.chance = Random(seed)  # noqa: S311 - the same in each run
        self.ends_s = BEGINS_S + 60 * outage.minutes + seed * 3.4
        self.found = Found()
        self._events: list[tuple[float, int, Callable[[], None]]] = []
        self._order = count()
        self.queue = DialQueue(lambda account: account / outage.accounts, clock=self.clock)
        admission = Admission(StreamCaps(), clock=self.clock)
        self.prices = _Session(self, Dials(admission, authenticates=False), None)
        self.accounts = [
            _Session(self, self._dials(admission, number), number) for number in range(outage.accounts)
        ]

    def _dials(self, admission: Admission, number: int) -> Dials:
        return Dials(
            admission,
            authenticates=True,
            alone=lambda: not any(each.live for each in self.accounts),
            turn_s=lambda: self.queue.wait_s(number),
        )

    def clock(self) -> float:
        return self.now

    @property
    def away(self) -> bool:
        return BEGINS_S <= self.now < self.ends_s

    def after(self, seconds: float, event: Callable[[], None]) -> None:
        # A millisecond at least: a wait may be too short to move the time on.
        at_s = self.now + max(seconds, 0.001)
        heapq.heappush(self._events, (at_s, next(self._order), event))

    def _is_over(self, sessions: Sequence["_Session"]) -> bool:
        return self.now > self.ends_s and all(each.live for each in sessions)

    def run(self) -> Found:
        sessions = [self.prices, *self.accounts]
        for session in sessions:
            self.after(0.0, session.ask)
            self.after(BEGINS_S, session.cut)
        while self.now < self.ends_s + WATCHED_S and not self._is_over(sessions):
            self.now, _, event = heapq.heappop(self._events)
            event()
        self.found.prices_s = self.prices.live_s - self.ends_s
        self.found.accounts_s = sorted(each.live_s - self.ends_s for each in self.accounts)
        return self.found


class _Session:
    """One session, as `exchange.session` dials."""

    def __init__(self, stage: _Simulation, gate: Dials, number: int | None) -> None:
        self._stage = stage
        self._gate = gate
        self._number = number
        self._redials = Redials(
            PRIVATE_TIMEOUTS, has_key=number is not None, chance=stage.chance.random
        )
        self._dialled_s = 0.0
        self.live = False
        self.live_s = float("inf")

    def ask(self) -> None:
        wait_s = self._gate.wait_s()
        if wait_s > 0:
            self._stage.after(wait_s, self.ask)
            return
        self._dialled_s = self._stage.now
        self._stage.found.dials.append(self._stage.now)
        if self._number is not None:
            self._stage.queue.dials(self._number)
        if not self._stage.away:
            self._stands()
            self._stage.after(ANSWERS_S, self._comes_live)
            return
        match self._stage.outage.fails:
            case Fails.REFUSES:
                self._stage.after(0.01, lambda: self._fails(Attempt()))
            case Fails.SILENT:
                self._stage.after(PRIVATE_TIMEOUTS.connect_s, lambda: self._fails(Attempt()))
            case Fails.SICK:
                self._stands()
                attempt = Attempt(stood=True, signed_in=self._number is not None)
                self._stage.after(ANSWERS_S, lambda: self._fails(attempt))

    def _stands(self) -> None:
        self._stage.found.stood.append(self._stage.now)
        if self._number is not None:
            self._stage.found.sign_ins.append(self._stage.now)

    def _comes_live(self) -> None:
        self.live, self.live_s = True, self._stage.now
        if self._number is not None:
            self._stage.queue.is_live(self._number)
        self._gate.ended(Attempt(stood=True, signed_in=self._number is not None, live=True))

    def cut(self) -> None:
        self.live, self.live_s = False, float("inf")
        self._again(Attempt(stood=True, signed_in=self._number is not None, live=True))

    def _fails(self, attempt: Attempt) -> None:
        self._gate.ended(attempt)
        self._again(attempt)

    def _again(self, attempt: Attempt) -> None:
        lasted_s = self._stage.now - self._dialled_s
        is_alone = self._gate.is_alone()
        wait_s = self._redials.wait_s(attempt, lasted_s=lasted_s, is_alone=is_alone)
        self._stage.after(wait_s, self.ask)


def simulated(outage: Outage, *, seed: int = 0) -> Found:
    """Return what comes of an outage; `seed` makes it 3.4 s longer each, and draws other waits."""
    return _Simulation(outage, seed).run()


def most_within(times: Sequence[float], window_s: float) -> int:
    """Return how many of the times, in their order, lie in the fullest window."""
    most, first = 0, 0
    for last, time in enumerate(times):
        while times[first] <= time - window_s:
            first += 1
        most = max(most, last - first + 1)
    return most


def worst(outage: Outage) -> dict[str, Any]:
    """Return the worst of several outages alike, in seconds and in counts."""
    every = [simulated(outage, seed=seed) for seed in range(SPREAD)]
    return {
        "accounts": outage.accounts,
        "outage_minutes": outage.minutes,
        "fails": outage.fails.value,
        "prices_live_s": round(max(each.prices_s for each in every), 1),
        "ten_accounts_live_s": round(max(each.accounts_s[9] for each in every), 1),
        "all_accounts_live_s": round(max(each.accounts_s[-1] for each in every), 1),
        "dials_an_hour": max(most_within(each.dials, HOUR_S) for each in every),
        "connections_an_hour": max(most_within(each.stood, HOUR_S) for each in every),
        "sign_ins_a_minute": max(most_within(each.sign_ins, MINUTE_S) for each in every),
    }


def cases() -> list[Outage]:
    return [
        Outage(accounts=accounts, minutes=minutes, fails=fails)
        for accounts, minutes in ((10, 0.5), (10, 30), (31, 25))
        for fails in Fails
    ]


def aims(by_case: Sequence[dict[str, Any]]) -> dict[str, Aim]:
    def most(name: str, at_most: float) -> Aim:
        return Aim(measured=max(float(each[name]) for each in by_case), at_most=at_most)

    caps = StreamCaps()
    return {
        "prices_live_s": most("prices_live_s", 60),
        "ten_accounts_live_s": most("ten_accounts_live_s", 60),
        # 20 sign-ins a minute, by windows that are a tenth longer than the exchange's.
        "all_accounts_live_s": most("all_accounts_live_s", 60 + MARGIN * MINUTE_S),
        "dials_an_hour": most("dials_an_hour", caps.dials_per_hour),
        "sign_ins_a_minute": most("sign_ins_a_minute", caps.authentications_per_minute),
    }


def main() -> None:
    chosen = report.parser(__doc__ or "").parse_args()
    by_case = [worst(outage) for outage in cases()]
    report.publish(
        report.Report(benchmark="outage", figures={"by_case": by_case}, aims=aims(by_case)),
        chosen.results,
    )


if __name__ == "__main__":
    main()
