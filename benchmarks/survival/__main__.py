"""`python -m benchmarks.survival`: which guarded positions are lost that could have been saved?

In simulated time, without sockets, threads or a database: the rules, gates, limits and budgets that run
live, against the paper exchange's engine. Beside each case the bound: what any executor of the same
ladder could have done. `--prices FILE` runs the positions over a file of one-minute candles instead.
"""

import multiprocessing
import os
import random
import sys
import time
from argparse import ArgumentParser
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import django

from benchmarks import report
from benchmarks.survival import paths
from exchange.simulator.prices.candles import BrokenFile

if TYPE_CHECKING:
    from benchmarks.survival.cases import Case
    from benchmarks.survival.playing import Played

_NOTHING = {
    "DJANGO_SETTINGS_MODULE": "hubdefisats.settings",
    "SECRET_KEY": "none",
    "CREDENTIAL_KEYS": "bm90aGluZyBub3RoaW5nIG5vdGhpbmcgbm90aGluZyE=",
    "DATABASE_URL": "postgresql:///nowhere",
    "REDIS_URL": "redis://nowhere.invalid",
}
"""Nothing is ever asked of database or Redis: tables serve as values here."""


def main() -> int:
    """Return the exit status: 1, with one sentence, for candles that cannot be used."""
    chosen = _parser().parse_args()
    os.environ.update(_NOTHING)
    django.setup()
    began_s = time.monotonic()
    try:
        cases, days = _cases(chosen.prices, chosen.days, chosen.seed)
    except BrokenFile as broken:
        print(broken, file=sys.stderr)  # noqa: T201 - for whoever typed the name
        return 1
    from benchmarks.survival import cases as of_cases  # noqa: PLC0415 - Django is ready only now
    from benchmarks.survival import summing  # noqa: PLC0415

    cases = [case for case in cases if chosen.only in case.name]
    if chosen.quick:
        cases = of_cases.quick(cases, 60)
    played = list(_play_all(cases, chosen.processes))
    report.publish(
        summing.reported(played, days=days, seconds=round(time.monotonic() - began_s, 1)),
        chosen.results,
    )
    return 0


def _parser() -> ArgumentParser:
    parser = report.parser(__doc__ or "")
    parser.add_argument("--prices", type=Path, metavar="FILE", help="one-minute candles to run over")
    parser.add_argument("--days", type=Path, default=paths.RECORDED, help="folder of recorded days")
    parser.add_argument("--only", default="", metavar="WORDS", help="cases whose name has these words")
    parser.add_argument("--quick", action="store_true", help="some dozens of cases")
    parser.add_argument("--seed", type=int, default=1, help="draws what is not in every case")
    parser.add_argument("--processes", type=int, default=os.cpu_count() or 1)
    return parser


def _cases(prices: Path | None, days: Path, seed: int) -> tuple[list["Case"], list[str]]:
    """Return the cases, and the names of the recorded files among them."""
    from benchmarks.survival import cases  # noqa: PLC0415 - Django is ready only now

    if prices is None:
        return cases.every(seed, days), [file.name for file in cases.recorded_days(days)]
    rng = random.Random(seed)  # noqa: S311 - which cases, no secret
    return list(cases.recorded(rng, prices)), [prices.name]


def _play_all(cases: Sequence["Case"], processes: int) -> Iterator["Played"]:
    from benchmarks.survival.playing import play  # noqa: PLC0415 - Django is ready only now

    if processes == 1:
        yield from _told(map(play, cases), len(cases))
        return
    # Forked, so that nothing is set up anew and no path is sent.
    with multiprocessing.get_context("fork").Pool(processes) as pool:
        yield from _told(pool.imap(play, cases, chunksize=18), len(cases))


def _told(played: Iterator["Played"], count: int) -> Iterator["Played"]:
    for number, each in enumerate(played, start=1):
        if number % 200 == 0 or number == count:
            print(f"{number} of {count}", file=sys.stderr)  # noqa: T201 - for whoever waits
        yield each


if __name__ == "__main__":
    sys.exit(main())
