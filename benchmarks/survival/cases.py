"""Which cases there are: every fall with every preset, and the rest drawn so that all meet all."""

import random
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from functools import partial
from itertools import product
from pathlib import Path
from typing import Any, Final

from automations.rules.presets import PresetName
from benchmarks.survival import paths
from benchmarks.survival.paths import PricePath
from exchange.formulas import Side
from exchange.position import Regime

RATES: Final = (0.05, 0.15, 0.35, 0.6, 1.0, 2.0)
"""Percent of the first price each second."""
GAPS: Final = tuple(range(1, 11))
"""Percent."""
LEVERAGES: Final = (2, 5, 10, 25, 50, 100)
ANSWERS_MS: Final = (100, 500, 3000)
TICKS_MS: Final = (100, 1000)
COUNTS: Final = (1, 2, 5, 20)
"""Positions on one account."""
_LEAST_DEPTH: Final = 0.15
_MOST_DEPTH: Final = 0.45
"""A long at leverage 1 is liquidated at half of its entry."""
_OPENED_BEFORE: Final = (5, 30, 120)
"""Minutes from the opening of a position to the worst hour of a recorded day."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """One account with its positions, guard and money, and what the price does."""

    name: str
    kind: str
    preset: PresetName
    side: Side
    regime: Regime
    leverages: tuple[int, ...]
    """Of each position; the cross position is one."""
    answer_ms: int
    money: Fraction | None
    """The free balance as a share of all first margins together; None: more than can be used."""
    path: Callable[[], PricePath] = field(repr=False)


@dataclass(frozen=True, slots=True)
class _Setting:
    """What a fall meets."""

    side: Side
    regime: Regime
    leverages: tuple[int, ...]
    answer_ms: int
    tick_ms: int
    money: Fraction | None

    @property
    def sign(self) -> int:
        return self.side.sign

    @property
    def highest(self) -> int:
        return max(self.leverages)

    def __str__(self) -> str:
        many = f"{len(self.leverages)} up to " if len(self.leverages) > 1 else ""
        money = "" if self.money is None else f", {float(self.money):g} margins free"
        side = "long" if self.side is Side.BUY else "short"
        return (
            f"{many}{self.highest}x {self.regime} {side}, answers after {self.answer_ms / 1000:g} s,"
            f" ticks of {self.tick_ms / 1000:g} s{money}"
        )


def every(seed: int, folder: Path = paths.RECORDED) -> list[Case]:
    """Return all cases, the same for the same seed and recorded days."""
    rng = random.Random(seed)  # noqa: S311 - which cases, no secret
    made = [*_steady(rng), *_gaps(rng), *_turns(rng), *_many(rng)]
    for file in recorded_days(folder):
        made += recorded(rng, file)
    return made


def recorded_days(folder: Path = paths.RECORDED) -> list[Path]:
    return sorted(folder.glob("*.csv"))


def _steady(rng: random.Random) -> Iterator[Case]:
    """Yield every speed with every leverage, side, answering time, preset and regime."""
    for rate, leverage, side, answer_ms in product(RATES, LEVERAGES, Side, ANSWERS_MS):
        tick_ms = rng.choice(TICKS_MS)
        for preset, regime in product(PresetName, Regime):
            setting = _Setting(side, regime, (leverage,), answer_ms, tick_ms, None)
            yield _steadily(rate, setting, preset)


def _steadily(rate: float, setting: _Setting, preset: PresetName) -> Case:
    depth = depth_for(setting)
    path = partial(paths.steady, setting.sign, rate, depth, setting.tick_ms)
    return _case("steady", f"{rate:g} %/s to {depth:.0%}", setting, preset, path)


def depth_for(setting: _Setting) -> float:
    """Return how far the price goes: half as far again as the least leveraged position lives."""
    least = min(setting.leverages)
    room = 1 / (least + setting.sign)
    return max(_LEAST_DEPTH, min(1.5 * room, _MOST_DEPTH if setting.sign > 0 else 1.5))


def _gaps(rng: random.Random) -> Iterator[Case]:
    """Yield jumps from calm to just before liquidation, and from the first step on."""
    for percent, leverage, reached, preset in product(GAPS, LEVERAGES, (False, True), PresetName):
        setting = _drawn(rng, (leverage,))
        # Just before liquidation, where every first step is reached.
        landing = 1 - setting.sign * (1 / (leverage + setting.sign) - 0.003)
        first_s = 10 if reached else 0
        path = partial(
            paths.gap, setting.sign, landing, percent / 100, setting.tick_ms, first_s=first_s
        )
        what = f"gap of {percent} % {'from' if reached else 'beyond'} the first step"
        yield _case("gap", what, setting, preset, path)


def _turns(rng: random.Random) -> Iterator[Case]:
    for rate, leverage, preset in product(RATES, LEVERAGES, PresetName):
        setting = _drawn(rng, (leverage,))
        depth = min(0.9, 1.2 / (leverage + setting.sign) + rng.choice((0.0, 0.02, 0.06)))
        down = partial(paths.v_shape, setting.sign, rate, depth, setting.tick_ms)
        yield _case("V", f"V of {rate:g} %/s to {depth:.1%}", setting, preset, down)
        seed = rng.randrange(1_000_000)
        waves = partial(paths.whipsaw, setting.sign, rate, depth, setting.tick_ms, seed)
        yield _case("whipsaw", f"whipsaw of {rate:g} %/s to {depth:.1%}", setting, preset, waves)


def _many(rng: random.Random) -> Iterator[Case]:
    """Yield accounts with several positions, with money for all of them or for some."""
    for rate, count, leverage, preset in product(RATES, COUNTS, LEVERAGES, PresetName):
        mixed = rng.random() < 0.5
        leverages = tuple(
            rng.choice([each for each in LEVERAGES if each >= 5]) if mixed else leverage
            for _ in range(count)
        )
        money = rng.choice((None, Fraction(1, 2), Fraction(2)))
        yield _steadily(rate, _drawn(rng, leverages, regime=Regime.ISOLATED, money=money), preset)


def recorded(rng: random.Random, file: Path) -> Iterator[Case]:
    """Yield positions opened before the worst hours of a file, for longs and for shorts."""
    rows = paths.recorded(file)
    for side in Side:
        for window in paths.worst(rows, side.sign, count=3):
            for before, leverage, preset in product(_OPENED_BEFORE, LEVERAGES, PresetName):
                setting = _drawn(rng, (leverage,), side=side)
                first = max(0, window.first - before)
                path = partial(paths.played, file, first, window.last, setting.tick_ms)
                at = f"{file.stem} from minute {first}"
                yield _case("recorded", at, setting, preset, path)


def _drawn(
    rng: random.Random,
    leverages: tuple[int, ...],
    *,
    side: Side | None = None,
    regime: Regime | None = None,
    money: Fraction | None = None,
) -> _Setting:
    return _Setting(
        side or rng.choice(list(Side)),
        regime or rng.choice(list(Regime)),
        leverages,
        rng.choice(ANSWERS_MS),
        rng.choice(TICKS_MS),
        money,
    )


def _case(
    kind: str, what: str, setting: _Setting, preset: PresetName, path: Callable[[], PricePath]
) -> Case:
    return Case(
        name=f"{what}: {preset}, {setting}",
        kind=kind,
        preset=preset,
        side=setting.side,
        regime=setting.regime,
        leverages=setting.leverages,
        answer_ms=setting.answer_ms,
        money=setting.money,
        path=path,
    )


def quick(cases: Sequence[Case], count: int) -> list[Case]:
    """Return some of them, evenly spread."""
    return list(cases[:: max(1, len(cases) // count)])


def subset(cases: Sequence[Case], **wanted: Any) -> list[Case]:
    return [each for each in cases if all(getattr(each, name) == to for name, to in wanted.items())]
