"""One case from its first tick to its last, and what it came to beside the bound."""

from dataclasses import dataclass

from accounts.models import Account
from automations.account_book import AccountBook
from automations.deciding import Guard, table
from automations.rules.presets import preset
from benchmarks.survival import bound
from benchmarks.survival.bound import Best
from benchmarks.survival.cases import Case
from benchmarks.survival.executor import Terms
from benchmarks.survival.guarding import LOOK_MS, Workers
from benchmarks.survival.paths import PricePath
from benchmarks.survival.slow_exchange import EACH_MS, SlowExchange


@dataclass(frozen=True, slots=True, kw_only=True)
class Played:
    """What a case came to. Positions that live unguarded, too, are no rescue and count nowhere."""

    name: str
    kind: str
    preset: str
    dying: int
    """How many positions die unguarded."""
    savable: int
    savable_unhurried: int
    foreseen: int
    """How many of them the bounds save; the middle one without the limit of requests a second."""
    saved: int
    closed: int
    """How many of the saved ones were closed, by the guard or by its stop."""
    needless: int
    """How many were closed that would have lived."""
    added: int
    least: int
    """Sats, where all lived by adding; else 0."""
    fees: int
    """Sats paid for closing."""
    actions: int


def simulated(case: Case, path: PricePath) -> tuple[SlowExchange, Guard, Workers]:
    """Go through all ticks; return what there is at the end."""
    exchange = SlowExchange(case, path)
    made = table(preset(case.preset, exchange.first), case.regime, Account(pk=1))
    guard = Guard(made, AccountBook(exchange.free))
    workers = Workers(exchange, guard)
    _run(exchange, workers)
    return exchange, guard, workers


def play(case: Case) -> Played:
    """Go through a case, and set what came of it beside the bound."""
    path = case.path()
    exchange, guard, workers = simulated(case, path)
    terms = Terms(
        rule=guard.rule,
        budgets=[guard.budget_of(one) for one in exchange.first],
        money=exchange.free_at_first,
        delay_ms=LOOK_MS + case.answer_ms // 2,
        each_ms=EACH_MS,
    )
    return _played(case, exchange, workers, bound.best(exchange.first, path, terms))


def _run(exchange: SlowExchange, workers: Workers) -> None:
    """Go through the ticks; those at which nothing can happen cost a comparison."""
    path, agenda, tick = exchange.path, exchange.agenda, 0
    times, halves = path.times_ms, path.halves
    while True:
        low, high = _quiet(exchange, workers)
        until_ms = agenda.next_ms
        until_ms = path.end_ms if until_ms is None else min(until_ms, path.end_ms)
        while tick < len(times) and times[tick] <= until_ms and low < halves[tick] < high:
            tick += 1
        if tick < len(times) and times[tick] <= until_ms:
            exchange.move(tick)
            workers.hear(tick)
            tick += 1
            continue
        if agenda.next_ms is None or agenda.next_ms > path.end_ms:
            return
        if tick:
            exchange.move(tick - 1)
            workers.know(tick - 1)
        exchange.now_ms = agenda.next_ms
        agenda.do_next()


def _quiet(exchange: SlowExchange, workers: Workers) -> tuple[float, float]:
    """Return the prices, in half dollars, between which neither exchange nor guard does anything."""
    falling = [at for sign, at in exchange.levels() if sign > 0]
    rising = [at for sign, at in exchange.levels() if sign < 0]
    for falls, at in workers.levels():
        (falling if falls else rising).append(at)
    return max(falling, default=float("-inf")), min(rising, default=float("inf"))


def _played(case: Case, exchange: SlowExchange, workers: Workers, best: Best) -> Played:
    ends = [exchange.end_of(one.id) for one in exchange.first]
    dying = [end for end, dies in zip(ends, best.dying, strict=True) if dies]
    saved = [end for end in dying if end is None or end.how != "liquidated"]
    lived = bool(dying) and not any(ends)
    added = sum(each.amount for each in workers.entries if each.state == "confirmed")
    return Played(
        name=case.name,
        kind=case.kind,
        preset=case.preset,
        dying=len(dying),
        savable=best.savable,
        savable_unhurried=best.savable_unhurried,
        foreseen=best.foreseen,
        saved=len(saved),
        closed=sum(end is not None for end in saved),
        needless=sum(end is not None for end in ends) - sum(end is not None for end in dying),
        added=added if lived else 0,
        least=best.least if lived else 0,
        fees=exchange.fees,
        actions=exchange.writes,
    )
