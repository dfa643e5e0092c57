"""What a tick, and a change of one account, cost with 1,000 to 1,000,000 triggers armed.

Rival: on each tick, the real rule is asked about each of 100,000 positions, as bots do.
"""

import argparse
import gc
import multiprocessing
import sys
import time
import tracemalloc
from collections.abc import Callable, Sequence
from decimal import Decimal
from fractions import Fraction
from itertools import count, islice
from random import Random
from typing import Any, Final

from automations.rules.actions import Hold
from automations.rules.margin_guard import AddShare, GuardConfig, Step
from automations.rules.metric import Metric
from automations.triggers import Direction, Level, Trigger, TriggerBook
from benchmarks import report
from benchmarks.report import Aim
from benchmarks.timing import Unit, each_of, spread
from exchange import formulas
from exchange.formulas import Side
from exchange.money import TICK, Usd, UsdPerBtc
from exchange.position import Position, PositionId

SIZES: Final = (1_000, 10_000, 100_000, 1_000_000)
AIMED_AT: Final = 100_000
PRICE: Final = UsdPerBtc(Decimal(100_000))
OF_ACCOUNT: Final = 10
LARGE_ACCOUNT: Final = 100
FIRED: Final = 100
GUARD: Final = GuardConfig(
    metric=Metric.MARGIN_USED,
    steps=(Step(number=1, threshold=Fraction(1, 2), response=AddShare(share=Fraction(1, 2))),),
)
QUIET_LOOKS: Final = 20_000
CHANGES: Final = 1_000
CRASHES: Final = 100
RIVAL_TICKS: Final = 3


def positions(wanted: int) -> list[Position]:
    """Draw positions that the guard leaves alone at `PRICE`."""
    chance = Random(1)  # noqa: S311 - the same market in each run
    drawn = (_position(chance, number) for number in count())
    return list(islice((one for one in drawn if _is_quiet(one)), wanted))


def _position(chance: Random, number: int) -> Position:
    side = chance.choice(list(Side))
    size, leverage = Usd(chance.randrange(100, 100_000)), Decimal(chance.randrange(2, 50))
    entry = UsdPerBtc(chance.randrange(170_000, 230_000) * TICK)
    margin = formulas.margin_for(size, entry, leverage)
    liquidation = formulas.liquidation_price(side, size, entry, margin)
    return Position(
        id=PositionId(f"{number:036d}"),
        side=side,
        quantity=size,
        entry=entry,
        margin=margin,
        maintenance_margin=formulas.closing_reserve(size, liquidation),
        liquidation=liquidation,
        leverage=leverage,
        stoploss=None,
        takeprofit=None,
        filled_at=None,
        client_id=None,
    )


def _is_quiet(position: Position) -> bool:
    return isinstance(GUARD.decide(position, PRICE), Hold)


def triggers(levels: Sequence[Level], account: int, amount: int, *, moved: int = 0) -> list[Trigger]:
    """Return an account's triggers, each made anew as after a reading, `moved` ticks further away."""
    first = account * OF_ACCOUNT
    return [
        Trigger(
            account_id=account,
            automation_id=account,
            position_id=PositionId(f"{number:036d}"),
            urgent=True,
            level=_further(levels[number % len(levels)], moved),
        )
        for number in range(first, first + amount)
    ]


def _further(level: Level, ticks: int) -> Level:
    way = -1 if level.direction is Direction.FALLING else 1
    return Level(price=UsdPerBtc(level.price + way * ticks * TICK), direction=level.direction)


