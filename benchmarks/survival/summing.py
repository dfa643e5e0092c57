"""From many cases to one line."""

from collections.abc import Iterable, Sequence
from statistics import median, quantiles
from typing import Any, Final

from benchmarks.report import Aim, Report
from benchmarks.survival.playing import Played

MOST_TIMES_THE_LEAST: Final = 1.3
_RECORDED: Final = "recorded"


def reported(played: Sequence[Played], *, days: Sequence[str], seconds: float) -> Report:
    recorded = [each for each in played if each.kind == _RECORDED]
    by_preset = {
        name: summed([each for each in played if each.preset == name])
        for name in sorted({each.preset for each in played})
    }
    of_all, of_recorded = summed(played), summed(recorded)
    return Report(
        benchmark="survival",
        figures=of_all
        | {
            "by_preset": by_preset,
            "by_kind": {
                kind: summed([each for each in played if each.kind == kind], names=False)
                for kind in sorted({each.kind for each in played})
            },
            "recorded_days": list(days) or "skipped: there are none beside the project's folder",
            "seconds": seconds,
        },
        aims=_aims(of_all, "") | (_aims(of_recorded, "_on_recorded_days") if recorded else {}),
    )


def _aims(figures: dict[str, Any], where: str) -> dict[str, Aim]:
    return {
        f"lost_though_savable{where}": Aim(measured=figures["lost_though_savable"], at_most=0),
        f"median_times_the_least{where}": Aim(
            measured=figures["times_the_least"]["median"], at_most=MOST_TIMES_THE_LEAST
        ),
    }


def summed(played: Iterable[Played], *, names: bool = True) -> dict[str, Any]:
    """Return the figures of some cases. What counts are positions that die unguarded."""
    every = list(played)
    rescues = [each for each in every if each.dying]
    lost = [each.name for each in rescues if each.saved < each.savable]
    hurried = [each.name for each in rescues if each.saved < each.savable_unhurried]
    foreseen = [each.name for each in rescues if each.saved < each.foreseen]
    saving = [each for each in rescues if each.saved]
    found: dict[str, Any] = {
        "cases": len(every),
        "positions_dying_unguarded": sum(each.dying for each in rescues),
        "savable": sum(each.savable for each in rescues),
        "saved": sum(each.saved for each in rescues),
        "saved_beyond_the_bound": sum(max(0, each.saved - each.savable) for each in rescues),
        "of_these_closed": sum(each.closed for each in rescues),
        "closed_though_living_unguarded": sum(each.needless for each in every),
        "lost_though_savable": len(lost),
        "lost_though_savable_with_foresight": len(foreseen),
        "lost_though_savable_without_limit_of_requests": len(hurried),
        "times_the_least": _spread([each.added / each.least for each in rescues if each.least]),
        "added_sats": sum(each.added for each in rescues),
        "fees_sats": sum(each.fees for each in every),
        "actions_per_rescue": _per_rescue(saving),
    }
    if names:
        found |= {"lost": lost, "lost_with_foresight": foreseen, "lost_without_limit": hurried}
    return found


def _per_rescue(saving: Sequence[Played]) -> float | None:
    saved = sum(each.saved for each in saving)
    return round(sum(each.actions for each in saving) / saved, 2) if saved else None


def _spread(times: Sequence[float]) -> dict[str, Any]:
    if not times:
        return {"cases": 0, "median": None, "p95": None}
    p95 = quantiles(times, n=20, method="inclusive")[18] if len(times) > 1 else times[0]
    return {"cases": len(times), "median": round(median(times), 3), "p95": round(p95, 3)}