class Armed:
    """A book with so many triggers, and how long it took to arm them from nothing."""

    def __init__(self, levels: Sequence[Level], size: int) -> None:
        self._levels = levels
        self._accounts = size // OF_ACCOUNT
        self._chance = Random(2)  # noqa: S311 - the same changes in each run
        self.book = TriggerBook()
        made = [triggers(levels, account, OF_ACCOUNT) for account in range(self._accounts)]
        started_s, worked_s = time.perf_counter(), time.process_time()
        for account, mine in enumerate(made):
            self.book.arm(account, mine)
        self.arm_all_cpu_s = time.process_time() - worked_s
        self.arm_all_s = time.perf_counter() - started_s

    def quiet(self) -> list[float]:
        return each_of(lambda: self.book.cross(PRICE, PRICE), QUIET_LOOKS)

    def rearmed(self, *, moved: bool) -> list[float]:
        """Return what a change of one account took, for accounts drawn by lot."""
        return [
            self._arm_one(self._chance.randrange(self._accounts), OF_ACCOUNT, moved=moved)
            for _ in range(CHANGES)
        ]

    def rearmed_large(self) -> list[float]:
        account = self._accounts
        self._arm_one(account, LARGE_ACCOUNT, moved=False)
        taken_s = [self._arm_one(account, LARGE_ACCOUNT, moved=True) for _ in range(CHANGES // 10)]
        self.book.disarm(account)
        return taken_s

    def crashed(self) -> tuple[list[float], list[int]]:
        """Return what falls that reach about 100 levels took, and how many each fired."""
        falling = sorted(
            one.level.price
            for account in range(self._accounts)
            for one in triggers(self._levels, account, OF_ACCOUNT)
            if one.level.direction is Direction.FALLING
        )
        bottom = falling[-FIRED]
        taken_s, fired = [], []
        for _ in range(CRASHES):
            started_s = time.perf_counter()
            due = self.book.cross(bottom, PRICE)
            taken_s.append(time.perf_counter() - started_s)
            fired.append(len(due))
            for account in {one.account_id for one in due}:
                self.book.arm(account, triggers(self._levels, account, OF_ACCOUNT))
        return taken_s, fired

    def _arm_one(self, account: int, amount: int, *, moved: bool) -> float:
        ticks = self._chance.randrange(1, 100) if moved else 0
        mine = triggers(self._levels, account, amount, moved=ticks)
        started_s = time.perf_counter()
        self.book.arm(account, mine)
        return time.perf_counter() - started_s


def measured(levels: Sequence[Level], size: int) -> dict[str, Any]:
    armed = Armed(levels, size)
    assert len(armed.book) == size
    quiet, same = armed.quiet(), armed.rearmed(moved=False)
    crash, fired = armed.crashed()
    found = {
        "armed": size,
        "arm_all_s": round(armed.arm_all_s, 3),
        "arm_all_cpu_s": round(armed.arm_all_cpu_s, 3),
        "quiet_tick": spread(quiet, Unit.US),
        "tick_that_fires": {"fired": fired[0]} | spread(crash, Unit.US),
        "rearm_unchanged": spread(same, Unit.US),
        "rearm_moved": spread(armed.rearmed(moved=True), Unit.US),
        "rearm_100_moved": spread(armed.rearmed_large(), Unit.US),
    }
    assert len(armed.book) == size
    started_s = time.perf_counter()
    gc.collect()
    return found | {"full_collection_ms": round((time.perf_counter() - started_s) * 1000, 1)}


def weighed(levels: Sequence[Level], size: int) -> dict[str, Any]:
    """Return the bytes for each armed trigger: of what the rule made, and of the book around it."""
    tracemalloc.start()
    made = [triggers(levels, account, OF_ACCOUNT) for account in range(size // OF_ACCOUNT)]
    of_triggers, _ = tracemalloc.get_traced_memory()
    book = TriggerBook()
    for account, mine in enumerate(made):
        book.arm(account, mine)
    of_both, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    return {
        "armed": size,
        "trigger_bytes": round(of_triggers / size),
        "book_bytes": round((of_both - of_triggers) / size),
    }


def asked_each(running: Sequence[Position], levels: Sequence[Level]) -> dict[str, Any]:
    """Ask the rule about every position; see that the book fires exactly those it would act on."""

    def due_at(price: UsdPerBtc) -> set[PositionId]:
        return {one.id for one in running if not isinstance(GUARD.decide(one, price), Hold)}

    # Seconds of work are interrupted by other programs, a microsecond hardly ever: the rival is spared.
    taken_s = each_of(lambda: due_at(PRICE), RIVAL_TICKS, clock=time.thread_time)
    book = TriggerBook()
    for number, (position, level) in enumerate(zip(running, levels, strict=True)):
        one = Trigger(account_id=number, automation_id=1, position_id=position.id, level=level)
        book.arm(number, [one])
    lower = UsdPerBtc(PRICE * Decimal("0.99"))
    fired = {one.position_id for one in book.cross(lower, lower)}
    assert fired == due_at(lower), "book and rule disagree"
    return {
        "what": "GuardConfig.decide for each position on each tick",
        "positions": len(running),
        "tick_cpu": spread(taken_s, Unit.MS),
        "acted_on_after_a_fall_of_1_percent": len(fired),
        "book_fired_the_same": True,
    }


def aims(by_size: Sequence[dict[str, Any]], rival: dict[str, Any]) -> dict[str, Aim]:
    at_aim = next(each for each in by_size if each["armed"] == AIMED_AT)
    quiet_us: float = at_aim["quiet_tick"]["p50_us"]
    times_rival = rival["tick_cpu"]["p50_ms"] * 1000 / quiet_us

    def growth(figure: str) -> float:
        least, most = (float(each[figure]["p50_us"]) for each in (by_size[0], by_size[-1]))
        return round(most / least, 2)

    return {
        "quiet_tick_us": Aim(measured=quiet_us, at_most=5),
        "quiet_tick_p99_us": Aim(measured=at_aim["quiet_tick"]["p99_us"], at_most=5),
        "times_faster_than_rival": Aim(measured=round(times_rival), at_least=10_000),
        "arm_all_s": Aim(measured=at_aim["arm_all_s"], at_most=1),
        "quiet_tick_growth": Aim(measured=growth("quiet_tick"), at_most=2),
        "tick_that_fires_growth": Aim(measured=growth("tick_that_fires"), at_most=2),
        "rearm_moved_growth": Aim(measured=growth("rearm_moved"), at_most=2),
    }


def _alone(work: Callable[..., dict[str, Any]], *arguments: object) -> dict[str, Any]:
    """Do it in a process of its own, where nothing was before."""
    with multiprocessing.get_context("spawn").Pool(1) as fresh:
        return fresh.apply(work, arguments)


def options(arguments: Sequence[str]) -> argparse.Namespace:
    parser = report.parser(__doc__ or "")
    parser.add_argument("--most", type=int, choices=SIZES[2:], default=SIZES[-1], help="armed at once")
    return parser.parse_args(arguments)


def main() -> None:
    chosen = options(sys.argv[1:])
    running = positions(AIMED_AT)
    levels = [level for position in running for level in GUARD.levels(position)]
    rival = _alone(asked_each, running, levels)
    by_size = [_alone(measured, levels, size) for size in SIZES if size <= chosen.most]
    report.publish(
        report.Report(
            benchmark="trigger_book",
            figures={
                "triggers_of_an_account": OF_ACCOUNT,
                "by_size": by_size,
                "memory": _alone(weighed, levels, AIMED_AT),
            },
            rival=rival,
            aims=aims(by_size, rival),
        ),
        chosen.results,
    )


if __name__ == "__main__":
    main()
